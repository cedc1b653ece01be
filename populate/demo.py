"""The demo: simulate a release, register and import it, and query the database.

The demo has schemas of its own, so that simulated and real data never mix.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datajoint as dj
import pandas as pd

from populate.registration import register as entry
from populate.registration import sessions as registration
from populate.registration.register import ProgressFactory
from populate.registration.upsert import Report
from schemas import MODULES, __version__, connection
from schemas.settings import Settings

SEED = 2026


@dataclass(frozen=True)
class Question:
    """A question, the code that answers it, and the variable with the answer."""

    title: str
    code: str
    answer: str

    def ask(self) -> pd.DataFrame:
        """Run the code, as a notebook does after `IMPORTS`, and return the answer."""
        namespace: dict[str, Any] = {}
        exec(IMPORTS + self.code, namespace)
        return namespace[self.answer]


IMPORTS = """\
from schemas import activity, atlas, connection, rows, views
"""

RATES = Question(
    "Firing rate by brain region (Hz over the recording; good units of ibl_2022)",
    """\
good = views.units(criterion="ibl_2022").proj("region_id")
rate = activity.UnitRate.Unit * good * atlas.BrainRegion & {"window_name": "recording"}
table = rows.frame(rate).groupby("region_acronym").rate.agg(["mean", "sem", "count"])
""",
    "table",
)

REACTIONS = Question(
    "Reaction time by contrast and side (s; first movement, trials within 0.08 to 2 s)",
    """\
times = views.fetch_reaction_times("first_movement").query("rt_in_bounds")
by_stimulus = times.groupby(["side", "contrast"]).reaction_time
table = by_stimulus.agg(["median", "mean", "count"]).reset_index()
""",
    "table",
)


SNIPPET = f"""\
{IMPORTS}
connection.connect(demo=True)
{RATES.code}print({RATES.answer})
"""
"""Code that continues with the database of the demo, to be pasted into Python."""


def shell_lines() -> list[str]:
    """Return the shell commands that continue with the database of the demo."""
    command = "bwm --demo units --region TH"
    if shutil.which("bwm"):
        return [command]
    return [f"source {shlex.quote(str(Path(sys.prefix) / 'bin' / 'activate'))}", command]


def disk_used(settings: Settings) -> int:
    """Return the bytes of the simulated files, the objects and the tables of the demo."""
    names = ", ".join(f"'{connection.schema_name(name, settings.prefix)}'" for name in MODULES)
    if dj.conn().adapter.backend == "mysql":
        size, where = "data_length + index_length", "information_schema.tables WHERE table_schema"
    else:
        size = "pg_total_relation_size(format('%%I.%%I', schemaname, tablename)::regclass)"
        where = "pg_tables WHERE schemaname"
    query = f"SELECT COALESCE(SUM({size}), 0) FROM {where} IN ({names})"
    (in_tables,) = dj.conn().query(query, ()).fetchone()
    files = list((settings.home / "demo").rglob("*"))
    if settings.store.protocol == "file":
        files += Path(settings.store.location).rglob(f"{settings.prefix}_*/**/*")
    return int(in_tables) + sum(path.stat().st_size for path in files if path.is_file())


def folder(settings: Settings) -> Path:
    """Folder of the simulated release."""
    return settings.home / "demo" / f"release-{__version__}-{SEED}"


def simulate(settings: Settings, progress: registration.Progress | None = None) -> bool:
    """Write the simulated release, unless it is there.

    Returns
    -------
    bool
        Whether it was written.
    """
    from schemas.sources import simulator

    target = folder(settings)
    if target.exists():
        return False
    simulator.simulate_whole(target, "small", seed=SEED, progress=progress)
    return True


def register(settings: Settings, progress_of: ProgressFactory | None = None) -> list[Report]:
    """Register the simulated folder and its release list."""
    (listing,) = folder(settings).glob("*.csv")
    return entry.register(str(folder(settings)), listing, progress_of=progress_of)


def count_workers(is_new: bool) -> int:
    """Return how many processes fill the tables: those of a new release share much to do."""
    return min(os.cpu_count() or 1, 4) if is_new else 1


def draw(target: Path) -> Path:
    """Save the figure: rates by region beside reaction times."""
    from matplotlib.figure import Figure

    from schemas import views
    from schemas.figures import behavior, ephys

    rates = views.fetch_region_summary("ibl_2022")
    times = views.fetch_reaction_times("first_movement").query("rt_in_bounds")
    by_stimulus = times.groupby(["side", "contrast"]).reaction_time
    quartiles = {"q25": 0.25, "median": 0.5, "q75": 0.75}
    summary = pd.DataFrame({name: by_stimulus.quantile(q) for name, q in quartiles.items()})
    figure = Figure(figsize=(10, max(4.0, 0.3 * len(rates))), layout="constrained")
    left, right = figure.subplots(1, 2)
    ephys.plot_region_rates(left, rates, "Good units of the simulated release")
    behavior.plot_reaction_times(right, summary.reset_index(), "First movement after the stimulus")
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    return target
