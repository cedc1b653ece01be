"""Spikes by trial, unit and bin, beside counting them one by one."""

import numpy as np
import pandas as pd
import pytest

from schemas import behavior, ephys, passive, rows, session, video, views, wheel
from schemas.errors import QueryError

WINDOW, BIN = (-0.1, 0.3), 0.05


def one_by_one(units, times, edges):
    """Count the spikes of each unit in each bin with plain comparisons."""
    trains = ephys.spike_times(views.units() & units[ephys.Cluster.primary_key].to_dict("records"))
    trains = trains.reindex(pd.MultiIndex.from_frame(units[ephys.Cluster.primary_key]))
    found = np.zeros((len(times), len(trains), len(edges) - 1), int)
    for e, time in enumerate(times):
        for u, train in enumerate(trains):
            for b in range(len(edges) - 1):
                inside = (train >= time + edges[b]) & (train < time + edges[b + 1])
                found[e, u, b] = inside.sum()
    return found


@pytest.fixture
def eid(populated):
    """A session of two probes."""
    probes = rows.frame(views.units(criterion="ibl_2022")).groupby("eid").probe_name.nunique()
    return probes.index[probes > 1][0]


def test_counts_are_those_of_counting_one_by_one(eid):
    units = views.units(criterion="ibl_2022") & {"eid": eid}
    found = views.spike_counts(units, "stim_on_time", WINDOW, BIN)
    assert found.counts.dtype == np.uint8
    assert len(found.units) == len(units)
    assert len(found.units.probe_name.unique()) == 2
    some = slice(None, None, 9)
    times = found.events.time[some]
    expected = one_by_one(found.units, times, found.edges)
    assert (found.counts[some] == expected).all()
    assert found.counts.sum() > 0
    assert np.allclose(found.rates[some], expected / BIN)
    assert np.allclose(found.time, found.edges[:-1] + BIN / 2)


def test_every_trial_is_counted_or_left_out_with_a_reason(eid):
    found = views.spike_counts(eid, "feedback_time", (-0.2, 30.0), 0.1)
    trials = views.fetch_trials(eid)
    assert len(found.events) + len(found.left_out) == len(trials)
    spans = rows.frame(ephys.Spikes & {"eid": eid})
    time = trials.feedback_time.to_numpy(float)
    within = (time - 0.2 >= spans.first_spike.max()) & (time + 30 <= spans.last_spike.min())
    assert found.events.trial.tolist() == trials.trial[within].tolist()
    reasons = dict(zip(found.left_out.number, found.left_out.reason, strict=True))
    assert {k for k, why in reasons.items() if "no time" in why} == set(
        np.flatnonzero(np.isnan(time))
    )
    assert set(found.left_out.eid) <= {eid}


def test_trials_are_chosen_by_mask_expression_or_frame(eid):
    mask = behavior.TrialMask.Trial & {"eid": eid, "trial_mask": "bwm", "is_used": True}
    used = rows.frame(mask).trial.tolist()
    trials = views.fetch_trials(eid)
    assert 0 < len(used) < len(trials)
    for chosen in ("bwm", behavior.Trials.Trial & mask.proj(), trials[trials.trial.isin(used)]):
        found = views.spike_counts(eid, "stim_on_time", WINDOW, BIN, chosen)
        outside = len(found.left_out)
        assert set(found.events.trial) <= set(used)
        assert len(found.events) == len(used) - outside


def others(key):
    """Events that are not of the trials, with their times."""
    moves = wheel.WheelMoves.Move & key & {"moves_definition": "ibl"}
    yield "wheel_movement", rows.frame(moves).move_onset
    yield "lick", (video.Licks & key).fetch1("licks").read()["time"]
    replayed = passive.PassiveStimuli.Stimulus & key
    for kind, one in rows.frame(replayed).groupby("stimulus_kind"):
        yield kind, one.stimulus_start
    yield "gabor", rows.frame(passive.PassiveGabors.Gabor & key).gabor_start


