"""The catalog: which tables are found by which name, and which modules of a user are rejected."""

import sys
from contextlib import nullcontext

import datajoint as dj
import pytest

from populate import catalog
from schemas import connection
from schemas.errors import QueryError, ServerError, SettingsError


def named(module, name):
    """A computed table of a module, in no schema."""
    return type(name, (dj.Computed,), {"__module__": module, "definition": "-> Nothing"})


@pytest.fixture
def own(monkeypatch):
    """Let the catalog know tables without a server."""

    def known(*tables):
        monkeypatch.setattr(catalog, "_own", list(tables))
        return list(tables)

    return known


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the working directory; the catalog takes it for connected."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(connection, "making_tables", nullcontext)
    before = set(sys.modules)

    def written(text, name="probe_tables"):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    yield written
    catalog.use([])
    for name in set(sys.modules) - before:
        del sys.modules[name]


def refused(*names):
    with pytest.raises(SettingsError) as error:
        catalog.use(names)
    assert catalog.tables() == OURS
    return str(error.value)


OURS = catalog.tables()


# --- names --------------------------------------------------------------------------------------


def test_tables_of_a_user_come_after_ours_and_are_found_by_name(own):
    (mine,) = own(named("lab.my_tables", "Mine"))
    assert catalog.tables() == [*OURS, mine]
    assert catalog.name_of(mine) == "my_tables.Mine"
    for name in ("Mine", "mine", "my_tables.Mine", "MY_TABLES.mine"):
        assert catalog.find([name]) == [mine]
    assert catalog.find(["Mine", "Trials"])[-1] is mine
    assert catalog.find(None) == catalog.find([]) == catalog.tables()


def test_a_name_that_two_tables_have_needs_its_module(own):
    (mine,) = own(named("my_tables", "Trials"))
    with pytest.raises(QueryError, match=r"and my_tables.Trials have the name 'trials'"):
        catalog.find(["trials"])
    assert catalog.find(["my_tables.trials"]) == [mine]
    assert [catalog.name_of(table) for table in catalog.find(["behavior.Trials"])] == [
        "behavior.Trials"
    ]


def test_an_unknown_name_is_an_error_that_names_those_of_the_user_too(own):
    own(named("my_tables", "Mine"))
    with pytest.raises(QueryError, match=r"no table 'Yours'.*behavior.Trials.*my_tables.Mine"):
        catalog.find(["Yours"])


# --- modules that cannot be used ----------------------------------------------------------------


def test_modules_are_used_when_there_is_a_connection(tmp_path, monkeypatch):
    connection.disconnect()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ServerError, match=r"nothing is connected. Call `connection.connect\(\)`"):
        catalog.use(["my_tables"])
    with pytest.raises(ServerError, match=r"schema alice: nothing is connected. Call `connection"):
        connection.schema("alice")
    catalog.use([])  # needs none


@pytest.mark.parametrize("name", ["no_such", "no_such.inner", "probe_tables.inner"])
def test_a_module_that_is_not_there_is_said_with_where_it_was_looked_for(module, tmp_path, name):
    module("")
    said = refused(name)
    assert said.startswith(f"{name}: no such module in {tmp_path} or on Python's path")


def test_a_file_that_is_not_there_is_said(module):
    assert refused("folder/tables.py").startswith("folder/tables.py: there is no such file.")


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("import os\n\nimport no_such_library\n", 3, "No module named 'no_such_library'"),
        ("x = 1\nx = [\n", 2, "SyntaxError: '[' was never closed"),
        ("import json\n\njson.loads('[')\n", 3, "JSONDecodeError: Expecting value"),
        ("def f():\n    return 1 / 0\n\n\nf()\n", 2, "ZeroDivisionError"),
        ("from schemas import rows\nrows.lookup('a, b', (1,))\n", 2, "Error"),
    ],
)
def test_an_import_that_fails_is_said_with_its_line(module, text, line, what):
    path = module(text)
    said = refused("probe_tables")
    assert said.startswith(f"{path}, line {line}: cannot be imported (")
    assert what in said


def test_an_error_of_ours_within_an_import_is_said_as_it_is(module, monkeypatch):
    monkeypatch.setattr(connection, "_active", None)
    path = module("from schemas import connection\n\nschema = connection.schema('alice')\n")
    said = refused("probe_tables")
    assert said.startswith(f"{path}, line 3: cannot be imported (schema alice: nothing is connect")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "import datajoint as dj\n\n\nclass Mine(dj.Manual):\n    definition = 'a : int32'\n",
        "from schemas.ephys import Spikes\n",
    ],
)
def test_a_module_without_a_table_to_fill_is_refused(module, text):
    path = module(text)
    for name in ("probe_tables", "probe_tables.py", str(path)):
        assert refused(name).startswith(f"{path}: it has no table to fill.")


IN_NO_SCHEMA = """
import datajoint as dj

schema = dj.Schema()


@schema
class Mine(dj.Computed):
    definition = "-> Nothing"
"""


@pytest.mark.parametrize("text", [IN_NO_SCHEMA, IN_NO_SCHEMA.replace("@schema", "")])
def test_a_table_in_no_schema_is_refused(module, text):
    path = module(text)
    assert refused("probe_tables").startswith(
        f"{path}, Mine: the table is in no schema of the database. Write `schema ="
    )


def test_a_file_whose_name_another_module_has_is_refused(module):
    path = module("", "json")
    assert refused(str(path)).startswith(f"{path}: another module has the name 'json': ")


def test_one_module_that_is_refused_is_as_if_none_was_named(module, own):
    own(named("my_tables", "Earlier"))
    module("")
    assert refused("probe_tables", "no_such")
