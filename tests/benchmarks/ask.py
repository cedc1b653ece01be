"""Ask the twelve questions of the connected database, pandas and DuckDB, interleaved.

    BWM_PREFIX=size2024 python -m tests.benchmarks.ask

The database is one that `bwm simulate --release-size` has filled. Wall times are medians, in ms;
cold pandas reads its Parquet files, warm pandas has them in memory. MB is what asking adds to the
peak memory of this process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pandas as pd

from populate import release_size
from schemas import connection
from tests.benchmarks import commands, questions
from tests.benchmarks.from_files import peak, reset_peak
from tests.benchmarks.table import Row
from tests.support import servers
from tests.support.databases import Database


def timed(call):
    start = time.perf_counter()
    found = call()
    return 1e3 * (time.perf_counter() - start), found


class Duck:
    """DuckDB on the Parquet files."""

    def __init__(self, folder: Path) -> None:
        self._connection = duckdb.connect()
        for path in folder.glob("*.parquet"):
            self._connection.execute(f"CREATE VIEW \"{path.stem}\" AS FROM '{path}'")

    def ask(self, question: str) -> pd.DataFrame:
        return self._connection.execute(question).df()


def ask(folder: Path, rounds: int, only: str = "") -> pd.DataFrame:
    """Return the figures, a row per question."""
    warm = questions.Files(folder)
    duck = Duck(folder)
    found = []
    for question in questions.QUESTIONS:
        if only in question.name:
            found.append(_ask(question, folder, warm, duck, rounds))
            shown = pd.DataFrame(found[-1:]).round()
            print(shown.to_string(index=False, header=len(found) == 1))
    return pd.DataFrame(found).set_index("question")


def _ask(
    question: questions.Question, folder: Path, warm: questions.Files, duck: Duck, rounds: int
) -> dict[str, object]:
    ways = {
        "ours": question.ours,
        "pandas cold": lambda: question.pandas(questions.Files(folder)),
        "pandas warm": lambda: question.pandas(warm),
        "DuckDB": lambda: duck.ask(question.duckdb),
    }
    question.pandas(warm)  # reads the files
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            reset_peak()
            before = peak()
            ms, answer = timed(way)
            taken[name].append(ms)
            if name == "ours":
                added, n_rows = peak() - before, len(answer)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {"question": question.name, **medians, "MB": added, "rows": n_rows}


N_INSERTIONS, N_QUICK = 100, 20
REAL = Path(__file__).parents[2].parent / "shared" / "real"
"""Tables of real units and sites: databases are filled in their proportions, where they are."""


def table_rows(quick: bool = False, size: str = "2024", n_insertions: int = 0) -> list[Row]:
    """Ask in databases of their own, and time commands: 100 insertions, or as many as are given."""
    n_insertions = n_insertions or (N_QUICK if quick else N_INSERTIONS)
    found = []
    for column, name in (("ours, PostgreSQL", "postgresql"), ("ours, MySQL", "mysql")):
        with filled(name, size, n_insertions) as (folder, database):
            answers = ask(folder, 3 if quick else 5)
            of_commands = commands.table_rows(column, database.environment)
        for question, taken in answers.iterrows():
            seconds = {column: taken["ours"] / 1e3}
            seconds |= {way: taken[way] / 1e3 for way in ("pandas cold", "pandas warm", "DuckDB")}
            found.append(Row(str(question), seconds))
        found += of_commands
    return found


@contextmanager
def filled(
    name: str, size: str, n_insertions: int, n_spikes: int = 0
) -> Iterator[tuple[Path, Database]]:
    """Connect to a new database with so many insertions; give the folder of its Parquet files."""
    with tempfile.TemporaryDirectory() as place, servers.as_shipped(name) as backend:
        database = Database(backend, Path(place) / "home")
        database.connect()
        like = REAL if REAL.is_dir() else None
        release_size.fill(size, like=like, n_insertions=n_insertions, n_spikes=n_spikes)
        folder = Path(place) / "files"
        folder.mkdir()
        questions.export(folder)
        yield folder, database
        database.drop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="part of the names of questions")
    parser.add_argument("--files", type=Path, help="folder of exported Parquet files, kept")
    arguments = parser.parse_args()
    connection.connect()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.files or Path(temporary)
        folder.mkdir(exist_ok=True)
        if not any(folder.glob("*.parquet")):
            questions.export(folder)
        ask(folder, arguments.rounds, arguments.only)


if __name__ == "__main__":
    main()