def test_other_events_are_those_of_their_tables(populated):
    tables = (wheel.WheelMoves, video.Licks, passive.PassiveStimuli, passive.PassiveGabors)
    chosen = session.Session & [table.proj() for table in (ephys.Spikes,)]
    for table in tables:
        chosen = chosen & table.proj()
    key = chosen.keys()[0]
    names = set()
    for name, times in others(key):
        names.add(name)
        found = views.fetch_events(key["eid"], name)
        assert np.array_equal(found.time, np.asarray(times, float), equal_nan=True)
        counted = views.spike_counts(key["eid"], name, WINDOW, BIN)
        given = views.spike_counts(key["eid"], found.time, WINDOW, BIN)
        assert (counted.counts == given.counts).all()
    assert {"wheel_movement", "lick", "gabor", "valve"} <= names


def test_each_session_is_what_its_session_gives_alone(populated):
    units = views.units(criterion="ibl_2022")
    each = views.each_session(units, "stim_on_time", WINDOW, BIN, progress=False)
    seen = []
    for found in each:
        (eid,) = found.units.eid.unique()
        alone = views.spike_counts(units & {"eid": eid}, "stim_on_time", WINDOW, BIN)
        assert (found.counts == alone.counts).all()
        pd.testing.assert_frame_equal(found.units, alone.units)
        seen.append(eid)
    assert len(each) == len(seen) > 1
    assert set(seen) == set(rows.frame(units).eid)


def test_a_pseudo_population_has_the_trials_of_each_condition_side_by_side(populated):
    units = views.units(criterion="ibl_2022")
    ask = {"by": ["side"], "n_trials": 8, "window": WINDOW, "bin": BIN, "progress": False}
    found = views.pseudo_population(units, "stim_on_time", seed=3, **ask)
    again = views.pseudo_population(units, "stim_on_time", seed=3, **ask)
    other = views.pseudo_population(units, "stim_on_time", seed=4, **ask)
    assert (found.counts == again.counts).all()
    assert (found.counts != other.counts).any()
    assert found.events.side.tolist() == ["left"] * 8 + ["right"] * 8
    assert len(found.units) + (found.left_out.what == "unit").sum() == len(units)
    assert len(found.units.eid.unique()) > 1
    for eid, own in found.units.groupby("eid"):
        alone = views.spike_counts(units & {"eid": eid}, "stim_on_time", WINDOW, BIN)
        sides = alone.events.side.to_numpy()
        for k, side in enumerate(found.events.side):
            part = found.counts[k][own.index]
            assert (alone.counts[sides == side] == part).all(axis=(1, 2)).any()


def test_as_xarray_with_names_and_units(eid):
    found = views.spike_counts(eid, "stim_on_time", WINDOW, BIN)
    array = found.to_xarray()
    assert array.dims == ("event", "unit", "time")
    assert array.attrs == {"units": "spikes per bin", "bin_width_s": BIN}
    assert array.time.attrs == {"units": "s"}
    one = array.isel(event=3, unit=5)
    assert int(one.cluster_id) == found.units.cluster_id[5]
    assert int(one.trial) == found.events.trial[3]
    assert (one.to_numpy() == found.counts[3, 5]).all()


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"event": "stimulus"}, "no event 'stimulus'"),
        ({"event": [1.0], "trials": "bwm"}, "are no events of trials"),
        ({"event": "lick", "trials": "bwm"}, "are no events of trials"),
        ({"trials": "best"}, "no trial_mask 'best'"),
        ({"trials": session.Session()}, "no column trial"),
        ({"window": (0.5, 0.1)}, "the window is"),
        ({"bin": 0.0}, "the window is"),
    ],
)
def test_what_cannot_be_counted_is_one_error(eid, ask, says):
    with pytest.raises(QueryError, match=says):
        views.spike_counts(eid, **{"event": "stim_on_time", **ask})


