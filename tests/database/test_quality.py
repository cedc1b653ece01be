"""Checks as rows, the rule of the releases as a query, and the quality of raw recordings."""

import numpy as np
import pytest

from populate.workers import worker
from schemas import probe, quality, rows, views
from schemas.sources import data
from schemas.sources.records import BANDS
from tests.support import prepared
from tests.support.prepared import EID, same

KEY = {"eid": EID, "probe_name": "probe00"}
PROJECT = "ibl_neuropixel_brainwide_01"
TASK = [
    "_task_stimOn_goCue_delays",
    "_task_response_feedback_delays",
    "_task_wheel_move_before_feedback",
    "_task_wheel_freeze_during_quiescence",
    "_task_error_trial_event_sequence",
    "_task_correct_trial_event_sequence",
    "_task_reward_volumes",
    "_task_reward_volume_set",
    "_task_stimulus_move_before_goCue",
    "_task_audio_pre_trial",
]


def populate(*tables):
    """Make everything; return the failures as text."""
    return [error for outcome in worker.run(list(tables)) for _, error in outcome.failed]


def add_checks(of, key, checks):
    """Write checks: a number is a value, text an outcome, None an entry that is not set."""
    table = {"session": quality.SessionQC, "insertion": quality.InsertionQC}[of]
    found = [
        {
            f"{of}_check": name,
            f"{of}_check_value": check if isinstance(check, (int, float)) else None,
            f"{of}_check_outcome": check if isinstance(check, str) else None,
        }
        for name, check in checks.items()
    ]
    rows.insert(table(), found, key)


def add_candidate(number, session=(), insertion=(), checks=(), probe_checks=()):
    """Write a session with an insertion that satisfies the rule, but for what is given."""
    eid = f"{number:08d}-0000-4000-8000-000000000000"
    facts = {"projects": PROJECT, "session_qc": "PASS", "task_protocol": "_iblrig_tasks_ephys6.4.2"}
    prepared.add_session(eid, **{**facts, **dict(session)})
    prepared.add_insertion(eid, **{"insertion_qc": "PASS", **dict(insertion)})
    task = {"behavior": 1, **dict.fromkeys(TASK, 0.95), "_experimenter_task": None, "task": "FAIL"}
    settled = {"tracing_exists": 1, "alignment_resolved": 1, "alignment_count": 3}
    add_checks("session", {"eid": eid}, without_absent({**task, **dict(checks)}))
    key = {"eid": eid, "probe_name": "probe00"}
    add_checks("insertion", key, without_absent({**settled, **dict(probe_checks)}))
    return eid


ABSENT = object()


def without_absent(checks):
    return {name: check for name, check in checks.items() if check is not ABSENT}


SELECTED = [
    {},
    {"session": {"session_qc": "FAIL"}},
    {"session": {"session_qc": None}},
    {"session": {"projects": f"witten_learning_dop, {PROJECT}"}},
    {"session": {"projects": f"{PROJECT},other"}},
    {"session": {"task_protocol": None}},
    {"insertion": {"insertion_qc": None}},
    {"insertion": {"insertion_qc": "FAIL"}},
    {"checks": {TASK[4]: 0.9}},
    {"checks": {TASK[0]: 0.1, TASK[1]: ABSENT, "_experimenter_task": "PASS"}},
]
REFUSED = [
    {"session": {"session_qc": "CRITICAL"}},
    {"session": {"projects": None}},
    {"session": {"projects": f"{PROJECT}_extra"}},
    {"session": {"projects": "iblXneuropixelXbrainwideX01"}},
    {"session": {"task_protocol": "ephys_Mock_6"}},
    {"session": {"projects": f"{PROJECT},ibl_mock"}},
    {"insertion": {"insertion_qc": "CRITICAL"}},
    {"checks": {"behavior": 0}},
    {"checks": {"behavior": ABSENT}},
    {"checks": {TASK[3]: ABSENT, "_task_other": 1.0}},
    {"checks": {TASK[7]: None}},
    {"checks": {TASK[0]: 0.1, "_experimenter_task": "FAIL"}},
    {"probe_checks": {"tracing_exists": 0}},
    {"probe_checks": {"alignment_resolved": 0}},
    {"probe_checks": {"alignment_resolved": ABSENT}},
] + [{"checks": {name: 0.8999}} for name in TASK]


