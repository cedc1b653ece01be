"""Intervals of saturation as they were simulated, and the trials that overlap none."""

import numpy as np
import pandas as pd
import pytest

from schemas import behavior, ephys, probe, quality, rows, views
from schemas.errors import QueryError
from schemas.sources import data
from tests.support import prepared
from tests.support.prepared import EID, OTHER


@pytest.fixture
def truth(populated, release):
    return release.truth


@pytest.fixture
def planted(truth):
    """What was simulated, of insertions of sessions with trials."""
    return truth.saturations


@pytest.fixture
def pair(populated):
    """A session of two probes, of which the second one is never saturated, and their pids."""
    found = rows.frame(quality.Saturation * probe.ProbeInsertion.proj("pid"))
    for eid, probes in found.groupby("eid"):
        is_pair = len(probes) > 1 and probes.pid.notna().all()
        if is_pair and probes.n_saturations.min() == 0:
            return eid, probes.sort_values("n_saturations").pid.tolist()[::-1]
    raise AssertionError("no session has two probes")


def test_intervals_are_those_that_were_simulated(planted, truth):
    found = rows.frame(quality.Saturation.Interval())
    assert len(found) == len(planted) > 20
    both = found.merge(
        planted.assign(saturation_number=planted.groupby(["eid", "probe_name"]).cumcount())
    )
    assert len(both) == len(found)
    assert np.allclose(both.saturation_start, both.start, rtol=0, atol=1e-9)
    assert np.allclose(both.saturation_stop, both.stop, rtol=0, atol=1e-9)
    counts = rows.frame(quality.Saturation()).set_index(["eid", "probe_name"])
    sums = (
        (planted.stop - planted.start)
        .groupby([planted.eid, planted.probe_name])
        .agg(["size", "sum"])
    )
    counts = counts.join(sums).fillna(0)
    assert (counts.n_saturations == counts["size"]).all()
    assert np.allclose(counts.saturation_time, counts["sum"], rtol=0, atol=1e-9)
    clean = {(odd.eid, odd.probe_name) for odd in truth.odd("never_saturated")}
    assert clean == set(counts.index[counts.n_saturations == 0]) != set()
    absent = {(odd.eid, odd.probe_name) for odd in truth.odd("no_saturation_file")}
    assert absent
    assert not absent & set(counts.index)
    read = rows.frame(quality.Saturation.Source & "source_md5 IS NOT NULL")
    ends = read.dataset_path.str.extract(r"\.(\w+\.\w+)$")[0].value_counts()
    assert ends["samples.pqt"] == len(counts)
    assert ends["timestamps.npy"] == (counts.n_saturations > 0).sum()


def left_in(trials, intervals, edges, margin=0.0):
    """Numbers of the trials that overlap no interval, each compared with each."""
    kept = []
    for trial, first, last in zip(trials.trial, *edges(trials), strict=True):
        first, last = first - margin, last + margin
        hit = (intervals.start < last) & (intervals.stop > first)
        if not (np.isnan(first) or np.isnan(last) or hit.any()):
            kept.append(trial)
    return kept


def whole(trials):
    return trials.trial_start_time, trials.trial_end_time


def after_stimulus(trials):
    return trials.stim_on_time, trials.stim_on_time + 0.4


def before_movement(trials):
    return trials.first_movement_time - 0.2, trials.first_movement_time


CASES = [
    ({}, whole),
    ({"margin": 2.5}, whole),
    ({"event": "stim_on_time"}, after_stimulus),
    ({"event": "first_movement_time", "window": (-0.2, 0.0), "margin": 0.3}, before_movement),
]


@pytest.mark.parametrize(("asked", "edges"), CASES)
def test_trials_that_overlap_an_interval_are_left_out(planted, pair, asked, edges):
    eid, (first, second) = pair
    trials = views.fetch_trials(eid)
    of_session = planted[planted.eid == eid]
    expected = left_in(trials, of_session, edges, asked.get("margin", 0.0))
    for recording in (first, eid, eid.upper(), views.units() & {"eid": eid}):
        found = views.unsaturated_trials(recording, **asked)
        assert found.trial.tolist() == expected
        assert set(found.eid) == {eid}
    clean = views.unsaturated_trials(second, **asked).trial.tolist()
    assert clean == left_in(trials, of_session[:0], edges)
    # A window of 0.4 s rarely meets one of a few intervals.
    assert len(expected) < len(clean) or (edges is not whole and expected == clean)


