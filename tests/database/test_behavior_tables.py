"""Masks, performance, psychometric fits and training status against brute force and the truth."""

import datajoint as dj
import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special, stats

from populate import catalog
from schemas import activity, behavior, rows, session, views
from schemas.errors import QueryError
from schemas.maths import psychometric
from schemas.sources.alf.names import TRIAL_COLUMNS
from schemas.sources.simulator import behavior as planted_behavior
from tests.support import prepared

NEEDED = (
    "stim_on_time",
    "choice",
    "feedback_time",
    "probability_left",
    "first_movement_time",
    "feedback_type",
)
LEVEL = 0.99


@pytest.fixture
def trials(populated):
    """Trials of all sessions as stored, numbers as floats."""
    stored = rows.frame(behavior.Trials.Trial())
    numbers = [n for n in stored if n not in ("eid", "trial")]
    stored = stored.astype(dict.fromkeys(numbers, float))
    stored["signed"] = 100 * (stored.contrast_right.fillna(0) - stored.contrast_left.fillna(0))
    return stored


def columns(trials):
    return {name: trials[name].to_numpy() for name in trials if name != "eid"}


def test_the_masks_are_those_of_a_computation_by_frames(trials):
    reaction = trials.first_movement_time - trials.stim_on_time
    used = trials[list(NEEDED)].notna().all(axis=1) & (reaction >= 0.08) & (reaction <= 2.0)
    stored = rows.frame(behavior.TrialMask.Trial())
    assert set(stored.trial_mask) == {"all", "bwm", "bwm_truncated"}
    both = stored.merge(trials.assign(expected=used)[["eid", "trial", "expected"]])
    assert len(both) == 3 * len(trials)
    of = both.groupby("trial_mask")
    assert of.get_group("all").is_used.all()
    bwm = of.get_group("bwm")
    assert (bwm.is_used.astype(bool) == bwm.expected).all()
    assert 0 < bwm.is_used.sum() < len(bwm)
    assert ((stored.exclusion == "") == stored.is_used.astype(bool)).all()
    # No session of this release has the 400 trials that the truncation asks for.
    truncated = of.get_group("bwm_truncated")
    assert not truncated.is_used.any()
    assert set(truncated.exclusion) == {"criterion"}


def test_the_masks_count_their_trials(populated):
    masks = rows.frame(behavior.TrialMask()).set_index(["eid", "trial_mask"])
    used = rows.frame(behavior.TrialMask.Trial()).groupby(["eid", "trial_mask"]).is_used.sum()
    assert masks.n_used.sort_index().to_dict() == used.to_dict()
    asked = masks.index.get_level_values("trial_mask") == "bwm_truncated"
    assert (masks.n_truncated == 0).all()
    assert masks.criterion_met[~asked].isna().all()
    assert (masks.criterion_met[asked] == False).all()  # noqa: E712  (nullable booleans)


def test_a_session_is_truncated_where_it_was_still_good(database):
    """60 easy errors at the end: of 1 to n trials 410 are right, so 410 / n > 0.9 to n = 455."""
    n = 470
    start = 10.0 * np.arange(n)
    right = np.arange(n) < 410
    table = pd.DataFrame({"stim_on_time": start, "go_cue_time": start})
    table["first_movement_time"] = start + 0.5
    table["feedback_time"] = start + 1.0
    table["choice"] = -1
    table["feedback_type"] = np.where(right, 1, -1)
    table["contrast_right"] = 1.0
    table["probability_left"] = 0.5
    add_trials(table, prepared.EID)
    behavior.TrialMask.populate()
    mask = (behavior.TrialMask & {"trial_mask": "bwm_truncated"}).fetch1()
    assert (mask["n_used"], mask["n_truncated"], bool(mask["criterion_met"])) == (455, 15, True)
    left_out = behavior.TrialMask.Trial & {"exclusion": "truncated"}
    assert sorted(left_out.to_arrays("trial")) == list(range(455, 470))
    assert (behavior.TrialMask & {"trial_mask": "bwm"}).fetch1("n_used") == n


def test_performance_is_that_of_a_computation_by_frames(trials):
    stored = rows.frame(behavior.Performance()).set_index("eid")
    assert len(stored) == trials.eid.nunique()
    for eid, of in trials.groupby("eid"):
        found, easy = stored.loc[eid], of[of.signed.abs() >= 50]
        known = of.probability_left.dropna()
        assert found.n_correct == (of.feedback_type == 1).sum()
        assert found.n_no_go == (of.choice == 0).sum()
        assert found.n_easy == len(easy)
        assert found.n_blocks == (known != known.shift()).sum()
        assert found.performance == pytest.approx((of.feedback_type == 1).mean(), rel=1e-12)
        expected = (easy.feedback_type == 1).mean()
        assert found.performance_easy == pytest.approx(expected, rel=1e-12)


