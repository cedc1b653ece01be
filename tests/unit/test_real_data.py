"""Real data and the results of the reference, where they are beside the project."""

import json

import numpy as np
import pandas as pd
import pytest

from populate.registration import releases
from schemas import activity, ephys
from schemas.maths import behavior, inclusion, metrics, wheel
from schemas.maths.ephys import compute_passes
from schemas.sources import alf, ontology
from schemas.sources.alf.domains import DOMAINS
from schemas.sources.alf.reading import checked

RELEASED_NAMES = {
    "amp_std_dB": "amp_std_db",
    "slidingRP_viol": "sliding_rp_viol",
    "slidingRP_viol_forced": "sliding_rp_viol_forced",
}
(RULE,) = (
    row for row in ephys.MetricsDefinition.contents if row["metrics_definition"] == "ibl_2024"
)


def test_metrics_of_500_real_clusters_equal_those_of_the_reference(real):
    spikes = np.load(real / "reference" / "ephys_120s_metrics_input.npz")
    expected = pd.read_parquet(real / "reference" / "ephys_120s_metrics_ibllib410.pqt")
    expected = expected.rename(columns=RELEASED_NAMES)
    order = np.lexsort((spikes["times"], spikes["clusters"]))
    arrays = (spikes[name][order] for name in ("times", "amps", "depths"))
    of_2024 = metrics.MetricParameters(
        **{k: v for k, v in RULE.items() if k not in ("metrics_definition", "criterion")}
    )
    counts = np.bincount(spikes["clusters"], minlength=len(expected))
    found = metrics.compute_unit_metrics(*arrays, counts, of_2024)
    assert len(expected) == 500
    assert (counts > 0).sum() == 289
    for name in metrics.METRICS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, err_msg=name)
    for name in ("sliding_rp_viol", "sliding_rp_viol_forced", "min_contamination", "drift"):
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize(
    ("name", "count", "n_moves"),
    [("wheel_fpga_cm", 6.2 * np.pi / 4096, 64), ("wheel_rotary_samples", 1.0, 14)],
)
def test_movements_of_real_wheels_equal_those_of_the_reference(real, name, count, n_moves):
    trace = np.load(real / "reference" / f"{name}.npz")
    even, position = wheel.interpolate(trace["timestamps"], trace["position"], 1000.0)
    thresholds = 8 * count, 1.5 * count
    onset, offset = wheel.find_moves(position, 1000.0, *thresholds, 0.2, 0.1, 0.05)
    assert len(onset) == n_moves
    np.testing.assert_allclose(even[onset], trace["onsets"], atol=1e-7)
    np.testing.assert_allclose(even[offset], trace["offsets"], atol=1e-7)
    amplitude = wheel.compute_peak_amplitude(position, onset, offset)
    np.testing.assert_allclose(amplitude, trace["amps"], atol=1e-8)


def test_the_unit_of_a_real_wheel_in_centimetres_is_inferred(real):
    position = np.load(real / "reference" / "wheel_fpga_cm.npz")["position"]
    assert wheel.infer_unit(position) == "cm"
    assert wheel.infer_resolution(position / wheel.UNITS["cm"]) == 2048


def test_labels_released_in_2022_are_those_of_the_criterion_ibl_2022_10(real):
    units = pd.read_parquet(real / "clusters_real_220626.pqt")
    (rule,) = (row for row in ephys.UnitCriterion.contents if row["criterion"] == "ibl_2022_10")
    released = units.rename(columns=RELEASED_NAMES)
    values = {n: released[n].to_numpy(float) for n in ("sliding_rp_viol", *TESTED)}
    thresholds = (rule[n] for n in ("min_refractory", "max_noise_cutoff", "min_amplitude"))
    found = compute_passes(values, len(units), rule["refractory_metric"], *thresholds)
    assert len(units) == 220_626
    assert found["is_good"].sum() == 18_777
    np.testing.assert_array_equal(found["is_good"], units.label)


