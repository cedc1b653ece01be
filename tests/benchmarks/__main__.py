"""Run all benchmarks, print one table, and draw it: `make bench`.

    python -m tests.benchmarks [--only NAME] [--quick] [--insertions N] [--write FOLDER]

Each benchmark runs in a process of its own. `--insertions 699` asks the questions at 2024 size.
"""
# ruff: noqa: T201

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import table

HERE = Path(__file__).parent
PARTS = (
    "unit_metrics",
    "psth",
    "autocorrelogram",
    "from_files",
    "one_insertion",
    "tensor",
    "sessions",
    "inserts",
    "ask",
)


def run_part(name, arguments):
    """Run a benchmark in a process of its own; return its rows, or None if it failed."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "rows.json"
        command = [sys.executable, "-m", "tests.benchmarks", "--part", name, "--write", str(path)]
        command += ["--insertions", str(arguments.insertions)]
        command += ["--quick"] if arguments.quick else []
        if subprocess.run(command, check=False).returncode:
            return None
        return [table.Row(*row) for row in json.loads(path.read_text())]


def write_part(name, arguments):
    """Run a benchmark in this process, and write its rows as JSON."""
    options = {"n_insertions": arguments.insertions} if name == "ask" else {}
    module = importlib.import_module(f"tests.benchmarks.{name}")
    rows = module.table_rows(arguments.quick, **options)
    arguments.write.write_text(json.dumps([[row.what, row.seconds, row.spent] for row in rows]))


def measure(names, arguments):
    """Run benchmarks one after the other; return the rows of all, and the names of those failed."""
    parts = {name: run_part(name, arguments) for name in names}
    rows = [row for part in parts.values() if part is not None for row in part]
    return table.merged(rows), [name for name, part in parts.items() if part is None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=PARTS, action="append", help="may be repeated")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, 20 insertions")
    parser.add_argument("--insertions", type=int, default=0, help="of the questions; default 100")
    parser.add_argument("--write", type=Path, default=HERE, help="folder of table.md and table.png")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        write_part(arguments.part, arguments)
        return
    rows, failed = measure(arguments.only or PARTS, arguments)
    notes = []
    if "ask" in (arguments.only or PARTS):
        n_insertions = arguments.insertions or (20 if arguments.quick else 100)
        notes.append(f"Questions: {n_insertions} simulated insertions.")
    text = table.markdown(rows, notes)
    print(text)
    arguments.write.mkdir(exist_ok=True)
    (arguments.write / "table.md").write_text(text)
    table.draw(rows, arguments.write / "table.png")
    sys.exit(f"failed: {', '.join(failed)}" if failed else None)


if __name__ == "__main__":
    main()