def add_trials(frame, eid):
    """Insert a session and its trials, under our names."""
    prepared.add_session(eid)
    direct = {"allow_direct_insert": True}
    rows.insert1(behavior.Trials(), {"eid": eid, "n_trials": len(frame)}, **direct)
    table = frame.rename_axis("trial").reset_index()
    rows.insert(behavior.Trials.Trial(), table, {"eid": eid}, **direct)


def plots_rule(n_intervals):
    """The definition of plots, with intervals that all hold together in 99.9 of 100 draws."""
    rule = (behavior.PsychometricDefinition & {"psychometric_definition": "plots"}).fetch1()
    return rule | {"ci_level": 1 - 0.001 / n_intervals}


def holds(fit, planted):
    names = {"bias": "bias", "threshold": "slope", "lapse_low": "lapse_low"}
    names["lapse_high"] = "lapse_high"
    return {
        name: fit[f"psych_{name}_ci_low"] <= planted[true] <= fit[f"psych_{name}_ci_high"]
        for name, true in names.items()
    }


def test_planted_psychometric_parameters_of_long_sessions_are_recovered(database):
    """Four sessions of 650 trials, as long as real ones, pooled from the database by block."""
    for i, eid in enumerate(
        (prepared.EID, prepared.OTHER, prepared.EID[::-1], prepared.OTHER[::-1])
    ):
        simulated, _ = planted_behavior.simulate_trials(np.random.default_rng([7, i]), 650, np.inf)
        add_trials(simulated.rename(columns=TRIAL_COLUMNS), eid)
    stored = rows.frame(behavior.Trials.Trial())
    numbers = {n: stored[n].to_numpy(float) for n in behavior.COLUMNS}
    rule = plots_rule(12)
    fits = psychometric.fit_blocks(numbers, rule, psychometric.BLOCKS.keys() - {"all"})
    for prior, planted in planted_behavior.PSYCHOMETRIC.items():
        fit = fits[str(prior)]
        assert fit["n_fit_trials"] > 300
        assert all(holds(fit, planted).values()), (prior, holds(fit, planted))
        # With so many trials it is they, not the bounds of the fit, that limit the intervals.
        assert fit["psych_bias_ci_high"] - fit["psych_bias_ci_low"] < 12
        for name in ("lapse_low", "lapse_high"):
            assert fit[f"psych_{name}_ci_high"] < rule["lapse_max"]
    assert fits["0.8"]["psych_bias"] - fits["0.2"]["psych_bias"] > 5


def test_planted_psychometric_parameters_of_the_release_lie_within_the_intervals(release, trials):
    planted = release.truth.psychometric
    blocks = psychometric.BLOCKS.keys() - {"all"}
    fits = psychometric.fit_blocks(columns(trials), plots_rule(12), blocks)
    assert set(fits) == {str(prior) for prior in planted}
    for prior, parameters in planted.items():
        assert all(holds(fits[str(prior)], parameters).values()), prior


def test_every_session_is_fitted_by_block_and_definition(trials, populated):
    stored = rows.frame(behavior.Psychometric.Block())
    usable = trials.dropna(subset=["choice"])
    counts = usable.groupby(["eid", usable.probability_left.astype(str)]).size()
    for definition, of in stored.groupby("psychometric_definition"):
        whole = of[of.psychometric_block == "all"].set_index("eid").n_fit_trials
        assert whole.to_dict() == usable.groupby("eid").size().to_dict(), definition
        blocks = of[of.psychometric_block != "all"].set_index(["eid", "psychometric_block"])
        assert blocks.n_fit_trials.to_dict() == counts.to_dict()
    shift = rows.frame(behavior.Psychometric()).set_index(["eid", "psychometric_definition"])
    keys = ["eid", "psychometric_definition"]
    bias = stored.pivot_table("psych_bias", keys, "psychometric_block")
    expected = bias["0.8"] - bias["0.2"]
    np.testing.assert_allclose(
        shift.bias_shift.sort_index(), expected.reindex(shift.index).sort_index(), atol=1e-9
    )


