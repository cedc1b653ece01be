"""The page of requests: its questions as they are printed."""

import re
from pathlib import Path

from tests.support.cookbook import Question, blocks

PAGE = Path(__file__).parents[2] / "notebooks" / "requests.md"


def read():
    """Return the lines that come first, and the questions by number."""
    start, *sections = re.split(r"^## (?=\d)", PAGE.read_text(encoding="utf-8"), flags=re.M)
    questions = {}
    for section in sections:
        (python,), sql = blocks(section, "python"), blocks(section, "sql")
        title = section.partition("\n")[0]
        number = int(title.partition(".")[0])
        questions[number] = Question(title, python, sql[0] if sql else "", None)
    (setup,) = blocks(start, "python")
    return setup, questions


def listed():
    """Return the numbers of the table, and whether each has a call."""
    lines = re.findall(r"^\| (\d+)(?:( to |, )(\d+))? \|.*\| (.*) \|$", PAGE.read_text(), re.M)
    found = {}
    for first, _, last, call in lines:
        for number in range(int(first), int(last or first) + 1):
            found[number] = call
    return found
