"""Text that would be SQL, a format or no text at all, given to everything that takes text."""

import inspect
from types import SimpleNamespace

import datajoint as dj
import pytest
from typer.testing import CliRunner

from populate import catalog, cli, downloads, permissions, stale, status, verify
from populate.registration import releases
from populate.workers import worker
from schemas import behavior, connection, session, views
from schemas.errors import BwmError, MissingDataset, ServerError
from schemas.views import pynapple
from tests.support.databases import tables

HOSTILE = (
    "'; DROP TABLE x; --",
    "' OR '1'='1",
    "\\' OR 1=1 -- ",
    '" OR ""="',
    "`; DROP TABLE x; --",
    "%s %(x)s {} %",
    "\\",
    "%",
    "_",
    "a\0b",
    "\ud800",
    "😀" * 8,
    "x" * 10_000,
    "../../etc/passwd",
    "",
)
"""None of them is the name of anything."""


@pytest.fixture(scope="module")
def _unchanged(_populated):
    """The database, which is afterwards as it was."""
    _populated.connect()
    before = count()
    yield _populated
    _populated.connect()
    assert count() == before


@pytest.fixture
def asked(_unchanged):
    _unchanged.connect()
    eid = behavior.Trials.to_arrays("eid", limit=1)[0]
    revised = session.Dataset & {"is_listed": True} & "revision <> ''"
    file = revised.to_dicts(order_by="KEY", limit=1)[0]
    return SimpleNamespace(database=_unchanged, eid=eid, file=file)


def count():
    held = {name: table.full_table_name for name, table in tables().items()}
    held |= {f"jobs of {catalog.name_of(t)}": t().jobs.full_table_name for t in catalog.tables()}
    each = (f"SELECT '{name}', count(*) FROM {table}" for name, table in held.items())
    return dict(dj.conn().query(" UNION ALL ".join(each)).fetchall())


def takes_text(function):
    """Names of the parameters of a function that take text."""
    found = inspect.signature(function).parameters.values()
    return [one.name for one in found if "str" in str(one.annotation).split(" | ")]


VIEWS = [getattr(views, name) for name in views.__all__]
VIEWS += [pynapple.fetch_trials, pynapple.fetch_wheel, pynapple.fetch_spikes]
PAIRS = [(function, name) for function in VIEWS for name in takes_text(function)]
FINE = {
    "criterion": "ibl_2022",
    "definition": "first_movement",
    "metrics_definition": "ibl_2024",
    "low": 1.0,
    "high": 100.0,
    "trial": 0,
}


def fill(function, name, text, eid):
    """Arguments of a function: what it needs, and in one place the text."""
    given = {name: text}
    for one in inspect.signature(function).parameters.values():
        needed = one.default is one.empty and one.kind is not one.VAR_KEYWORD
        if needed and one.name != name:
            given[one.name] = FINE.get(one.name) or (
                first_of(one.name)
                if one.name.endswith("_definition")
                else None
                if one.name == "region"
                else eid
            )
    return given


def first_of(name):
    """A definition that there is."""
    for table in tables().values():
        if issubclass(table, dj.Lookup) and table.primary_key == [name]:
            return table.to_arrays(name)[0]
    raise AssertionError(name)


def finds_nothing(function, *arguments, **given):
    """Ask; whether it was refused as the project refuses, or found nothing."""
    if "regions" in given:
        arguments = (given.pop("regions"),)
    try:
        found = function(*arguments, **given)
    except BwmError:
        return True
    return len(found) == 0 if hasattr(found, "__len__") else not found


@pytest.mark.parametrize(
    ("k", "function", "name"),
    [(k, *pair) for k, pair in enumerate(PAIRS)],
    ids=[f"{f.__module__[14:]}.{f.__name__}-{n}" for f, n in PAIRS],
)
def test_a_view_finds_nothing_or_says_so(asked, k, function, name):
    part_of_one = ("_", "") if name == "protocol" else ()
    for text in set(HOSTILE[k % 3 :: 3]).difference(part_of_one):
        given = fill(function, name, text, asked.eid)
        assert finds_nothing(function, **given), text


def test_every_view_that_takes_text_is_tried():
    named = {function.__name__ for function, _ in PAIRS}
    of_expressions = {"fetch_units", "fetch_location", "fetch_cortical_depth", "count_cohort"}
    of_numbers = {"bwm_candidates", "average_events", "fetch_measures"}
    assert {f.__name__ for f in VIEWS} - named == of_expressions | of_numbers


