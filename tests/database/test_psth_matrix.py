"""Histograms as a matrix and as halves, beside the frame of histograms and counts of trials."""

import numpy as np
import pandas as pd
import pytest

from schemas import activity, behavior, rows, views
from schemas.errors import QueryError

UNIT = ["eid", "probe_name", "sorting_name", "cluster_id"]
BOTH = ["stimulus_side_parity", "feedback_outcome_parity"]


@pytest.fixture
def units(populated):
    return views.units(criterion="ibl_2022")


def by_frame(units, name):
    """The matrix from the frame of histograms: unit, then condition and time."""
    table = views.fetch_psth(units, name)
    every = table.pivot_table("mean", UNIT, ["condition", "time"], dropna=False)
    return every.loc[pd.MultiIndex.from_frame(table[UNIT].drop_duplicates())]


@pytest.mark.parametrize("name", ["stimulus_contrast", "feedback_outcome", *BOTH])
def test_the_matrix_is_that_of_the_frame(units, name):
    found = views.fetch_psth_matrix(units, name)
    expected = by_frame(units, name)
    assert found.units[UNIT].apply(tuple, axis=1).tolist() == sorted(expected.index)
    asked = pd.MultiIndex.from_frame(found.columns[["condition", "time"]])
    assert not asked.duplicated().any()
    assert set(asked) == set(expected.columns)
    expected = expected.sort_index().reindex(columns=asked).to_numpy()
    assert np.array_equal(found.rates, expected, equal_nan=True)
    assert len(found.rates) > 20
    assert len(found.units.eid.unique()) > 1
    order = found.columns.drop_duplicates("condition")
    assert order.sort_values(["side", "contrast", "outcome", "parity"]).equals(order)


def test_even_and_odd_trials_are_counted_apart(units):
    """By the numbers of the trials, from the counts of spikes around each event."""
    eid = rows.frame(units).eid.iloc[0]
    own = units & {"eid": eid}
    even, odd = views.fetch_psth_matrix(own, "stimulus_side_parity").halves()
    assert even.columns.drop(columns=["condition", "parity"]).equals(
        odd.columns.drop(columns=["condition", "parity"])
    )
    assert set(even.columns.parity) == {"even"}
    counted = views.spike_counts(own, "stim_on_time", (-0.5, 1.0), 0.05, "bwm")
    for half, rates in enumerate((even.rates, odd.rates)):
        for side in ("left", "right"):
            chosen = (counted.events.trial % 2 == half) & (counted.events.side == side)
            mean = counted.counts[chosen.to_numpy()].mean(axis=0) / 0.05
            at = (even.columns.side == side).to_numpy()
            np.testing.assert_allclose(rates[:, at], mean, rtol=1e-12, atol=1e-12)
    assert not np.allclose(even.rates, odd.rates)


@pytest.mark.parametrize("name", ["stimulus_side", "movement_choice", "feedback_outcome"])
def test_halves_together_are_the_whole(units, name):
    """Means weighted with the numbers of trials."""
    halves = views.fetch_psth(units, f"{name}_parity")
    halves[["whole", "parity"]] = halves.condition.str.rsplit(" ", n=1, expand=True)
    halves["sum"] = halves["mean"].fillna(0) * halves.n_events
    sums = halves.groupby([*UNIT, "whole", "time"], observed=True)[["sum", "n_events"]].sum()
    whole = views.fetch_psth(units, name).set_index([*UNIT, "condition", "time"])
    assert set(sums.index) == set(whole.index)
    sums = sums.loc[whole.index]
    assert (sums.n_events == whole.n_events).all()
    known = (whole.n_events > 0).to_numpy()
    mean = sums["sum"].to_numpy()[known] / sums.n_events.to_numpy()[known]
    np.testing.assert_allclose(mean, whole["mean"].to_numpy()[known], rtol=1e-9, atol=1e-9)
    counts = rows.frame(activity.Psth.Condition & {"psth_definition": f"{name}_parity"})
    assert set(counts.psth_parity) == {"even", "odd"}


def test_every_trial_in_use_is_in_one_half_or_lacks_a_side(populated):
    trials = rows.frame(behavior.TrialMask.Trial & {"trial_mask": "bwm", "is_used": True})
    of_definition = {"psth_definition": "stimulus_side_parity"}
    counts = rows.frame(activity.Psth.Condition & of_definition)
    counts["n"] = counts.n_psth_events + counts.n_psth_dropped
    of_one = counts.groupby(UNIT[:3]).n.sum().reset_index()
    both = of_one.merge(rows.frame(activity.Psth & of_definition)[[*UNIT[:3], "n_unsplit_trials"]])
    used = trials.groupby("eid").size()
    assert (both.n + both.n_unsplit_trials == both.eid.map(used)).all()


def test_several_definitions_stand_side_by_side(units):
    found = views.fetch_psth_matrix(units, BOTH)
    parts = [views.fetch_psth_matrix(units, name) for name in BOTH]
    assert found.columns.psth_definition.drop_duplicates().tolist() == BOTH
    assert np.array_equal(found.rates, np.hstack([p.rates for p in parts]), equal_nan=True)
    even, odd = found.halves()
    assert even.rates.shape == odd.rates.shape
    assert even.columns.psth_definition.drop_duplicates().tolist() == BOTH
    for least in (0.5, 0.0):
        complete = found.complete(least)
        frequent = (~np.isnan(found.rates)).mean(axis=0) >= least
        gaps = np.isnan(found.rates[:, frequent]).any(axis=1)
        assert np.array_equal(complete.rates, found.rates[np.ix_(~gaps, frequent)])
        assert complete.units.equals(found.units[~gaps].reset_index(drop=True))
        assert complete.columns.equals(found.columns[frequent].reset_index(drop=True))
        assert (len(complete.units) > 0) == (least == 0.5)  # no session has every condition
    assert set(found.complete().columns.outcome.dropna()) == {"correct", "error"}


def test_conditions_with_few_events_are_missing(units):
    found = views.fetch_psth_matrix(units, "stimulus_contrast", min_events=6)
    table = views.fetch_psth(units, "stimulus_contrast")
    enough = table[table.n_events >= 6]
    assert 0 < len(enough) < len(table)
    assert (~np.isnan(found.rates)).sum() == enough["mean"].notna().sum()


def test_a_recording_and_units_that_a_definition_leaves_out(populated):
    eid = rows.frame(activity.Psth()).eid.iloc[0]
    of_session = views.fetch_psth_matrix(eid, "stimulus_side")
    expected = views.fetch_psth(eid, "stimulus_side")
    assert len(of_session.units) == len(expected[UNIT].drop_duplicates())
    bad = views.units() - views.units(criterion="ibl_2022").proj()
    with pytest.raises(QueryError, match="no histogram stimulus_side of these units is stored"):
        views.fetch_psth_matrix(bad, "stimulus_side")


@pytest.mark.parametrize(
    ("names", "says"),
    [("sides", "no psth_definition 'sides'"), ([], "no definition"), (["x"], "definition 'x'")],
)
def test_an_unknown_definition_is_one_error(populated, names, says):
    with pytest.raises(QueryError, match=says):
        views.fetch_psth_matrix(views.units(), names)
    with pytest.raises(QueryError, match="not split into even and odd"):
        views.fetch_psth_matrix(views.units(criterion="ibl_2022"), "stimulus_side").halves()