def test_a_stored_likelihood_is_the_product_over_trials(trials, populated):
    stored = rows.frame(behavior.Psychometric.Block & {"psychometric_block": "all"})
    for _, fit in stored.iterrows():
        of = trials[trials.eid == fit.eid].dropna(subset=["choice"])
        rise = (special.erf((of.signed - fit.psych_bias) / fit.psych_threshold) + 1) / 2
        p = fit.psych_lapse_low + (1 - fit.psych_lapse_low - fit.psych_lapse_high) * rise
        p = p.clip(2.3e-16, 1 - 2.3e-16)
        expected = np.log(np.where(of.choice == -1, p, 1 - p)).sum()
        assert fit.log_likelihood == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_planted_reaction_times_lie_within_the_intervals(release, populated):
    """Fractions by the exact binomial interval; the lognormal part by its likelihood region."""
    planted = release.truth.reaction_time
    stored = behavior.ReactionTime.Trial & {"rt_definition": "first_movement"}
    seconds = rows.frame(stored).reaction_time.dropna().to_numpy()
    mu, sigma = np.log(planted["median"]), planted["sigma"]
    share = 1 - planted["early_fraction"] - planted["slow_fraction"]
    beyond = planted["slow_fraction"] + share * stats.norm.sf((np.log(2.0) - mu) / sigma)
    for count, true in (
        ((seconds < 0.08).sum(), planted["fraction_below_80ms"]),
        ((seconds > 2.0).sum(), beyond),
    ):
        interval = stats.binomtest(int(count), len(seconds)).proportion_ci(LEVEL)
        assert interval.low <= true <= interval.high
    # Between the two only the lognormal part is left, cut off at both ends.
    log = np.log(seconds[(seconds >= 0.08) & (seconds <= 2.0)])
    low, high = np.log([0.08, 2.0])

    def minus_likelihood(parameters):
        m, s = parameters
        mass = stats.norm.cdf(high, m, s) - stats.norm.cdf(low, m, s)
        return len(log) * np.log(mass) - stats.norm.logpdf(log, m, s).sum()

    best = optimize.minimize(minus_likelihood, [mu, sigma], method="Nelder-Mead").fun
    assert 2 * (minus_likelihood([mu, sigma]) - best) < stats.chi2.ppf(LEVEL, 2)


def test_a_session_of_training_is_judged_with_what_it_has(release, populated):
    (eid,) = release.truth.sessions.eid[release.truth.sessions.training.astype(bool)]
    mask = (behavior.TrialMask & {"eid": eid, "trial_mask": "bwm"}).fetch1()
    assert mask["n_used"] == 0
    reasons = (behavior.TrialMask.Trial & mask & {"trial_mask": "bwm"}).to_arrays("exclusion")
    assert set(reasons) == {"incomplete"}
    status = (behavior.TrainingStatus & {"eid": eid, "training_criterion": "trained_1a"}).fetch1()
    assert not status["meets_trials"]  # 100 of more than 200
    assert status["meets_reaction_time"] is None
    assert status["meets_bias_shift"] is None
    assert status["zero_contrast_rt"] > 0
    assert not status["is_met"]


def test_a_status_follows_from_the_stored_fit(trials, populated):
    stored = rows.frame(behavior.TrainingStatus & {"training_criterion": "trained_1a"})
    fits = rows.frame(
        behavior.Psychometric.Block
        & {"psychometric_definition": "training", "psychometric_block": "all"}
    ).set_index("eid")
    assert len(stored) == trials.eid.nunique()
    for _, found in stored.iterrows():
        fit = fits.loc[found.eid]
        assert found.meets_bias == (abs(fit.psych_bias) < 16)
        assert found.meets_threshold == (fit.psych_threshold < 19)
        assert found.meets_lapses == (max(fit.psych_lapse_low, fit.psych_lapse_high) < 0.2)
        of = trials[(trials.eid == found.eid) & (trials.signed == 0)]
        expected = (of.response_time - of.stim_on_time).median()
        assert found.zero_contrast_rt == pytest.approx(expected, rel=1e-12)


def test_replaced_trials_take_all_their_rows_along(populated):
    key = {"eid": behavior.Trials.to_arrays("eid")[0]}
    held = [
        table
        for table in catalog.tables()
        if table.__module__ == "schemas.behavior" and table & key and table is not behavior.Trials
    ]
    assert {table.__name__ for table in held} >= {
        *("TrialMask", "Performance", "Psychometric", "TrainingStatus", "ReactionTime")
    }
    connection = dj.conn()
    connection.start_transaction()
    try:
        (behavior.Trials & key).delete(transaction=False, prompt=False)
        assert not any(table & key for table in held)
        assert not behavior.TrialMask.Trial & key
        assert not activity.UnitRate & key & "n_events > 0"
    finally:
        connection.cancel_transaction()
    assert all(table & key for table in held)


