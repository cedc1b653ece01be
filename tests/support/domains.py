"""The table of domains in `schemas/domains.md`."""

from pathlib import Path

from schemas.sources.alf.domains import DOMAINS, INSERTIONS

DOCUMENT = Path(__file__).parents[2] / "schemas" / "domains.md"
BEGIN, END = "<!-- domains: begin -->", "<!-- domains: end -->"


def rows():
    """Rows of the table, one a column."""
    yield "| data | column | unit | values | order | may be missing |"
    yield "|---|---|---|---|---|---|"
    for kind, columns in {**DOMAINS, "insertions": INSERTIONS}.items():
        for name, domain in columns.items():
            values = domain.allowed + (", whole" if domain.whole else "")
            if domain.usual < domain.greatest:
                values += f", half of them up to {domain.usual:,g}"
            missing = "yes" if domain.missing else ""
            yield f"| {kind} | `{name}` | {domain.unit} | {values} | {domain.order} | {missing} |"


if __name__ == "__main__":
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text("\n".join([before + BEGIN, *rows(), END + after]), encoding="utf-8")