@pytest.mark.parametrize("text", HOSTILE[:-1], ids=lambda text: ascii(text)[:24])
def test_nothing_else_that_takes_text_is_led_astray(asked, text):
    tried = (
        lambda: downloads.find(text),
        lambda: releases.by_lab(text),
        lambda: releases.diff(text, text),
        lambda: releases.describe_release(text),
        lambda: catalog.find([text]),
        lambda: [row for row in status.status(eid=text) if row.done or row.pending],
        lambda: status.failures(eid=text),
        lambda: stale.find(eid=text),
        lambda: worker.retry(eid=text),
        lambda: verify.verify(eid=text).damage,
        lambda: connection.schema(text),
    )
    for one in tried:
        assert finds_nothing(one), inspect.getsource(one)


# --- what is right but for its end --------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:24])
def test_a_file_is_found_by_its_very_name_and_revision(asked, text):
    eid, path, revision = (asked.file[name] for name in ("eid", "dataset_path", "revision"))
    if text == "":
        assert [row["dataset_path"] for row in downloads.find(eid, like=path)] == [path]
        assert asked.file in downloads.find(eid, revision=revision)
        return
    with pytest.raises(MissingDataset, match="no file matches"):
        downloads.find(eid, like=path + text)
    with pytest.raises(MissingDataset, match=r"no file that matches .* has the revision"):
        downloads.find(eid, revision=revision + text)


TAKEN = {
    "user": ("ann", {"_", ""}),
    "host": ("10.0.0.1", {"_", "", "%", "../../etc/passwd"}),
    "schema": ("alice", {"_", ""}),
}
"""What names begin with, and the ends with which they still are names."""


def grants(backend, user="ann", host="10.0.0.1", schema="alice"):
    return "\n".join(permissions.statements(backend, "bwm", "analyst", user, host, [schema]))


@pytest.mark.parametrize("backend_name", ["mysql", "postgresql"])
@pytest.mark.parametrize("place", TAKEN)
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:24])
def test_a_role_is_granted_to_the_very_name_or_to_none(backend_name, place, text):
    begin, taken = TAKEN[place]
    if text not in taken:
        with pytest.raises(ServerError) as refused:
            grants(backend_name, **{place: begin + text})
        assert repr(begin + text)[:40] in str(refused.value)
        return
    is_pattern = backend_name == "mysql" and place == "schema"
    written = (begin + text).replace("_", r"\_" if is_pattern else "_")
    expected = grants(backend_name).replace(begin, written)
    assert grants(backend_name, **{place: begin + text}) == expected


# --- the command --------------------------------------------------------------------------------

COMMANDS = (
    ("units", "--region", "{}"),
    ("units", "--region", "TH", "--release", "{}"),
    ("fetch", "{}", "--like", "*"),
    ("populate", "--only", "{}"),
    ("retry", "--only", "{}"),
    ("retry", "--session", "{}"),
    ("status", "--session", "{}"),
    ("verify", "--session", "{}"),
    ("release", "show", "{}"),
    ("release", "diff", "{}", "{}"),
    ("split", "halves", "{}"),
)
RIGHT = (
    ("fetch", "{eid}", "--list", "--like", "{dataset_path}{}"),
    ("fetch", "{eid}", "--list", "--like", "*", "--revision", "{revision}{}"),
    ("server", "grant", "reader", "ann{}"),
    ("server", "grant", "reader", "ann", "--schema", "alice{}"),
)
"""Commands that do what they say, but for a text at the end of a word."""


@pytest.mark.parametrize("words", [*COMMANDS, *RIGHT], ids=" ".join)
def test_a_command_says_what_is_wrong(asked, words):
    for text in ("'; DROP TABLE x; --", "%s", "a\0b", ""):
        given = [word.format(text, **asked.file) for word in words]
        found = CliRunner().invoke(cli.app, given, env=asked.database.environment)
        if words in RIGHT and text == "":
            assert found.exit_code == 0, found.output
            continue
        assert found.exit_code == 1, (text, found.output)  # 2: it is asked in a wrong way
        assert isinstance(found.exception, SystemExit), found.exception
        assert "Traceback" not in found.output
