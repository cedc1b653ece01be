"""Every table definition says its grain first, and comments every attribute, unit first."""

import importlib
import re

import datajoint as dj
import pytest

from schemas import MODULES, quality
from schemas.database.declared import tables_of, with_parts
from schemas.sources import alf

ATTRIBUTE = re.compile(
    r"^(?P<name>[a-z][a-z0-9_]*)(?: *= *[^:]+?)? *: *(?P<type>\S+) *# (?P<comment>.+)$"
)
CORE_TYPE = re.compile(
    r"int(8|16|32|64)|float64|bool|json|date|datetime\(6\)|char\((32|36)\)|varchar\(\d+\)|"
    r"decimal\(\d+,\d+\)|<blob>|<parquet@bulk>"
)
RESERVED = {
    "order",
    "group",
    "left",
    "right",
    "rank",
    "index",
    "end",
    "user",
    "key",
    "keys",
    "row",
    "rows",
    "lateral",
    "system",
    "table",
    "column",
    "values",
    "value",
    "range",
    "window",
    "groups",
    "function",
    "condition",
    "interval",
    "check",
    "default",
    "desc",
    "asc",
}


def tables():
    for name in MODULES:
        for table in tables_of(importlib.import_module(f"schemas.{name}")):
            yield from with_parts(table)


TABLES = {f"{t.__module__}.{t.__qualname__}": t for t in tables()}


def lines(table):
    return [line.strip() for line in table.definition.strip().splitlines()]


def attributes(table):
    """(match, is in the primary key) of each attribute that is no foreign key or index."""
    in_key = True
    for line in lines(table):
        if line == "---":
            in_key = False
        elif line and not line.startswith(("#", "->", "unique index", "index")):
            yield line, ATTRIBUTE.match(line), in_key


@pytest.mark.parametrize("name", TABLES)
def test_the_first_line_is_the_grain(name):
    assert lines(TABLES[name])[0].startswith("# one row per ")


@pytest.mark.parametrize("name", TABLES)
def test_every_attribute_is_commented_and_typed(name):
    for line, match, _ in attributes(TABLES[name]):
        assert match, f"not 'name : type  # comment': {line}"
        assert CORE_TYPE.fullmatch(match["type"]), f"not a core type of both servers: {line}"
        assert match["name"] not in RESERVED, f"a reserved word on one of the servers: {line}"
        assert "%" not in line, f"a percent sign breaks the declaration: {line}"
        if match["type"] == "float64":
            assert re.match(r"\([a-zA-Z/]+\) ", match["comment"]), f"no unit first: {line}"


@pytest.mark.parametrize("name", TABLES)
def test_a_number_that_may_be_unknown_is_nullable(name):
    for line, match, in_key in attributes(TABLES[name]):
        if match["type"] == "float64" and re.search(r"where|may be NaN", match["comment"]):
            assert in_key or "= null" in line, line


@pytest.mark.parametrize(
    "name", [n for n, t in TABLES.items() if issubclass(t, (dj.Imported, dj.Computed))]
)
def test_a_made_table_is_keyed_by_foreign_keys_only(name):
    own = [line for line, _, in_key in attributes(TABLES[name]) if in_key]
    assert not own, "what is finer than the parents belongs into a part"


@pytest.mark.parametrize("name", [n for n, t in TABLES.items() if issubclass(t, dj.Imported)])
def test_an_imported_table_says_what_it_was_read_from(name):
    assert f"{name}.Source" in TABLES


@pytest.mark.parametrize("name", [n for n, t in TABLES.items() if issubclass(t, dj.Imported)])
def test_an_imported_table_says_what_is_on_offer_for_it(name):
    assert isinstance(TABLES[name].listed, property)
    assert set(TABLES[name].kinds) <= set(alf.KINDS)


def test_every_kind_of_data_is_imported_by_one_table_or_is_a_pointer():
    imported = [t.kinds[0] for t in TABLES.values() if issubclass(t, dj.Imported)]
    pointers = [kind for kind in alf.KINDS if kind.startswith("raw_")]
    assert sorted([*imported, *pointers, "other"]) == sorted(alf.KINDS)


@pytest.mark.parametrize("name", TABLES)
def test_definitions_are_aligned(name):
    colons = {line.index(" :") for line, _, _ in attributes(TABLES[name])}
    assert len(colons) <= 1, f"colons at {sorted(colons)}"


@pytest.mark.parametrize("name", TABLES)
def test_every_table_says_why_it_is(name):
    assert TABLES[name].__doc__.strip()


REPEATED = {"schemas.quality.GoodUnitSummary.GoodUnit": quality.SHOWN}
"""Columns that a table repeats on purpose: join its `.proj()` with the table of all columns."""


def test_secondary_names_are_unique_across_tables():
    """A name that two tables share by chance would be an error in every join of them."""
    seen = {}
    for name, table in TABLES.items():
        for line, match, _ in attributes(table):
            if name.endswith(".Source") or match["name"] in REPEATED.get(name, ()):
                continue
            other = seen.setdefault(match["name"], name)
            assert other == name, f"{match['name']} is in {other} and {name}: {line}"