TESTED = ("noise_cutoff", "amp_median")


def test_the_steps_of_the_inclusion_chain_have_the_published_names(real):
    published = pd.read_csv(real / "inclusion_info.csv", index_col=0)
    (rule,) = (r for r in activity.InclusionRule.contents if r["inclusion_rule"] == "bwm")
    names = [name.format(**rule) for name in inclusion.STEPS.values()]
    assert names == published.index.unique().tolist()


def test_trials_of_eleven_real_sessions_give_the_results_of_the_reference(real):
    expected = json.loads((real / "reference" / "training_ibllib410.json").read_text())
    tables = sorted(real.glob("ONE*/**/_ibl_trials.table.pqt"))
    sessions = {path.parents[2].name: path for path in tables}
    n_trials = 0
    for date, path in sessions.items():
        record = alf.dataset_record("e" * 36, "alf/_ibl_trials.table.pqt")
        trials = alf.behavior.read_trials({record: path}).frame
        numbers = {name: trials[name].to_numpy(float, na_value=np.nan) for name in trials}
        performance = behavior.compute_performance(numbers)["performance_easy"]
        seconds = numbers["response_time"] - numbers["stim_on_time"]
        n_trials += len(trials)
        assert len(trials) == expected[date]["n"]
        assert performance == pytest.approx(expected[date]["perf_easy"], rel=1e-12)
        assert np.nanmedian(seconds) == pytest.approx(expected[date]["rt_median_all"], abs=1e-9)
    assert len(sessions) == 11
    assert n_trials == 7844


@pytest.mark.parametrize(
    ("name", "insertions", "sessions", "mice"),
    [
        ("2022_10_bwm_release.csv", 547, 354, 115),
        ("freezes/2022_10_initial.csv", 552, 350, 116),
        ("freezes/2022_10_update.csv", 557, 355, 116),
        ("freezes/2023_12_bwm_release.csv", 699, 459, 139),
    ],
)
def test_real_release_lists_are_read_whole(real, name, insertions, sessions, mice):
    table, problems = releases.read_list(real / name)
    assert not problems
    assert (len(table), table.eid.nunique(), table.subject.nunique()) == (
        insertions,
        sessions,
        mice,
    )


def test_regions_of_real_sites_are_in_the_ontology(real):
    sites = pd.read_parquet(real / "channels_real_479.pqt")
    assert len(sites) == 183_876
    assert set(sites.atlas_id.abs()) <= ontology.region_ids()


def test_real_values_are_within_their_domains(real):
    units = pd.read_parquet(real / "clusters_real_220626.pqt")
    metrics_410 = pd.read_parquet(real / "reference" / "ephys_120s_metrics_ibllib410.pqt")
    spikes = np.load(real / "reference" / "ephys_120s_metrics_input.npz")
    sites = pd.read_parquet(real / "channels_real_479.pqt")
    sites = sites.rename(columns={"atlas_id": "region_id"}).assign(
        **{f"{axis}_um": 1e6 * sites[axis] for axis in "xyz"}
    )
    names = [
        n for n, column in units.items() if column.dtype.kind in "iuf" and n in DOMAINS["clusters"]
    ]
    n_checked = 0
    for kind, columns in (
        *(("clusters", {n: of_pid[n] for n in names}) for _, of_pid in units.groupby("pid")),
        ("clusters", {n: c for n, c in metrics_410.items() if n in DOMAINS["clusters"]}),
        ("spikes", {n: spikes[n] for n in spikes}),
        ("channels", {n: c for n, c in sites.items() if n in DOMAINS["channels"]}),
        *(("wheel", np.load(real / "reference" / f"{n}.npz")) for n in WHEELS),
    ):
        for name in columns:
            if name in DOMAINS[kind]:
                checked(columns[name], kind, name, real)
                n_checked += len(columns[name])
    assert n_checked > 2_000_000


WHEELS = ("wheel_fpga_cm", "wheel_rotary_samples")
