"""The documents tell the truth."""

import functools
import importlib
import re
from pathlib import Path

import datajoint as dj

from populate import catalog, cli, diagram
from schemas import session
from schemas.sources import alf

ROOT = Path(__file__).parents[2]
README, SCHEMAS, POPULATE = (
    (ROOT / folder / "README.md").read_text(encoding="utf-8")
    for folder in ("", "schemas", "populate")
)


def test_the_diagram_is_that_of_the_definitions():
    shown = SCHEMAS.partition(diagram.BEGIN)[2].partition(diagram.END)[0]
    assert shown.strip() == diagram.mermaid(), "run `make diagram`"


def commands():
    """Every command as it is typed."""
    for command in cli.app.registered_commands:
        yield command.callback.__name__
    for group in cli.app.registered_groups:
        for command in group.typer_instance.registered_commands:
            yield f"{group.name} {command.name or command.callback.__name__}"


def test_every_command_is_in_the_documents():
    alternatives = re.findall(r"bwm (\w+) ((?:\w+\\\|)+\w+)", POPULATE)
    told = POPULATE + "".join(
        f"bwm {group} {word} " for group, words in alternatives for word in words.split("\\|")
    )
    for command in commands():
        assert f"bwm {command}" in told


def test_every_command_of_the_documents_exists():
    known = {command.split()[0] for command in commands()}
    for line in re.findall(r"^(?:\| `)?bwm (?:--demo )?(\w+)", README + POPULATE, re.M):
        assert line in known


def data_rows():
    """Rows of the table of data: files, and tables."""
    table = SCHEMAS.partition("<!-- data: begin -->")[2].partition("<!-- data: end -->")[0]
    for line in table.strip().splitlines()[2:]:
        _, _, files, tables, _ = line.split("|")
        yield re.findall("`([^`]+)`", files), re.findall("`([^`]+)`", tables)


def table_of(name):
    module, *path = name.split(".")
    return functools.reduce(getattr, path, importlib.import_module(f"schemas.{module}"))


def test_the_table_of_data_says_where_each_file_goes():
    told = set()
    for files, names in data_rows():
        tables = [table_of(name) for name in names]
        assert all(issubclass(table, dj.Table) for table in tables)
        for path in files:
            kind = alf.classify(path)
            (table,) = tables
            readers = {t for t in catalog.tables() if kind in getattr(t, "kinds", ())}
            if kind == "other" or kind.startswith("raw_"):
                assert table is session.Dataset
                assert not {table for table in readers if table.kinds[0] == kind}
            else:
                assert table in readers
                assert table.kinds[0] == kind
            told.add(kind)
    assert told == set(alf.KINDS)


def test_the_table_of_data_names_every_table_that_reads_files():
    named = {table_of(name) for _, names in data_rows() for name in names}
    assert {table for table in catalog.tables() if hasattr(table, "kinds")} <= named


def test_the_printed_query_is_that_of_the_demo():
    from populate import demo

    assert demo.RATES.code.strip() in README
    assert demo.RATES.title in README


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_every_link_of_the_documents_leads_to_a_file():
    for folder, text in (("", README), ("schemas", SCHEMAS), ("populate", POPULATE)):
        for link in re.findall(r"\]\(([^)#]+)\)", text):
            assert (ROOT / folder / link).exists(), f"{folder}/README.md: {link}"
