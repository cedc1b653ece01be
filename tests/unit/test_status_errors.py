"""What is shown of many failures: one kind each, and numbers that are whole on any screen."""

import io
import json
from datetime import datetime, timezone

import pytest
from rich.console import Console
from rich.text import Text

from populate import status
from populate.cli import status as command
from populate.cli.status_view import StatusView, details, duration
from populate.error_groups import kind_of
from populate.stale import Stale
from populate.status import Failure, Running, TableStatus

EID, OTHER = "56f2a378-78d2-4132-b3c8-8c1ba82be598", "0a1b2c3d-78d2-4132-b3c8-8c1ba82be598"


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (
            f"DamagedFile: /data/my lab/A_1/2020-01-01/001/alf/a.npy: Its md5 is {'1a' * 16}.",
            f"DamagedFile: /data/my lab/B_22/2021-11-30/002/alf/a.npy: Its md5 is {'2b' * 16}.",
            "DamagedFile: <path>: Its md5 is <hash>.",
        ),
        (
            f"InconsistentData: session {EID}: 12 of 1,300 trials (1, 2 and 3).",
            f"InconsistentData: session {EID}: 7 of 900 trials (8 and 9).",
            "InconsistentData: session <eid>: <n> of <n> trials (<n> ...).",
        ),
        (
            "ValueError: shapes (12,3) and (13,4) of int64 at 0x7f3a",
            "ValueError: shapes (1,30) and (2,-4.5e-3) of int64 at 0xb2",
            "ValueError: shapes (<n> ...) and (<n> ...) of int64 at <n>",
        ),
        (
            "SourceError: https://a.example/x/1.npy: no answer since 2024-05-06 10:11:12.",
            "SourceError: https://b.example/y/2.npy: no answer since 2024-07-08 20:21:22.",
            "SourceError: <url>: no answer since <time>.",
        ),
        (
            "WorkerDied: 3 workers died\n  while running it",
            "WorkerDied: 4 workers died while running it",
            "WorkerDied: <n> workers died while running it",
        ),
        (
            f"QueryError: the left camera of {OTHER}, at 3 spikes/s",
            f"QueryError: the left camera of {OTHER.replace('0a', 'ff')}, at 20 spikes/s",
            "QueryError: the <camera> camera of <uuid>, at <n> spikes/s",
        ),
        ("MemoryError", "MemoryError", "MemoryError"),
    ],
)
def test_the_same_fault_in_other_sessions_is_one_kind(one, other, kind):
    key = {"eid": EID, "camera": "left", "n": "1"}
    assert kind_of(one, key) == kind_of(other, key) == kind


def test_what_is_wrong_is_not_masked():
    told = {
        "KeyError: 'nose_tip_x'",
        "KeyError: 'nose_tip_y'",
        "TypeError: 'nose_tip_x'",
        "DamagedFile: a/b.npy: cut short.",
        "DamagedFile: a/b.npy: is empty.",
    }
    assert len({kind_of(error, {"eid": EID}) for error in told}) == len(told)


def test_a_long_message_is_masked_quickly():
    for error in ("a." * 1000, "a/" * 1000, "1," * 1000, "<n> " * 500, "0a" * 1000):
        assert len(kind_of(f"ValueError: {error}", {"eid": EID})) < 2100


def failed(table, n, error, **key):
    return [Failure(table, {"eid": f"{i:08d}{EID[8:]}", **key}, error.format(i)) for i in range(n)]


FAILED = [
    *failed("wheel.Wheel", 300, "SourceError: /x/{0}/wheel.npy: cut at {0}."),
    *failed("video.Pupil", 20, "SourceError: /x/{0}/pupil.npy: cut at {0}.", camera="left"),
    *failed("video.Pose", 1, "KeyError: 'nose'", camera="left"),
    *failed("ephys.Spikes", 1, "MemoryError"),
]


def test_failures_are_grouped_by_kind_the_most_frequent_first():
    first, *others = status.errors(found=FAILED)
    assert first.kind == "SourceError: <path>: cut at <n>."
    assert (first.count, first.n_sessions) == (320, 300)
    assert first.tables == {"wheel.Wheel": 300, "video.Pupil": 20}
    assert first.example == FAILED[0]
    assert first.retry == "bwm retry --only wheel.Wheel --only video.Pupil"
    assert [kind.kind for kind in others] == ["KeyError: 'nose'", "MemoryError"]
    eid = FAILED[-1].key["eid"]
    assert others[1].retry == f"bwm retry --only ephys.Spikes --session {eid}"
    assert status.errors(found=[]) == []


NOW = datetime(2024, 5, 6, tzinfo=timezone.utc)
TABLES = [
    TableStatus("quality.SpectralDensity", 1408, 1408, 0, 0, 0, 0, 0, None, None),
    TableStatus("activity.RegionRate", 14200, 12345, 4, 3, 1848, 1234, 0, 4321.0, 1540.0),
    TableStatus("behavior.Trials", 20, 10, 0, 0, 10, 0, 0, None, None),
]
HELD = [
    Running("ephys.Spikes", {"eid": EID, "probe": "p0"}, "node", 12, NOW, 12, 1, False, ""),
    Running("wheel.Wheel", {"eid": OTHER}, "node-2", 34, NOW, 1300, 700, True, "1 worker died"),
]
VIEW = StatusView(TABLES, HELD, status.errors(found=FAILED), [])