def test_many_sessions_are_asked_at_once(planted, populated, statements):
    located = rows.frame(quality.Saturation * behavior.Trials).eid.unique()
    chosen = probe.ProbeInsertion & quality.Saturation.proj() & behavior.Trials.proj()
    views.unsaturated_trials(chosen)
    statements.clear()
    found = views.unsaturated_trials(chosen).groupby("eid").trial.agg(list)
    assert len(statements) == 4
    assert set(found.index) == set(located)
    for eid, numbers in found.items():
        trials = rows.frame(behavior.Trials.Trial & {"eid": eid})
        assert numbers == left_in(trials, planted[planted.eid == eid], whole)


def test_they_are_the_trials_of_other_views(planted, pair):
    eid, (first, _) = pair
    used = rows.frame(behavior.TrialMask.Trial & {"eid": eid, "trial_mask": "bwm", "is_used": True})
    plain = views.unsaturated_trials(first)
    masked = views.unsaturated_trials(first, trials="bwm")
    assert masked.trial.tolist() == sorted(set(plain.trial) & set(used.trial))
    some = behavior.Trials.Trial & {"eid": eid} & "choice = 1"
    for chosen in (some, rows.frame(some), rows.frame(some)[["trial"]]):
        found = views.unsaturated_trials(first, trials=chosen)
        assert set(found.trial) == set(plain.trial) & set(rows.frame(some).trial)
    counted = views.spike_counts(first, "stim_on_time", (0, 0.1), 0.05, masked)
    assert set(counted.events.trial) <= set(masked.trial)
    assert len(counted.events) + len(counted.left_out) == len(masked)
    assert ephys.Spikes()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"margin": -1.0}, "the margin is -1.0 s"),
        ({"event": "stim_on_time", "window": (0.4, 0.0)}, r"the window \(0.4, 0.0\)"),
        ({"event": "lick"}, "no event 'lick' of trials"),
        ({"trials": "best"}, "no trial_mask 'best'"),
        ({"trials": pd.DataFrame({"number": [1]})}, "no column trial"),
    ],
)
def test_what_cannot_be_asked_is_one_error(pair, asked, says):
    with pytest.raises(QueryError, match=says):
        views.unsaturated_trials(pair[0], **asked)


def test_what_is_not_imported_is_one_error(truth):
    odd = truth.odd("no_saturation_file")[0]
    with pytest.raises(QueryError, match=f"{odd.probe_name} of session {odd.eid}: no saturation"):
        views.unsaturated_trials(odd.eid)
    with pytest.raises(QueryError, match="no key of sessions or insertions"):
        views.unsaturated_trials(ephys.UnitCriterion())


def test_a_row_is_what_the_file_says_and_trials_may_be_missing(database):
    for eid in (EID, OTHER):
        prepared.add_session(eid)
        prepared.add_insertion(eid)
    with pytest.raises(QueryError, match=r"no saturation is imported \(2 such insertions\)"):
        views.unsaturated_trials(probe.ProbeInsertion())
    path = "raw_ephys_data/probe00/_iblqc_ephysSaturationAP.samples.pqt"
    prepared.add_file("saturation", path, probe_name="probe00")
    clock = "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.timestamps.npy"
    for eid in (EID, OTHER):
        prepared.add_file("raw_clock", clock, eid, probe_name="probe00")
    intervals = data.Intervals(np.array([1.0, 5.0]), np.array([1.5, 7.0]))
    prepared.use(prepared.Prepared(saturation=intervals))
    assert quality.Saturation().key_source.keys() == [{"eid": EID, "probe_name": "probe00"}]
    quality.Saturation.populate()
    (row,) = quality.Saturation.to_dicts()
    assert (row["n_saturations"], row["saturation_time"]) == (2, 2.5)
    assert set(prepared.read(quality.Saturation)) == {path, clock}
    with pytest.raises(QueryError, match="no trials are imported"):
        views.unsaturated_trials(EID)
