"""The cookbook: its questions as they are printed, and what they answer.

`python -m tests.support.cookbook` asks them of the demo and stores the answers in the page.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import datajoint as dj
import pandas as pd

from schemas import connection, settings

PAGE = Path(__file__).parents[2] / "notebooks" / "cookbook.md"
PREFIX = "bwm"
SHOWN = 8  # rows


@dataclass(frozen=True)
class Question:
    """A question in both forms; `shown` is the answer that is printed, or None."""

    title: str
    python: str
    sql: str
    shown: str | None


def blocks(text, language):
    """What stands between the fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def names(sql):
    """Names of tables, with their schemas, that a query reads."""
    return re.findall(r'"\w+"\."[\w#]+"', sql)


def read():
    """Return the lines that connect, the statement that MySQL needs first, and the questions."""
    start, *sections = re.split(r"^## (?=\d)", PAGE.read_text(encoding="utf-8"), flags=re.M)
    questions = []
    for section in sections:
        (python,), (sql,) = blocks(section, "python"), blocks(section, "sql")
        shown = blocks(section, "text")
        title = section.partition("\n")[0]
        questions.append(Question(title, python, sql, shown[0] if shown else None))
    (setup,), (quotes,) = blocks(start, "python"), blocks(start, "sql")
    return setup, quotes, questions


def ask(question, setup):
    """Answer with DataJoint, connected as it is."""
    names = {}
    exec(setup.replace("connection.connect()", ""), names)
    exec(question.python, names)
    return names["table"]


def ask_server(question, prefix):
    """Answer with SQL; on MySQL after the statement of the page."""
    sql = question.sql.replace(f'"{PREFIX}_', f'"{prefix}_')
    cursor = dj.conn().query(sql)
    return pd.DataFrame(cursor.fetchall(), columns=[column[0] for column in cursor.description])


def show(table):
    """Print an answer as the page does: the first rows, and how many there are."""
    text = table.head(SHOWN).round(3).to_string(index=False)
    return text + (f"\n({len(table)} rows)\n" if len(table) > SHOWN else "\n")


def store(answers):
    """Write answers into the page, by title, where it has room for them."""
    head, *sections = re.split(r"^(?=## \d)", PAGE.read_text(encoding="utf-8"), flags=re.M)
    for i, section in enumerate(sections):
        text = show(answers[section.partition("\n")[0].removeprefix("## ")])
        filled = lambda _, text=text: f"```text\n{text}```"  # noqa: E731
        sections[i] = re.sub(r"^```text\n(?:.*?)^```$", filled, section, flags=re.M | re.S)
    PAGE.write_text(head + "".join(sections), encoding="utf-8")


if __name__ == "__main__":
    connection.connect(settings.load(), demo=True)
    setup, _, questions = read()
    store({question.title: ask(question, setup) for question in questions})