def shown(parts, width):
    console = Console(file=io.StringIO(), width=width)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text))
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "n"), [(80, "12345"), (120, "12,345"), (160, "12,345")])
def test_no_number_is_cut_on_a_narrow_screen(width, n):
    stale = [Stale("ephys.Spikes", {"eid": EID}, "replaced", ("a.npy",))] * 12
    text = shown(VIEW.parts(width), width)
    assert "…" not in text
    assert {n, "4321" if width == 80 else "4,321", "26"} <= set(text.split())
    assert all(len(line) <= width for line in text.splitlines()[:12])
    both = [TableStatus(*list(vars(table).values())[:7], 99, None, None) for table in TABLES]
    assert n in shown(StatusView(both, [], [], stale).parts(width), width).split()


def test_the_view_says_what_is_running_stalled_failed_and_stale():
    stale = [Stale("ephys.Spikes", {"eid": EID}, "replaced", (f"{i}.npy",)) for i in range(12)]
    text = shown(StatusView(TABLES, HELD, VIEW.errors, stale).parts(120), 120)
    assert "13,763 of 15,628 jobs done, 4 running, 1,858 pending, 3 failed." in text
    assert f"{EID} p0" in text
    assert "node:12 " in text
    stalled = text[text.index("node-2:34") :].split("\n")
    assert ("22 min" in stalled[0], "stalled for 12 min" in stalled[1]) == (True, True)
    assert "1 worker died" in stalled[2]
    assert text.count("stalled for") == 1
    assert spaced("320 SourceError: <path>: cut at <n>. wheel.Wheel") in spaced(text)
    assert f"failed ephys.Spikes (eid {FAILED[-1].key['eid']})\n  MemoryError\n" in text
    assert "replaced: 9.npy" in text
    assert "replaced: 10.npy" not in text
    assert "2 more are stale" in text


def spaced(text):
    return " ".join(text.split())


def test_a_low_screen_leaves_out_the_tables_with_nothing_to_do():
    low, high = (shown(VIEW.parts(120, height), 120) for height in (17, 18))
    assert "quality.SpectralDensity" in high
    assert "quality.SpectralDensity" not in low
    assert "Complete tables, not shown: 1." in low
    assert "behavior.Trials" in low


def test_the_details_of_a_kind_can_be_copied_whole():
    text = shown(details(VIEW.errors), 40)
    assert "320 failed  SourceError: <path>: cut at <n>.\n" in text
    assert "wheel.Wheel (300), video.Pupil (20); 300 sessions\n" in text
    assert "bwm retry --only wheel.Wheel --only video.Pupil\n" in text
    assert f"{FAILED[0].error}\n" in text
    assert shown(details([]), 40) == "Nothing has failed.\n"


def test_durations_are_written_in_the_unit_that_suits_them():
    seconds = (0.4, 40, 720, 18720, 259200)
    assert [duration(s) for s in seconds] == ["0 s", "40 s", "12 min", "5.2 h", "3 d"]


# --- watching -----------------------------------------------------------------------------------


class Stop(Exception):
    """Ends watching in a test."""


@pytest.fixture
def naps(monkeypatch):
    """What watching slept: it ends at the third time."""
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            raise Stop

    monkeypatch.setattr(command.time, "sleep", sleep)
    return slept


def test_on_a_terminal_it_is_redrawn_in_place(monkeypatch, naps):
    screen = Console(file=io.StringIO(), force_terminal=True, width=60, height=20)
    monkeypatch.setattr(command, "out", screen)
    heights = []

    def show(height):
        heights.append(height)
        return [Text(f"look {len(heights)}")]

    with pytest.raises(Stop):
        command._watch(show, 2.5, in_place=True)
    text = screen.file.getvalue()
    assert (naps, heights) == ([2.5] * 3, [20] * 3)
    assert [f"look {i}" in text for i in (1, 2, 3)] == [True] * 3
    assert text.count("\x1b[1A") >= 2  # the cursor goes up
    assert "every 2.5 s; Ctrl-C ends it" in text


def test_elsewhere_it_is_printed_again(monkeypatch, naps, capsys):
    monkeypatch.setattr(command, "out", Console(width=60))
    parts = iter([[Text("one")], [json.dumps({"two": 2})], [Text("three")]])
    with pytest.raises(Stop):
        command._watch(lambda: next(parts), 1.0, in_place=False)
    assert capsys.readouterr().out == 'one\n{"two": 2}\nthree\n'


def test_a_server_that_is_away_is_waited_for(monkeypatch, capsys):
    from datajoint.errors import LostConnectionError

    from schemas import connection

    asked = []
    monkeypatch.setattr(connection, "reconnect", lambda: asked.append(1) or 1 / 0)

    def away(_):
        raise LostConnectionError("gone")

    assert command._show_or_wait(away, None) == []
    assert asked == [1]
    assert "does not answer" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):
        command._show_or_wait(lambda _: 1 / 0, None)