def test_the_rule_of_the_releases_is_a_query(database):
    chosen = {add_candidate(k, **facts) for k, facts in enumerate(SELECTED)}
    for k, facts in enumerate(REFUSED, start=len(SELECTED)):
        add_candidate(k, **facts)
    found = views.bwm_candidates()
    assert set(found.to_arrays("eid")) == chosen
    assert len(found) == len(SELECTED)
    assert len(probe.ProbeInsertion - found.proj()) == len(REFUSED)


def test_an_insertion_is_chosen_for_itself_not_for_its_session(database):
    eid = add_candidate(0)
    other = {"eid": eid, "probe_name": "probe01"}
    prepared.add_insertion(eid, "probe01")
    add_checks("insertion", other, {"tracing_exists": 1, "alignment_resolved": 0})
    assert views.bwm_candidates().to_arrays("probe_name").tolist() == ["probe00"]


def test_checks_are_kept_as_value_outcome_or_text(database):
    prepared.add_session()
    prepared.add_insertion()
    long = '["' + "x" * 3_996 + '"]'
    for table, of, key in (
        (quality.SessionQC, "session", {"eid": EID}),
        (quality.InsertionQC, "insertion", KEY),
    ):
        entries = [
            (f"{of}_value", 0.1 + 0.2, None, None),
            (f"{of}_outcome", None, "WARNING", None),
            (f"{of}_text", None, None, long),
            (f"{of}_none", None, None, None),
        ]
        names = [f"{of}_check{what}" for what in ("", "_value", "_outcome", "_text")]
        rows.insert(table(), [dict(zip(names, entry, strict=True)) for entry in entries], key)
        found = {tuple(row[name] for name in names) for row in table.to_dicts()}
        assert found == set(entries)


def add_raw(kind, *bands):
    prepared.add_session()
    prepared.add_insertion()
    for band in bands:
        path = f"raw_ephys_data/probe00/_iblqc_{kind}_{band}.npy"
        prepared.add_file(kind, path, probe_name="probe00", band=band)


def quality_of(bands, n):
    rng = np.random.default_rng(2)
    made = {}
    for band in bands:
        values = rng.exponential(1e-5, (n, 384)).astype(np.float32 if band == "lf" else float)
        values[0, 0] = np.nan
        made[band] = data.RawQuality(np.cumsum(rng.exponential(2.0, n)), values)
    return made


@pytest.mark.parametrize(
    ("kind", "table", "at"),
    [("rms", quality.RMS, "time"), ("spectral_density", quality.SpectralDensity, "frequency")],
)
def test_the_quality_of_a_raw_recording_is_stored_to_the_bit(database, kind, table, at):
    add_raw(kind, "ap", "lf")
    made = quality_of(BANDS, 200)
    source = prepared.use(prepared.Prepared(**{kind: lambda datasets: made[datasets[0].band]}))
    assert populate(table) == []
    assert len(source.calls) == 2
    field = table.__name__.lower() if table is quality.RMS else "spectral_density"
    for band, expected in made.items():
        row = (table & {**KEY, "band": band}).fetch1()
        found = row[field].read()
        assert len(found) == 1 + 384
        assert same(found[at], expected.at)
        assert all(same(found[f"channel_{k}"], expected.values[:, k]) for k in range(384))
        assert 200 in row.values()
        assert 384 in row.values()
        if table is quality.RMS:
            assert row["rms_median"] == pytest.approx(np.nanmedian(expected.values), rel=1e-6)
        assert set(prepared.read(table, band=band)) == {
            f"raw_ephys_data/probe00/_iblqc_{kind}_{band}.npy"
        }


def test_a_band_that_is_not_listed_is_absent(database):
    add_raw("rms", "lf")
    state = database.status()
    assert (state["quality.RMS"].pending, state["quality.RMS"].absent) == (1, 1)
    assert state["quality.SpectralDensity"].absent == 2
    assert quality.RMS().key_source.keys() == [{**KEY, "band": "lf"}]


def test_a_recording_without_a_finite_value_has_no_median(database):
    add_raw("rms", "ap")
    values = np.full((3, 2), np.nan)
    prepared.use(prepared.Prepared(rms=data.RawQuality(np.arange(3.0), values)))
    assert populate(quality.RMS) == []
    assert (quality.RMS & KEY).fetch1("rms_median") is None
