"""Steps of upgrades, and that no definition changes without one."""

from populate.upgrade.steps import STEPS
from schemas import activation
from tests.support import definitions

CHANGED = """these definitions, or rows of lookup tables, differ from the stored ones: {names}.
Databases that exist need a step in populate/upgrade/steps.py: see "A changed definition" in
CONTRIBUTING.md. Then run `python -m tests.support.definitions`."""


def test_steps_are_numbered_and_the_last_one_is_the_version():
    assert [step.number for step in STEPS] == list(range(1, activation.VERSION + 1))
    assert all(str(change) for step in STEPS for change in step.changes)


def test_no_definition_changes_without_a_step():
    stored = definitions.STORED.read_text().splitlines()
    changed = {line.split()[0] for line in set(stored) ^ set(definitions.lines())}
    assert not changed, CHANGED.format(names=", ".join(sorted(changed)))
