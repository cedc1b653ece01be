import pytest

from schemas.sources.ontology import load_ancestors, load_ontology, region_ids


@pytest.fixture(scope="module")
def regions():
    return load_ontology().set_index("region_id")


def test_every_structure_has_one_row_and_no_side(regions):
    # 'NA' and the like would be read as missing.
    assert not regions["region_acronym"].isin(["nan", "None", ""]).any()
    assert len(regions) == 1328
    assert regions.index.is_unique
    assert regions.index.min() == 0
    assert regions["region_acronym"].is_unique
    assert region_ids() == frozenset(regions.index)


def test_a_region_has_the_facts_of_the_atlas(regions):
    row = regions.loc[385]
    assert row["region_acronym"] == "VISp"
    assert row["region_name"] == "Primary visual area"
    assert row["region_rgb"] == "#08858c"
    assert (row["parent_id"], row["beryl_id"], row["cosmos_id"]) == (669, 385, 315)
    assert row["region_level"] == 7


def test_void_and_root_are_regions_of_their_own(regions):
    for region_id, acronym in ((0, "void"), (997, "root")):
        row = regions.loc[region_id]
        assert row["region_acronym"] == acronym
        assert (row["beryl_id"], row["cosmos_id"]) == (region_id, region_id)
    assert regions["parent_id"].isna().sum() == 2
    assert regions.loc[[0, 997], "parent_id"].isna().all()


@pytest.mark.parametrize(
    ("acronym", "region_id"), [("CM", 599), ("cm", 967), ("IPF", 624), ("ipf", 49)]
)
def test_acronyms_that_differ_by_case_are_kept_apart(regions, acronym, region_id):
    assert regions.index[regions["region_acronym"] == acronym].tolist() == [region_id]


def test_coarse_structures_are_root_in_beryl_and_themselves_in_cosmos(regions):
    thalamus = regions.loc[549]
    assert (thalamus["beryl_id"], thalamus["cosmos_id"]) == (997, 549)


def test_mappings_have_as_many_regions_as_published(regions):
    assert regions["beryl_id"].nunique() == 308
    assert regions["cosmos_id"].nunique() == 12
    assert set(regions["beryl_id"]) <= set(regions.index)


def test_descendants_of_a_region_are_those_of_the_atlas():
    ancestors = load_ancestors()
    assert (ancestors["ancestor_id"] == 385).sum() == 7
    assert (ancestors["ancestor_id"] == 549).sum() == 74
    assert (ancestors["ancestor_id"] == 997).sum() == 1327
    assert not ancestors.duplicated().any()


def test_the_line_of_ancestors_ends_at_root(regions):
    ancestors = load_ancestors()
    line = set(ancestors.loc[ancestors["region_id"] == 385, "ancestor_id"])
    assert line == {385, 669, 315, 695, 688, 567, 8, 997}
    assert ancestors.loc[ancestors["region_id"] == 0, "ancestor_id"].tolist() == [0]


def test_depth_equals_the_number_of_ancestors(regions):
    steps = load_ancestors().groupby("region_id").size() - 1
    assert steps.eq(regions["region_level"].reindex(steps.index)).all()


def test_changing_what_was_loaded_changes_nothing_for_others():
    mine = load_ontology()
    mine["region_id"] = 0
    assert load_ontology()["region_id"].nunique() == 1328