def test_a_psychometric_curve_is_that_of_the_frames(trials, populated):
    eid = trials.eid.iloc[0]
    of = trials[(trials.eid == eid)].dropna(subset=["choice"])
    points, curves = views.fetch_psychometric_curve(eid.upper())
    for block, found in points.groupby("psychometric_block"):
        chosen = of if block == "all" else of[of.probability_left == float(block)]
        expected = (chosen.choice == -1).groupby(chosen.signed + 0.0).agg(["size", "sum", "mean"])
        assert found.signed_contrast.tolist() == expected.index.tolist()
        assert found.n.tolist() == expected["size"].tolist()
        assert found.n_right.tolist() == expected["sum"].tolist()
        np.testing.assert_allclose(found.p_right, expected["mean"], rtol=1e-12)
    assert set(curves.psychometric_block) == set(points.psychometric_block)
    fit = (
        behavior.Psychometric.Block
        & {"eid": eid, "psychometric_definition": "plots", "psychometric_block": "all"}
    ).fetch1()
    curve = curves[curves.psychometric_block == "all"].set_index("signed_contrast").p_right
    rise = (special.erf((25 - fit["psych_bias"]) / fit["psych_threshold"]) + 1) / 2
    lapses = fit["psych_lapse_low"], fit["psych_lapse_high"]
    assert curve[25.0] == pytest.approx(lapses[0] + (1 - sum(lapses)) * rise, rel=1e-12)


def test_a_chronometric_curve_is_that_of_the_frames(trials, populated):
    eid = trials.eid.iloc[0]
    of = trials[trials.eid == eid]
    seconds = of.response_time - of.stim_on_time
    by_contrast = seconds.groupby(of.signed + 0.0)
    expected = pd.DataFrame({q: by_contrast.quantile(q) for q in (0.25, 0.5, 0.75)})
    found = views.fetch_chronometric_curve(eid, "response")
    assert found.signed_contrast.tolist() == expected.index.tolist()
    assert set(found.psychometric_block) == {"all"}
    np.testing.assert_allclose(found[["lower_quartile", "median", "upper_quartile"]], expected)
    assert found.n.sum() + found.n_missing.sum() == len(of)
    by_block = views.fetch_chronometric_curve(eid, "response", by_block=True)
    single = by_block[by_block.psychometric_block != "all"]
    assert single.n.sum() == found.n.sum()


def test_the_status_of_a_mouse_pools_three_sessions(trials, populated):
    sessions = rows.frame(session.Session(), order_by="subject, session_date, session_number")
    n_trials = trials.groupby("eid").size()
    for subject, of in sessions.groupby("subject"):
        found = views.fetch_training_status(subject)
        assert found.eid.tolist() == of.eid.tolist()
        counts = n_trials[found.eid].reset_index(drop=True)
        pooled = counts.rolling(3, min_periods=1)
        assert found.least_trials.tolist() == pooled.min().tolist()
        assert found.n_pooled.tolist() == pooled.count().tolist()
        training = found.task_protocol.str.contains("training")
        alone = training.rolling(3, min_periods=1).min().astype(bool)
        # With 100 trials no criterion is met; any session with blocks means trained 1b before.
        assert (found.status == np.where(alone, "in_training", "trained_1b")).all()
        zero = trials[trials.eid.isin(found.eid.iloc[-3:]) & (trials.signed == 0)]
        expected = (zero.response_time - zero.stim_on_time).median()
        assert found.zero_contrast_rt.iloc[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("view", "arguments", "says"),
    [
        (views.fetch_psychometric_curve, ("definition",), "plots"),
        (views.fetch_chronometric_curve, ("reaction",), "first_movement"),
    ],
)
def test_an_unknown_definition_is_an_error_that_says_which_there_are(
    populated, view, arguments, says
):
    eid = behavior.Trials.to_arrays("eid")[0]
    with pytest.raises(QueryError, match=says):
        view(eid, *arguments)
    with pytest.raises(QueryError, match="not a UUID"):
        view("mouse")


def test_a_mouse_without_trials_is_an_error(populated):
    with pytest.raises(QueryError, match="no trials are imported"):
        views.fetch_training_status("nobody")