def test_units_of_several_sessions_or_of_none_are_one_error(populated):
    with pytest.raises(QueryError, match=r"units are of \d+ sessions"):
        views.spike_counts(views.units(criterion="ibl_2022"), "stim_on_time")
    with pytest.raises(QueryError, match="units are of 0 sessions"):
        views.spike_counts(views.units() & "cluster_id < 0", "stim_on_time")
    ask = {"window": WINDOW, "bin": BIN, "progress": False}
    with pytest.raises(QueryError, match="no column 'sides'"):
        views.pseudo_population(views.units(), "stim_on_time", ["sides"], 5, **ask)
    with pytest.raises(QueryError, match="-1 trials of a condition"):
        views.pseudo_population(views.units(), "stim_on_time", ["side"], -1, **ask)
    late = behavior.Trials.Trial & "trial_start_time < 0"
    with pytest.raises(QueryError, match="no event has a value of side"):
        views.pseudo_population(views.units(), "stim_on_time", ["side"], 1, trials=late, **ask)
    with pytest.raises(QueryError, match="no session has 100000 trials"):
        views.pseudo_population(views.units(), "stim_on_time", ["side"], 100_000, **ask)


def test_a_signal_is_averaged_in_the_bins_of_the_spikes(populated):
    chosen = session.Session & ephys.Spikes.proj() & wheel.Wheel.proj() & video.Pupil.proj()
    chosen = chosen & video.Pose.proj()
    eid = chosen.keys()[0]["eid"]
    camera = (video.Pupil & {"eid": eid}).to_arrays("camera")[0]
    pupil = views.fetch_pupil(eid, camera)
    trace = views.fetch_wheel(eid)
    signals = {
        "wheel_velocity": (trace.time, trace.velocity, "rad/s"),
        "wheel_speed": (trace.time, trace.velocity.abs(), "rad/s"),
        "pupil": (pupil.time, pupil.diameter_smooth, "px"),
    }
    for signal, (time, values, unit) in signals.items():
        found = views.aligned(eid, signal, "stim_on_time", WINDOW, BIN, camera=camera)
        assert found.unit == unit
        assert len(found.events) + len(found.left_out) == len(views.fetch_trials(eid))
        for k in range(0, len(found.events), 13):
            for b in range(len(found.edges) - 1):
                low, high = found.events.time[k] + found.edges[b : b + 2]
                expected = values[(time >= low) & (time < high)].mean()
                assert found.means[k, b] == pytest.approx(expected, nan_ok=True)
    with pytest.raises(QueryError, match=r"no signal 'whisker'.*wheel_velocity"):
        views.aligned(eid, "whisker", "stim_on_time")


def test_a_session_on_one_grid_has_every_spike_and_its_trials(eid):
    units = views.units(criterion="ibl_2022") & {"eid": eid}
    found = views.binned(units, 0.1, signals=())
    start = found.bins.start.to_numpy()
    assert found.counts.shape == (len(start), len(found.units))
    trains = ephys.spike_times(units)
    for k in range(0, len(found.units), 7):
        train = trains.loc[tuple(found.units.loc[k, ephys.Cluster.primary_key])]
        inside = (train >= start[0]) & (train < start[-1] + 0.1)
        assert found.counts[:, k].sum() == pytest.approx(inside.sum(), abs=1)
    trials = views.fetch_trials(eid).set_index("trial")
    middle = found.bins.start + 0.05
    for trial, bins in found.bins.groupby("trial"):
        assert (middle[bins.index] >= trials.trial_start_time[trial]).all()
        assert (middle[bins.index] < trials.trial_end_time[trial]).all()
    assert found.bins.trial.notna().mean() > 0.3
    moves = views.fetch_events(eid, "wheel_movement")
    one = moves.iloc[len(moves) // 2]
    during = (middle >= one.move_onset) & (middle < one.move_offset)
    assert found.bins.is_moving[during].all()
    assert not found.bins.is_moving.all()
    with pytest.raises(QueryError, match="the bin 0"):
        views.binned(units, 0)
