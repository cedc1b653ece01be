"""The cookbook: each question asked in DataJoint and in SQL, of both servers, to the same rows."""

from decimal import Decimal

import datajoint as dj
import pytest

from schemas import connection, rows, settings
from tests.support import cookbook
from tests.support.databases import tables

SETUP, QUOTES, QUESTIONS = cookbook.read()
TITLES = [question.title for question in QUESTIONS]


@pytest.fixture
def quoted(populated, backend):
    """The database, on MySQL after the statement of the page."""
    if backend.name == "mysql":
        (mode,) = dj.conn().query("SELECT @@sql_mode").fetchone()
        dj.conn().query(QUOTES)
        yield populated
        dj.conn().query("SET SESSION sql_mode = %s", (mode,))
    else:
        yield populated


def plain(value):
    """One Python value for what the servers and pandas have several for; floats to 1e-9."""
    value = rows.clean(value)
    if isinstance(value, float | Decimal):
        return f"{float(value):.9e}" if value % 1 else str(int(value))
    return str(int(value)) if isinstance(value, bool) else str(value)


def as_rows(table):
    return sorted(tuple(map(plain, row)) for row in table.astype(object).to_numpy())


def test_there_are_twelve_questions_numbered_in_order():
    assert [int(title.partition(".")[0]) for title in TITLES] == list(range(1, 13))


@pytest.mark.parametrize("question", QUESTIONS, ids=TITLES)
def test_both_forms_give_the_same_rows(quoted, question):
    table = cookbook.ask(question, SETUP)
    found = cookbook.ask_server(question, quoted.settings.prefix)
    assert list(found) == list(table)
    assert as_rows(found) == as_rows(table)
    assert len(table) > 0


@pytest.fixture(scope="module")
def shown(demo):
    """Answers of the demo, asked once, as a user would: connected to it and to nothing else."""
    given = pytest.MonkeyPatch()
    with given.context() as patch:
        for name, value in demo.own.items():
            patch.setenv(name, value)
        connection.connect(settings.load(), demo=True)
        answers = {question.title: cookbook.ask(question, SETUP) for question in QUESTIONS}
        connection.disconnect()
    return answers


@pytest.mark.parametrize("question", QUESTIONS, ids=TITLES)
def test_the_answer_on_the_page_is_that_of_the_demo(shown, question):
    if question.shown is not None:
        assert question.shown == cookbook.show(shown[question.title])


def test_the_page_names_tables_as_they_are(populated):
    known = {table.full_table_name.replace("`", '"') for table in tables().values()}
    known = {name.replace(f'"{populated.settings.prefix}_', '"bwm_') for name in known}
    for question in QUESTIONS:
        for name in cookbook.names(question.sql):
            assert name in known


def test_every_question_says_what_its_answer_is():
    text = cookbook.PAGE.read_text(encoding="utf-8")
    for title in TITLES:
        said = text.partition(f"## {title}\n")[2].partition("```")[0]
        assert len(said.split()) >= 8, title
