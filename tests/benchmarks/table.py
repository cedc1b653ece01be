"""The table of all benchmarks: rows, Markdown, and a plot."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

OURS = ("ours, no server", "ours, PostgreSQL", "ours, MySQL")
LIMIT = "limit"
FIRST = ("pandas cold", "loop", "brainbox")
COLORS = dict(zip(OURS, ("navy", "tab:blue", "tab:cyan"), strict=True))
COLORS |= {LIMIT: "black", "loop": "tab:gray", "pandas cold": "tab:orange"}
COLORS |= {"pandas warm": "tab:red", "DuckDB": "tab:green", "pynapple": "tab:pink"}
COLORS |= {"brainbox": "tab:purple"}
LIBRARIES = ("datajoint", "numpy", "pandas", "pyarrow", "duckdb")


@dataclass
class Row:
    """A thing that is timed, in seconds.

    Attributes
    ----------
    what : str
        What is timed.
    seconds : dict
        Seconds of each of `OURS` that was timed, of alternatives, and of the `LIMIT`: reading or
        computing the same with plain numpy and pyarrow.
    spent : str
        On what our time is spent, where that was measured.
    """

    what: str
    seconds: dict[str, float] = field(default_factory=dict)
    spent: str = ""

    @property
    def ratio(self) -> float:
        """Our slowest, divided by the limit, else by the first of `FIRST` that was timed."""
        slowest = max(self.seconds[name] for name in OURS if name in self.seconds)
        for name in (LIMIT, *FIRST):
            if name in self.seconds:
                return slowest / self.seconds[name]
        return float("nan")


def merged(rows: Sequence[Row]) -> list[Row]:
    """Put rows of the same thing, measured on two servers, into one; the best of what both have."""
    found: dict[str, Row] = {}
    for row in rows:
        kept = found.setdefault(row.what, Row(row.what, spent=row.spent)).seconds
        for name, seconds in row.seconds.items():
            kept[name] = min(seconds, kept.get(name, seconds))
    return list(found.values())


def columns(rows: Sequence[Row]) -> list[str]:
    """List what was timed: ours, then alternatives, then the limit."""
    named = dict.fromkeys(name for row in rows for name in row.seconds)
    others = [name for name in named if name not in (*OURS, LIMIT)]
    return [name for name in (*OURS, *others, LIMIT) if name in named]


def machine() -> str:
    """Say where and when the figures were measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return (
        f"{date.today():%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GB, load at the end "
        f"{os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {libraries}"
    )


def markdown(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Write the table (ms)."""
    names = columns(rows)
    lines = [f"| ms | {' | '.join(names)} | ratio | spent on |", "|---" * (len(names) + 3) + "|"]
    for row in rows:
        shown = [f"{1e3 * row.seconds[n]:,.1f}" if n in row.seconds else "" for n in names]
        ratio = "" if math.isnan(row.ratio) else f"{row.ratio:.2f}"
        lines.append(f"| {row.what} | {' | '.join(shown)} | {ratio} | {row.spent} |")
    told = (
        "Ratio: our slowest divided by the limit, else by cold pandas, the loop or brainbox. What "
        "was timed beside both servers has the time of the faster run."
    )
    return "\n\n".join([machine() + ".", "\n".join(lines), told, *notes]) + "\n"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw the table: a line per row, a dot per time, on a logarithmic scale."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.4 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for name in columns(rows):
        at = [k for k, row in enumerate(rows) if name in row.seconds]
        ms = [1e3 * rows[k].seconds[name] for k in at]
        ours = name in OURS
        style = {"s": 46 if ours else 26, "zorder": 3 if ours else 2, "label": name}
        marker = "|" if name == LIMIT else "o" if ours else "D"
        axes.scatter(ms, at, marker=marker, color=COLORS.get(name), **style)
    axes.set(xscale="log", xlabel="ms", yticks=range(len(rows)))
    axes.set_yticklabels([row.what for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(machine().partition(";")[0], fontsize=9, loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=90)
