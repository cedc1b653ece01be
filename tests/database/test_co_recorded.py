"""Sessions in which regions were recorded together, beside a count of units in pandas."""

import pandas as pd
import pytest

from schemas import atlas, ephys, quality, release, rows, session, views
from schemas.errors import QueryError


@pytest.fixture
def acronyms_above(populated):
    """Acronyms of a region and of all regions that it lies in, by the parents in the atlas."""
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id")
    parent = regions.parent_id.dropna().astype(int).to_dict()

    def find(region):
        names = set()
        while region in parent:
            names.add(regions.region_acronym[region])
            region = parent[region]
        return names | {regions.region_acronym[region]}

    return {region: find(region) for region in regions.index}


def count_units(units, above, regions):
    """Number of units of each session (row) in each region (column)."""
    located = units.dropna(subset=["region_id"])
    counts = {
        name: located[[name in above[region] for region in located.region_id]].groupby("eid").size()
        for name in regions
    }
    every = pd.DataFrame(counts).reindex(rows.frame(session.Session()).eid).fillna(0)
    return every.astype(int)


def chosen_units(criterion, release_name=None, sorting=None):
    """Units with their regions, from the tables of units alone."""
    units = rows.frame(ephys.SpikeSorting.Cluster())
    sorts = rows.frame(ephys.OfferedSorting())
    sorts = sorts[sorts.is_default_sorting if sorting is None else sorts.sorting_name == sorting]
    units = units.merge(sorts[["eid", "probe_name", "sorting_name"]])
    if release_name is not None:
        units = units.merge(rows.frame(release.Release.Insertion & {"release_name": release_name}))
    if criterion is not None:
        judged = rows.frame(ephys.GoodUnits.Unit & {"criterion": criterion})
        good = judged[judged.is_good.fillna(False).astype(bool)]
        units = units.merge(good[["eid", "probe_name", "sorting_name", "cluster_id"]])
    return units


CASES = [
    (("CA1", "DG"), {"criterion": "ibl_2022", "min_units": 2}),
    (("TH", "HPF", "Isocortex"), {"min_units": 5}),
    (("TH", "LP"), {"criterion": "ibl_2024"}),
    (("root",), {"criterion": "ibl_2022", "min_units": 12}),
    (("CA1", "PO"), {"criterion": "ibl_2022", "sorting": "pykilosort"}),
]


@pytest.mark.parametrize(("regions", "asked"), CASES)
def test_sessions_and_counts_are_those_of_pandas(acronyms_above, regions, asked):
    least = asked.get("min_units", 1)
    units = chosen_units(asked.get("criterion"), None, asked.get("sorting"))
    counts = count_units(units, acronyms_above, regions)
    together = counts[(counts >= least).all(axis=1)]
    assert len(together)
    assert set(rows.frame(views.co_recorded(*regions, **asked)).eid) == set(together.index)
    found = views.fetch_co_recorded(*regions, **asked).set_index("eid")
    assert (found[list(regions)] == together.loc[found.index]).all(axis=None)
    assert len(found) == len(together)


def test_the_bound_is_within_bounds_and_leaves_sessions_out(acronyms_above):
    counts = count_units(chosen_units("ibl_2022"), acronyms_above, ["TH", "HPF"]).min(axis=1)
    most = counts.max()
    for least in (1, most, most + 1):
        found = views.co_recorded("TH", "HPF", criterion="ibl_2022", min_units=least)
        assert set(rows.frame(found).eid) == set(counts.index[counts >= least])
    assert not len(views.co_recorded("TH", "HPF", criterion="ibl_2022", min_units=most + 1))
    nothing = views.fetch_co_recorded("TH", "HPF", criterion="ibl_2022", min_units=most + 1)
    assert nothing.columns.tolist()[-2:] == ["TH", "HPF"]
    assert len(nothing) == 0


def test_only_the_insertions_of_a_release_count(acronyms_above, release):
    name = release.truth.release.stem
    asked = {"criterion": "ibl_2022", "min_units": 3}
    counts = count_units(chosen_units("ibl_2022", name), acronyms_above, ["TH"])
    found = views.co_recorded("TH", release_name=name, **asked)
    assert set(rows.frame(found).eid) == set(counts.index[counts.TH >= 3])


def test_units_are_counted_where_no_summary_is(acronyms_above, monkeypatch, statements):
    """Both ways give the same sessions, each with one aggregate query on the server."""
    asked = {"criterion": "ibl_2022", "min_units": 2}
    ways = {}
    for way in ("summaries", "units"):
        if way == "units":
            monkeypatch.setattr("schemas.views.regions._find_summarised", lambda _: None)
        expression = views.co_recorded("CA1", "TH", **asked)
        statements.clear()
        ways[way] = set(rows.frame(expression).eid)
        assert len(statements) == 1
        read_units = any("spike_sorting__cluster" in one for one in statements)
        assert read_units == (way == "units")
    assert ways["summaries"] == ways["units"] != set()
    assert quality.GoodUnitSummary()


def test_it_is_restricted_and_joined_like_any_expression(populated):
    together = views.co_recorded("TH", "HPF", criterion="ibl_2022")
    some = rows.frame(together)
    mouse = some.subject.iloc[0]
    of_mouse = set(rows.frame(together & {"subject": mouse}).eid)
    assert of_mouse == set(some.eid[some.subject == mouse])
    units = views.units("TH", "ibl_2022") & together.proj()
    assert set(rows.frame(units).eid) == set(some.eid)
    joined = rows.frame(together * ephys.SpikeSorting.proj("n_clusters"))
    assert set(joined.eid) == set(some.eid)
    again = views.co_recorded("TH", "HPF", "TH", criterion="ibl_2022")
    assert set(rows.frame(again).eid) == set(some.eid)


@pytest.mark.parametrize(
    ("regions", "asked", "says"),
    [
        ((), {}, "no region is given"),
        (("CA1", "ca1"), {}, r"no region 'ca1'.*CA1"),
        (("CA1",), {"min_units": 0}, "at least 0 units"),
        (("CA1",), {"criterion": "best"}, "no criterion 'best'"),
        (("CA1",), {"sorting": "best"}, "no sorting_name 'best'"),
        (("CA1",), {"release_name": "best"}, "no release_name 'best'"),
    ],
)
def test_what_cannot_be_asked_is_one_error(populated, regions, asked, says):
    for view in (views.co_recorded, views.fetch_co_recorded):
        with pytest.raises(QueryError, match=says):
            view(*regions, **asked)
