"""Waveforms through the database: as released, and as wide as planted."""

import numpy as np
import pandas as pd
import pytest

from populate.workers import worker
from schemas import ephys, rows, views
from schemas.errors import QueryError
from schemas.sources import data
from tests.support import prepared

UNIT = ["eid", "probe_name", "sorting_name", "cluster_id"]
NAMES = {"": "pykilosort", "2024-05-06": "pykilosort@2024-05-06"}
SAMPLE = 1 / 30
"""(ms)"""


@pytest.fixture
def planted(release, populated):
    """What was planted of every unit of a sort with waveforms."""
    units = release.truth.units
    units = units.assign(sorting_name=units.revision.map(NAMES)).set_index(UNIT).sort_index()
    return units[units.waveforms_of != ""]


@pytest.fixture
def found(planted):
    return rows.frame(ephys.Waveform.Unit).set_index(UNIT).sort_index()


def test_every_unit_of_a_sort_with_waveforms_has_its_shape(planted, found):
    assert found.index.equals(planted.index)
    assert len(found) > 100
    sorts = rows.frame(ephys.Waveform).set_index(UNIT[:-1])
    of = planted.waveforms_of.groupby(level=UNIT[:-1]).first()
    assert sorts.waveforms_of.sort_index().tolist() == of.tolist()
    assert set(of) == {"clusters", "templates"}


def test_planted_widths_ratios_and_channels_are_recovered(planted, found):
    shaped = planted.waveform_width.notna()
    assert 0 < (~shaped).sum() < 10  # silent units
    columns = ["waveform_peak_to_trough", "waveform_ratio", "waveform_half_width"]
    assert found[[*columns, "waveform_height", "waveform_channel"]][~shaped].isna().all(axis=None)
    got, expected = found[shaped], planted[shaped]
    assert (got.waveform_peak_to_trough - expected.waveform_width).abs().max() < SAMPLE
    assert (got.waveform_peak_to_trough < 0).sum() > 10
    np.testing.assert_allclose(got.waveform_ratio, expected.waveform_ratio, rtol=0.04)
    apart = (got.waveform_half_width - expected.waveform_half_width).abs()
    assert apart.max() < 0.6 * SAMPLE
    assert (got.waveform_channel == expected.channel).all()


def test_computed_widths_are_those_that_were_released(found):
    units = rows.frame(ephys.SpikeSorting.Cluster).set_index(UNIT)
    released = units.peak_to_trough[found.index]
    assert (found.waveform_peak_to_trough - released).abs().max() < SAMPLE


def test_a_waveform_is_that_of_the_file(release, planted):
    for of, sort in planted.reset_index().groupby("waveforms_of").first().iterrows():
        key = {name: sort[name] for name in UNIT[:-1]}
        session = release.truth.sessions.set_index("eid").loc[key["eid"]]
        day = f"{session.lab}/Subjects/{session.subject}/{session.date}/{session.number:03d}"
        folder = release.folder / day / "alf" / key["probe_name"] / "pykilosort"
        folder = folder / f"#{sort.revision}#" if sort.revision else folder
        released = np.load(folder / f"{of}.waveforms.npy")
        table = views.fetch_waveforms(ephys.SpikeSorting.Cluster & key)
        assert list(table) == [*UNIT, "time", "amplitude"]
        assert len(table) == len(released) * released.shape[1]
        height = np.ptp(released, axis=1)
        largest = released[np.arange(len(released)), :, height.argmax(axis=1)]
        np.testing.assert_array_equal(table.amplitude.to_numpy().reshape(largest.shape), largest)
        np.testing.assert_allclose(table.time[:82], np.arange(82) * SAMPLE)
        assert (table.cluster_id.to_numpy().reshape(-1, 82)[:, 0] == np.arange(len(released))).all()


def test_waveforms_of_some_units_and_of_none(planted):
    keys = planted.reset_index()[UNIT].iloc[[5, 60, 61]].to_dict("records")
    table = views.fetch_waveforms(ephys.SpikeSorting.Cluster & keys)
    found = table[UNIT].drop_duplicates().to_dict("records")
    assert found == keys
    assert views.fetch_waveforms(ephys.SpikeSorting.Cluster & "cluster_id < 0").empty
    with pytest.raises(QueryError, match="TH"):
        views.fetch_waveforms("TH")


# --- prepared files -----------------------------------------------------------------------------

NEWER = "alf/probe00/pykilosort/#2024-05-06#"
OLDER = "alf/probe00/pykilosort"


def add_sort(revision, waveforms_in):
    """List a sort of two units, and its waveforms in some folders."""
    prepared.add_session()
    prepared.add_insertion()
    folder = f"{OLDER}/#{revision}#" if revision else OLDER
    paths = [("clusters", f"{folder}/clusters.channels.npy")]
    paths.append(("spikes", f"{folder}/spikes.times.npy"))
    names = [f"clusters.{name}.npy" for name in ("waveforms", "waveformsChannels")]
    paths += [("waveforms", f"{each}/{name}") for each in waveforms_in for name in names]
    for kind, path in paths:
        prepared.add_file(kind, path, probe_name="probe00", dataset_sorter="pykilosort")
    prepared.add_sort(sorting=ephys.name_sorting("pykilosort", revision))


def use(n_waveforms=2):
    values = np.zeros((n_waveforms, 5, 2), np.float32)
    values[:, :, 1] = [0, -4e-5, 0, 2e-5, 0]
    channel = np.tile([[3, 4]], (n_waveforms, 1))
    clusters = data.Clusters(pd.DataFrame({"channel": [1, 0]}), ())
    waveforms = data.Waveforms(values, channel, "clusters")
    return prepared.use(prepared.Prepared(clusters=clusters, waveforms=waveforms))


def populate():
    outcomes = worker.run([ephys.SpikeSorting, ephys.Waveform])
    return [error for outcome in outcomes for _, error in outcome.failed]


def test_a_sort_has_the_waveforms_of_its_own_revision_alone(database):
    add_sort("2024-05-06", [OLDER])
    use()
    assert populate() == []
    assert len(ephys.SpikeSorting()) == 1
    assert len(ephys.Waveform()) == 0
    assert database.status()["ephys.Waveform"].absent == 1


def test_waveforms_are_read_from_the_revision_of_the_sort(database):
    add_sort("2024-05-06", [OLDER, NEWER])
    source = use()
    assert populate() == []
    (read,) = source.paths("waveforms")
    assert set(read) == {f"{NEWER}/clusters.{n}.npy" for n in ("waveforms", "waveformsChannels")}
    assert set(prepared.read(ephys.Waveform)) == set(read)
    units = rows.frame(ephys.Waveform.Unit)
    assert units.waveform_peak_to_trough.tolist() == pytest.approx([2 * SAMPLE] * 2)
    assert units.waveform_ratio.tolist() == pytest.approx([0.5] * 2)
    assert units.waveform_height.tolist() == pytest.approx([6e-5] * 2)
    assert units.waveform_half_width.tolist() == pytest.approx([SAMPLE] * 2)
    assert units.waveform_channel.tolist() == [4, 4]
    assert units.waveform_offset.tolist() == [0, 5]


def test_waveforms_of_other_units_are_refused(database):
    add_sort("", [OLDER])
    use(n_waveforms=3)
    (error,) = populate()
    assert "3 clusters.waveforms, but the spike sorting has 2 clusters" in error
    assert "download both again" in error
    assert len(ephys.Waveform()) == 0
