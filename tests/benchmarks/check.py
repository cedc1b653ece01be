"""Hold ten ratios of the quick benchmarks: `make bench-check`.

    python -m tests.benchmarks.check [--store]

Ratios of times of one run are the same on a fast and a slow machine; `ratios.json` holds those that
were measured last. A ratio that is more than 50 % larger fails. `--store` writes the file anew.
"""
# ruff: noqa: T201

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks.__main__ import measure

STORED = Path(__file__).with_name("ratios.json")
SLACK = 1.5
PARTS = ("unit_metrics", "psth", "from_files", "inserts", "ask")
HELD = (
    "metrics of 540 units, 8.6 M spikes",
    "rates of 540 units, 600 trials",
    "import of 8.6 M spikes",
    "train of one unit",
    "frame of 8.6 M spikes",
    "1,000 Cluster rows into PostgreSQL",
    "1,000 Cluster rows into MySQL",
    "inclusion chain",
    "metric differences",
    "all columns of good units",
)


def compare(found, stored):
    """Say of each ratio whether it holds; return the lines, and the number that fail."""
    lines, n_failed = [], 0
    for name, before in stored.items():
        now = found.get(name)
        holds = now is not None and now <= SLACK * before
        n_failed += not holds
        if now is None:
            lines.append(f"FAILED {name}: not measured")
        else:
            told = "ok    " if holds else "FAILED"
            more = f", {now / before - 1:+.0%} (at most +50%)"
            lines.append(f"{told} {name}: ratio {now:.2f}, stored {before:.2f}{more}")
    return lines, n_failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--store", action="store_true", help="store the ratios as measured now")
    arguments = parser.parse_args()
    options = argparse.Namespace(quick=True, insertions=0)
    rows, _ = measure(PARTS, options)  # what was not measured fails below
    found = {row.what: row.ratio for row in rows}
    if arguments.store:
        ratios = {name: round(found[name], 3) for name in HELD}
        STORED.write_text(json.dumps(ratios, indent=2) + "\n")
        return
    lines, n_failed = compare(found, json.loads(STORED.read_text()))
    print("\n".join(lines))
    sys.exit(f"{n_failed} of {len(lines)} ratios failed" if n_failed else None)


if __name__ == "__main__":
    main()
