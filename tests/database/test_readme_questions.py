"""The questions of the README, asked of the simulated release."""

import re
from pathlib import Path

from schemas import rows

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
CHANGES = {
    "connection.connect()": "",  # the test is connected to a database of its own
    "2022_10_bwm_release": "simulated_bwm_release",
    "rt_median < 0.3": "rt_median < 0.5",
    "max_reaction_time=0.3, min_easy_performance=0.9": "max_reaction_time=0.5",
    "min_trials=100": "min_trials=50",
}


def test_the_questions_have_answers(populated):
    _, code = re.findall(r"```python\n(.*?)```", README, re.S)
    for text, here in CHANGES.items():
        assert text in code
        code = code.replace(text, here)
    found = {}
    exec(code, found)
    assert len(found["thalamus"]) >= len(found["units"]) > 0
    assert len(found["trains"]) == len(found["units"]) == len(rows.frame(found["rates"]))
    assert all(len(train) > 0 for train in found["trains"])
    assert len(rows.frame(found["chosen"])) > 0
