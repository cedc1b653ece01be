"""Every column of trajectories and sites in the metadata, changed in the ways of `test_domains`."""

from fnmatch import fnmatchcase

import pandas as pd
import pytest

from schemas.sources.alf.domains import INSERTIONS
from schemas.sources.one_api import OneSource
from tests.unit.test_domains import LISTED, LISTED_INSERTIONS, MUTATIONS

TABLE = {
    name: "channels" if name in ("axial", "lateral") else "trajectories" for name in INSERTIONS
}
COLUMNS = list(INSERTIONS)


@pytest.fixture(scope="module")
def tables(release):
    """The tables of the metadata, in which every trajectory has its place."""
    found = {
        str(path.relative_to(release.folder)): pd.read_parquet(path)
        for path in [*release.folder.glob("*.pqt"), *release.folder.glob("alyx/*.pqt")]
    }
    assert len(found["alyx/channels.pqt"])
    assert len(found["alyx/trajectories.pqt"])
    return found


def places(found):
    """Places by session, probe and provenance, and the problems of sessions."""
    by_track = {}
    for record in found.sessions():
        for insertion in record.insertions:
            for track in insertion.trajectories:
                place = tuple(getattr(track, name) for name in ("x", "y", "z", "depth", "theta"))
                place += (track.phi, track.roll, track.sites)
                by_track[record.eid, insertion.probe_name, track.provenance] = place
    return by_track, " ".join(map(str, found.problems))


def read(tables, folder, changed=None):
    for name, table in {**tables, **(changed or {})}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        table.to_parquet(folder / name)
    return places(OneSource(folder, folder / "home"))


def is_accepted(tables, folder, name, mutation):
    """Whether changed places get in. What is read as it was, or as null, does not."""
    table = f"alyx/{TABLE[name]}.pqt"
    released = tables[table]
    values = MUTATIONS[mutation](released[name].to_numpy(float))
    changed = released.iloc[: len(values)].assign(**{name: values})
    (before, _), (after, told) = (
        read(tables, folder / "a"),
        read(tables, folder / "b", {table: changed}),
    )
    if f"{name} is" in told:
        return False
    return any(
        after.get(key) not in (None, place) and not only_lost(place, after[key])
        for key, place in before.items()
    )


def only_lost(before, after):
    """Whether a place differs by values that are null now, or by sites that are gone."""
    plain = all(new in (old, None) for old, new in zip(before[:-1], after[:-1], strict=True))
    sites = set(after[-1]) <= set(before[-1])
    lost = all(
        any(
            all(new in (old, None) for old, new in zip(one, site, strict=True))
            for one in before[-1]
        )
        for site in after[-1]
    )
    return plain and (sites or lost)


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("name", COLUMNS)
def test_a_changed_place_is_read_refused_or_listed_with_a_reason(tables, tmp_path, name, mutation):
    column = f"insertions.{name}"
    # "*" stands for every column without an order, as these are.
    patterns = [pattern for one, pattern in LISTED_INSERTIONS if mutation == one] + (
        ["*"] if (mutation, "*") in LISTED else []
    )
    listed = any(fnmatchcase(column, pattern) for pattern in patterns)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    assert is_accepted(tables, tmp_path, name, mutation) == listed
