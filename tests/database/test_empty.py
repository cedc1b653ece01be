"""Sessions in which nothing happened, and in which nothing was measured: null rows, no failure."""

import numpy as np
import pytest

from schemas import activity, imported, rows, session, views
from schemas.sources.alf.domains import DOMAINS
from schemas.views import pynapple
from tests.support.alf import write
from tests.support.databases import tables
from tests.support.released import FILES, as_written, place

NAN = float("nan")


def empty(kind):
    """The files of a kind without a row."""
    if kind == "passive_periods":
        return {
            path: {n: v if not n else [NAN, NAN] for n, v in t.items()}
            for path, t in FILES[kind].items()
        }
    return {
        path: {name: values[:0] for name, values in content.items()}
        if isinstance(content, dict)
        else content[: 4 * path.endswith("ROIMotionEnergy.position.npy")]
        for path, content in FILES[kind].items()
    }


def unmeasured(kind):
    """The files of a kind with NaN wherever a value may be missing."""
    files = empty(kind) if kind == "passive_periods" else dict(FILES[kind])
    missing = [name for name, domain in DOMAINS[kind].items() if domain.missing]
    for name in missing if kind != "passive_periods" else ():
        path, column = place(kind, name)
        content = files[path]
        if isinstance(content, dict):
            is_text = DOMAINS[kind][name].pattern
            files[path] = content | {column: [None if is_text else NAN] * len(content[column])}
        elif column is None:
            files[path] = np.full(content.shape, NAN)
        else:
            files[path] = np.where(np.arange(content.shape[1]) == column, NAN, content)
    return files


def silent(kind):
    """The files of a kind, with clusters but not one spike."""
    return empty(kind) if kind == "spikes" else FILES[kind]


@pytest.fixture
def filled(database, tmp_path):
    """A database of four sessions: as released, empty, without measurements, and without spikes."""
    for number, made in enumerate((FILES.get, empty, unmeasured, silent), 1):
        for kind in FILES:
            contents = {path: as_written(path, content) for path, content in made(kind).items()}
            write(tmp_path / f"M1/2021-01-14/{number:03d}", contents)
    database.register(tmp_path)
    return database


@pytest.mark.filterwarnings("ignore:.*left out:UserWarning")
def test_nothing_fails_and_rows_are_null(filled):
    assert [failure.error for failure in filled.populate()] == []
    assert {name: state.pending for name, state in filled.status().items() if state.pending} == {}
    counts = {"wheel.Wheel": "n_samples", "ephys.Spikes": "n_spikes", "video.Licks": "n_licks"}
    for name, table in tables().items():
        if not issubclass(table, imported.ImportedFromFiles):
            continue
        made = rows.frame(table())
        assert len(made) == 4, name
        if name in counts:
            none = made[made[counts[name]] == 0]
            assert len(none) == 1 + (name == "ephys.Spikes")
            ends = [
                c for c in made if c.startswith(("first_", "last_", "wheel_start", "wheel_end"))
            ]
            assert len(ends) == 2
            assert none[ends].isna().all(axis=None)
    for eid in session.Session().to_arrays("eid"):
        of_session = views.units() & {"eid": eid}
        assert len(views.fetch_units(of_session)) == len(of_session)
        for fetch in (
            views.fetch_trials,
            views.fetch_wheel,
            views.fetch_psychometric_curve,
            views.fetch_chronometric_curve,
            pynapple.fetch_trials,
            pynapple.fetch_wheel,
        ):
            fetch(eid)
        assert len(views.fetch_clusters(of_session)) == len(of_session)
        views.fetch_spikes(of_session)
        for definition in activity.PsthDefinition().to_arrays("psth_definition"):
            views.fetch_psth(of_session, definition)
    views.fetch_inclusion_chain("ibl_2024")
    views.fetch_metric_differences()
    assert len(views.fetch_training_status("M1")) == 4
