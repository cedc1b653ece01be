"""Text that would be SQL, a format or no text at all, given to everything that takes text."""

import inspect
from types import SimpleNamespace

import datajoint as dj
import pytest
from typer.testing import CliRunner

from populate import cli, fetch, plan, releases, roles, stale, status, verify, worker
from schemas import behavior, connection, views
from schemas.errors import BwmError
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
    return SimpleNamespace(database=_unchanged, eid=eid)


def count():
    held = {name: table.full_table_name for name, table in tables().items()}
    held |= {f"jobs of {plan.name_of(t)}": t().jobs.full_table_name for t in plan.tables()}
    each = (f"SELECT '{name}', count(*) FROM {table}" for name, table in held.items())
    return dict(dj.conn().query(" UNION ALL ".join(each)).fetchall())


def takes_text(function):
    """Names of the parameters of a function that take text."""
    found = inspect.signature(function).parameters.values()
    return [one.name for one in found if "str" in str(one.annotation).split(" | ")]


VIEWS = [getattr(views, name) for name in views.__all__]
VIEWS += [pynapple.trials, pynapple.wheel, pynapple.spikes]
PAIRS = [(function, name) for function in VIEWS for name in takes_text(function)]
FINE = {
    "criterion": "ibl_2022",
    "definition": "first_movement",
    "metrics_definition": "ibl_2024",
}


def fill(function, name, text, eid):
    """Arguments of a function: what it needs, and in one place the text."""
    given = {name: text}
    for one in inspect.signature(function).parameters.values():
        needed = one.default is one.empty and one.kind is not one.VAR_KEYWORD
        if needed and one.name != name:
            first = {"psth_definition": first_of, "response_definition": first_of}
            given[one.name] = FINE.get(one.name) or (
                first[one.name](one.name)
                if one.name in first
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
    assert {f.__name__ for f in VIEWS} - named == {"bwm_candidates", "unit_table"}


@pytest.mark.parametrize("text", HOSTILE[:-1], ids=lambda text: ascii(text)[:24])
def test_nothing_else_that_takes_text_is_led_astray(asked, text):
    tried = (
        lambda: fetch.find(text),
        lambda: fetch.find(asked.eid, like=f"\n{text}"),
        lambda: fetch.find(asked.eid, revision=f"\n{text}"),
        lambda: releases.by_lab(text),
        lambda: releases.diff(text, text),
        lambda: releases.describe(text),
        lambda: plan.find([text]),
        lambda: [row for row in status.status(eid=text) if row.done or row.pending],
        lambda: status.failures(eid=text),
        lambda: stale.find(eid=text),
        lambda: worker.retry(eid=text),
        lambda: verify.verify(eid=text).damage,
        lambda: roles.statements("mysql", "bwm", "reader", f"{text} "),
        lambda: connection.schema(text),
    )
    for one in tried:
        assert finds_nothing(one), inspect.getsource(one)


COMMANDS = (
    ("units", "--region", "{}"),
    ("units", "--release", "{}"),
    ("fetch", "{}"),
    ("fetch", "{eid}", "--like", "{}\n"),
    ("fetch", "{eid}", "--revision", "{}\n"),
    ("populate", "--only", "{}"),
    ("retry", "--only", "{}"),
    ("retry", "--session", "{}"),
    ("status", "--session", "{}"),
    ("verify", "--session", "{}"),
    ("release", "show", "{}"),
    ("release", "diff", "{}", "{}"),
    ("server", "grant", "reader", "{} "),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_says_what_is_wrong(asked, words):
    for text in ("'; DROP TABLE x; --", "%s", "a\0b", ""):
        given = [word.format(text, eid=asked.eid) for word in words]
        found = CliRunner().invoke(cli.app, given, env=asked.database.environment)
        assert found.exit_code in (1, 2), (text, found.output)
        assert isinstance(found.exception, SystemExit), found.exception
        assert "Traceback" not in found.output
