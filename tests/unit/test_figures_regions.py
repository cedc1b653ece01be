"""Rates of a region against the behaviour of their sessions."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from schemas.figures.ephys import plot_region_by_behavior
from schemas.figures.regions import MEASURES
from tests.support.axes import legend, named
from tests.unit.test_figures import JOINED


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def dots(ax):
    return [
        sorted(map(tuple, drawn.get_offsets().data.tolist()))
        for drawn in ax.collections
        if isinstance(drawn, PathCollection)
    ]


def bars(ax):
    """Ends of each error bar that has a length."""
    every = [
        segment[:, 1].tolist()
        for container in ax.containers
        for segment in container[2][0].get_segments()
        if segment.size and np.isfinite(segment).all()
    ]
    return [[low, high] for low, high in every if high > low]


def test_a_session_is_a_point_at_the_mean_of_its_units(ax):
    plot_region_by_behavior(ax, JOINED)
    (line,) = named(ax).values()
    assert line.get_xydata().tolist() == [[0.2, 3.0], [0.3, 10.0], [0.25, 5.0]]
    assert dots(ax) == [[(0.2, 2.0), (0.2, 4.0), (0.25, 5.0), (0.3, 10.0)]]
    assert bars(ax) == [[2.0, 4.0]]  # two units: sem = 2 ** 0.5 / 2 ** 0.5
    assert legend(ax) == ["units (n = 4, 3 sessions, Spearman 1.00)", "not shown: 2 units"]
    assert ax.get_xlabel() == "reaction time of the session (s), median"
    assert ax.get_ylabel() == "firing rate (Hz), mean ± sem of units"
    assert ax.get_ylim()[0] == 0


def test_regions_have_points_of_their_own_moved_on_paper_only(ax):
    plot_region_by_behavior(ax, JOINED, by_region=True)
    lp, po = named(ax).values()
    assert lp.get_xydata().tolist() == [[0.2, 2.0], [0.25, 5.0]]
    assert po.get_xydata().tolist() == [[0.2, 4.0], [0.3, 10.0]]
    assert legend(ax)[:2] == ["LP (n = 2, 2 sessions)", "PO (n = 2, 2 sessions)"]
    assert lp.get_color() != po.get_color()
    assert lp.get_marker() != po.get_marker()
    low, high = ax.get_xlim()
    assert low < 0.2 < 0.3 < high
    ax.figure.draw_without_rendering()
    at = [line.get_transform().transform([0.2, 2.0])[0] for line in (lp, po)]
    assert at[1] - at[0] == pytest.approx(4.5 * ax.figure.dpi / 72)
    assert np.mean(at) == pytest.approx(ax.transData.transform([0.2, 2.0])[0])


@pytest.mark.parametrize(
    ("means", "rho"),
    [([1, 2, 3, 4], 1), ([40, 3, 2, 1], -1), ([1, 3, 2, 4], 0.8), ([1, 1, 2, 0], -0.32)],
)
def test_the_correlation_is_of_ranks_over_sessions(ax, means, rho):
    # Ranks by hand, the third with one exchange of neighbours: 1 - 6 * 2 / (4 * 15) = 0.8. The
    # last has a tie: ranks 2.5 2.5 4 1, centred 0 0 1.5 -1.5, times -1.5 -0.5 0.5 1.5 is -1.5,
    # divided by the root of 4.5 * 5.
    sessions = pd.DataFrame({"eid": list("abcd"), "rate": means, "performance": [0.5, 0.6, 0.7, 1]})
    units = pd.concat([sessions, *[sessions.head(1)] * 13])  # many units of a session, one point
    plot_region_by_behavior(ax, units.assign(region_acronym="TH"), measure="performance")
    assert legend(ax) == [f"units (n = 17, 4 sessions, Spearman {rho:.2f})"]


@pytest.mark.parametrize("column", ["rate", "rt_median"])
def test_what_does_not_vary_has_no_correlation(ax, column):
    plot_region_by_behavior(ax, JOINED.assign(**{column: 0.5}))
    assert "Spearman" not in legend(ax)[0]


def test_changes_of_rates_may_be_negative(ax):
    plot_region_by_behavior(ax, JOINED.assign(rate=JOINED.rate - 8), label="change (Hz)")
    assert ax.get_ylim()[0] <= -6
    assert ax.get_ylabel() == "change (Hz), mean ± sem of units"


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_has_its_unit(ax, measure):
    plot_region_by_behavior(ax, JOINED.rename(columns={"rt_median": measure}), measure=measure)
    assert ax.get_xlabel().partition("(")[2]


def test_units_without_a_region_are_left_out_only_where_regions_are_drawn(ax):
    units = JOINED.assign(region_acronym=["LP", None, "PO", "LP", "LP", "LP"])
    plot_region_by_behavior(ax, units)
    assert legend(ax)[-1] == "not shown: 2 units"
    ax = ax.figure.add_subplot()
    plot_region_by_behavior(ax, units, by_region=True)
    assert legend(ax)[-1] == "not shown: 3 units"


@pytest.mark.parametrize(
    ("units", "given", "message"),
    [
        (JOINED, {"measure": "speed"}, "speed.*rt_median"),
        (JOINED.assign(rt_median=np.arange(6.0)), {}, "several values of rt_median"),
        (
            JOINED.assign(region_acronym=list("ABCDEF"), rate=1.0, rt_median=0.2),
            {"by_region": True},
            "at most 5 regions",
        ),
    ],
)
def test_what_cannot_be_joined_is_refused(ax, units, given, message):
    with pytest.raises(ValueError, match=message):
        plot_region_by_behavior(ax, units, **given)
