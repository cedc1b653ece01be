"""Good units from the table that holds them together, beside those of all units."""

import pandas as pd
import pytest

from schemas import ephys, quality, rows, views
from schemas.errors import QueryError

KEY = ["eid", "probe_name", "sorting_name", "cluster_id"]
CRITERION = "ibl_2022"


@pytest.fixture
def units(populated):
    """All units with all their columns, and those that are good."""
    good = rows.frame(ephys.GoodUnits.Unit & {"criterion": CRITERION, "is_good": True})
    offered = rows.frame(ephys.OfferedSorting & "is_default_sorting = TRUE")
    every = rows.frame(ephys.SpikeSorting.Cluster())
    return every.merge(good[KEY]).merge(offered[KEY[:3]])


def test_each_column_is_that_of_the_unit(units):
    found = rows.frame(views.good_units(CRITERION))
    assert len(found) == len(units) > 10
    assert set(found.criterion) == {CRITERION}
    assert list(found)[5:] == quality.SHOWN
    expected = units[[*KEY, *quality.SHOWN]]
    pd.testing.assert_frame_equal(
        found[list(expected)], expected, check_exact=True, check_dtype=False
    )
    assert expected.cluster_uuid.is_unique
    assert expected.drop(columns=KEY).notna().any().all()


@pytest.mark.parametrize(
    "asked",
    [
        {"region": "TH"},
        {"region": "grey", "sorting": "pykilosort"},
        {"recording": "eid"},
        {"recording": "pid", "region": "TH"},
        {"sorting": "pykilosort"},
    ],
    ids=str,
)
def test_they_are_chosen_as_units_are(populated, asked):
    if "recording" in asked:
        shown = views.fetch_units(views.units("TH", CRITERION))
        asked = {**asked, "recording": shown[asked["recording"]][0]}
    found, expected = (
        rows.frame(chosen(criterion=CRITERION, **asked)).sort_values(KEY, ignore_index=True)
        for chosen in (views.good_units, views.units)
    )
    assert len(found) > 0
    pd.testing.assert_frame_equal(found[KEY], expected[KEY])


def test_a_table_to_read_is_the_same_from_both(populated):
    for region in (None, "TH"):
        expected = views.fetch_units(views.units(region, CRITERION))
        found = views.fetch_units(views.good_units(CRITERION, region))
        pd.testing.assert_frame_equal(found, expected)
        fast = views.fetch_units(views.good_units(CRITERION, region) & "firing_rate > 5")
        kept = expected[expected.firing_rate > 5].reset_index(drop=True)
        pd.testing.assert_frame_equal(fast, kept)
        assert 0 < len(fast) < len(found)


def test_a_unit_that_is_good_by_several_criteria_is_one_row(populated):
    every = quality.GoodUnitSummary.GoodUnit() & views.sorts().proj()
    found = views.fetch_units(every)
    assert len(found) < len(every)
    assert not found.duplicated(["pid", "cluster_id"]).any()
    chosen = (views.units() & every.proj()).proj()
    assert len(found) == len(chosen)


def test_changed_columns_are_not_taken_for_those_of_the_unit(populated):
    doubled = views.good_units(CRITERION).proj(*quality.SHOWN[:-1], amp_median="2 * amp_median")
    expected = views.fetch_units(views.good_units(CRITERION))
    pd.testing.assert_frame_equal(views.fetch_units(doubled), expected)


def test_nothing_is_a_table_without_rows(populated):
    expected = views.fetch_units(views.good_units(CRITERION))
    found = views.fetch_units(views.good_units(CRITERION) & "cluster_id < 0")
    assert len(found) == 0
    assert list(found) == list(expected)


def test_an_unknown_name_is_refused(populated):
    with pytest.raises(QueryError, match="no criterion 'ibl'"):
        views.good_units("ibl")
    with pytest.raises(QueryError, match="ZZZ"):
        views.good_units(CRITERION, "ZZZ")
