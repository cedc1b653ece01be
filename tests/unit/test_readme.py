"""The README tells the truth."""

import re
from pathlib import Path

from populate import cli, diagram

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_diagram_is_that_of_the_definitions():
    shown = README.partition(diagram.BEGIN)[2].partition(diagram.END)[0]
    assert shown.strip() == diagram.mermaid(), "run `bwm diagram --write README.md`"


def test_every_command_is_in_the_readme():
    for command in cli.app.registered_commands:
        assert f"bwm {command.callback.__name__}" in README


def test_every_command_of_the_readme_exists():
    known = {command.callback.__name__ for command in cli.app.registered_commands} | {"server"}
    for line in re.findall(r"^(?:\| `)?bwm (?:--demo )?(\w+)", README, re.M):
        assert line in known


def test_the_printed_query_is_that_of_the_demo():
    from populate import demo

    assert demo.RATES.code.strip() in README
    assert demo.RATES.title in README
