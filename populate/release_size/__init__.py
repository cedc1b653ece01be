"""A database as large as a release, filled in bulk and without files.

The rows are those that registration and workers would have inserted: what a table computes from
rows is computed by the functions of the table; what it computes from spikes is drawn. The rows of a
batch of sessions are inserted in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import datajoint as dj
import numpy as np

from populate import catalog, sql
from populate.registration import releases, sessions
from populate.registration.upsert import Report
from populate.release_size import recordings, tasks, units
from populate.release_size.definitions import Definitions
from populate.release_size.gathered import Gathered
from schemas import connection, release, rows, session
from schemas.activation import table_modules
from schemas.database.declared import tables_of, with_parts
from schemas.errors import SettingsError
from schemas.sources.simulator import population

BATCH_SESSIONS = 12

Progress = Callable[[int, int], None]


def fill(
    size: str,
    listing: Path | None = None,
    like: Path | None = None,
    *,
    n_insertions: int | None = None,
    n_spikes: int = 0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Report:
    """Fill the connected database with every row of a release.

    Parameters
    ----------
    size : str
        `'2022'` or `'2024'`: numbers of insertions, sessions, mice, labs and units.
    listing : Path, optional
        Release list whose sessions and insertions are taken; default made-up ones.
    like : Path, optional
        Folder with tables of real units and sites, in whose proportions regions and metrics are
        drawn; default the simulator's own.
    n_insertions : int, optional
        Only the first insertions of the list, with as many units in proportion.
    n_spikes : int
        Insertions whose spikes are drawn one by one. The spikes of all others lie at a few times
        of the recording: their objects have all rows, and are small.
    seed : int
        Seed of all random numbers.
    progress : callable, optional
        Called with the number of sessions done and of all sessions.

    Raises
    ------
    SettingsError
        The size is unknown, or the database has sessions already, or is being filled.
    """
    _require_empty(size)
    freeze = population.FREEZES[size]
    name = listing.stem if listing else f"simulated_{size}"
    table = releases.read_list(listing)[0] if listing else population.plan_insertions(freeze, seed)
    n_insertions = min(n_insertions or len(table), len(table))
    n_units = round(freeze.n_units * n_insertions / len(table))
    table = table.head(n_insertions).sort_values(["eid", "probe_name"])
    proportions = population.read_proportions(like, seed)
    drawn = recordings.Recordings(table, freeze, proportions, n_units, n_spikes, seed)
    report = _register(drawn, name)
    _insert_batches(drawn, seed, progress)
    with dj.conn().transaction:
        _insert_sources()
    _analyze()
    return report


def _insert_batches(drawn: recordings.Recordings, seed: int, progress: Progress | None) -> None:
    """Insert the rows of all sessions; the next batch is drawn while the server inserts one."""
    eids = drawn.eids
    alone = drawn.n_large  # several in one batch would not fit into memory
    batches = [[eid] for eid in eids[:alone]]
    batches += [eids[k : k + BATCH_SESSIONS] for k in range(alone, len(eids), BATCH_SESSIONS)]
    done = 0
    gather = partial(_gather, drawn, Definitions.fetch(), seed)
    with ThreadPoolExecutor(1) as pool:
        drawing = pool.submit(gather, batches[0])
        for number, batch in enumerate(batches):
            gathered = drawing.result()
            if number + 1 < len(batches):
                drawing = pool.submit(gather, batches[number + 1])
            with dj.conn().transaction:
                gathered.insert()
            done += len(batch)
            if progress:
                progress(done, len(eids))


def _gather(
    drawn: recordings.Recordings, definitions: Definitions, seed: int, eids: Sequence[str]
) -> Gathered:
    """Draw and compute all rows of some sessions, without a query."""
    gathered = Gathered()
    rng = np.random.default_rng([seed, 2, drawn.eids.index(eids[0])])
    done = tasks.add(eids, definitions, gathered, rng)
    units.add(drawn.of_sessions(done), done, definitions, gathered, rng)
    return gathered


def _require_empty(size: str) -> None:
    if size not in population.FREEZES:
        sizes = f"One of {', '.join(population.FREEZES)}."
        raise SettingsError(f"there is no release {size!r}.", remedy=sizes)
    if session.Session():
        raise _is_used("the database has sessions already.")


def _is_used(what: str) -> SettingsError:
    remedy = "Use another database: set BWM_PREFIX to a new name."
    return SettingsError(what, connection.active().prefix, remedy)


def _register(drawn: recordings.Recordings, name: str) -> Report:
    """Register sessions, insertions and files as a source would list them, and the release."""
    report, location = Report(), f"{name}, simulated"
    try:
        rows.insert1(session.DataSource(), {"data_source": location})
    except dj.errors.DuplicateError:  # by a process that runs now, or that was ended
        raise _is_used("another process has begun to fill the database.") from None
    sessions.register_sessions(drawn.records(), location, report)
    row = {"release_name": name, "release_origin": "list", "release_rule": location}
    rows.insert1(release.Release(), row)
    rows.insert(
        release.Release.Insertion(), drawn.table[["eid", "probe_name"]], {"release_name": name}
    )
    report.count("releases", new=1)
    return report


def _insert_sources() -> None:
    """Add to each imported row, as its `Source`, all listed files of its key."""
    names = {"revision": "source_revision", "md5": "source_md5", "file_size": "source_size"}
    for table in catalog.tables():
        if not (hasattr(table, "Source") and table()):
            continue
        key = [*table.primary_key, "dataset_path"]
        listed = table().listed & table.proj()
        dj.conn().query(
            f"INSERT INTO {table.Source.full_table_name} ({sql.columns([*key, *names.values()])}) "
            f"SELECT {sql.columns([*key, *names])} FROM ({listed.make_sql()}) AS listed"
        )


def _analyze() -> None:
    """Update the server's statistics, which it does by itself when tables fill slowly."""
    command = "ANALYZE TABLE" if sql.is_mysql() else "VACUUM ANALYZE"
    for module in table_modules():
        for table in tables_of(module):
            for one in with_parts(table):
                dj.conn().query(f"{command} {one.full_table_name}")
