"""The page of requests: each answer in DataJoint, in SQL where SQL can, and against the truth."""

import re

import datajoint as dj
import numpy as np
import pandas as pd
import pytest

from schemas import ephys, views
from tests.database.test_cookbook import as_rows
from tests.support import cookbook, requests_page
from tests.support.databases import tables

SETUP, QUESTIONS = requests_page.read()
LATER = {10, 11, 12, 13, 14, 28}
TWINS = {25: 24}
"""Requests that the answer to another one answers."""


@pytest.fixture
def asked(tuned, monkeypatch):
    """Names that a page defines before the first question, and a way to ask."""

    def ask(question):
        names = {}
        exec(SETUP.replace("connection.connect(demo=True)", ""), names)
        exec(question.python, names)
        return names

    return ask


def prefix():
    """Prefix of the schemas of the connected database."""
    return ephys.Spikes.database.removesuffix("_ephys")


@pytest.fixture
def quoted(tuned, backend):
    if backend.name == "mysql":
        _, quotes, _ = cookbook.read()
        (mode,) = dj.conn().query("SELECT @@sql_mode").fetchone()
        dj.conn().query(quotes)
        yield
        dj.conn().query("SET SESSION sql_mode = %s", (mode,))
    else:
        yield


def test_every_request_has_its_line_and_its_entry():
    calls = requests_page.listed()
    assert list(calls) == list(range(1, 39))
    assert {number for number, call in calls.items() if call == "not yet"} == LATER
    assert set(QUESTIONS) == set(range(1, 39)) - LATER - TWINS.keys()


def test_the_table_names_calls_that_there_are():
    for call in requests_page.listed().values():
        for name in set(re.findall(r"views\.(\w+)", call)):
            assert name in views.__all__, name


@pytest.mark.parametrize("number", QUESTIONS)
def test_an_answer_is_there(asked, number):
    if number == 27:
        pytest.skip("iblatlas downloads the depths; test_modulation asks with files of its own")
    table = asked(QUESTIONS[number])["table"]
    assert isinstance(table, pd.DataFrame)
    assert len(table) > 0 or number == 35


@pytest.mark.parametrize("number", [n for n, q in QUESTIONS.items() if q.sql])
def test_sql_gives_the_same_rows(asked, quoted, number):
    table = asked(QUESTIONS[number])["table"]
    found = cookbook.ask_server(QUESTIONS[number], prefix())
    assert sorted(found) == sorted(table)
    assert as_rows(found[list(table)]) == as_rows(table)
    assert len(table) > 0


def test_the_page_names_tables_as_they_are(tuned):
    known = {table.full_table_name.replace("`", '"') for table in tables().values()}
    known = {name.replace(f'"{prefix()}_', '"bwm_') for name in known}
    for question in QUESTIONS.values():
        assert set(cookbook.names(question.sql)) <= known


def planted(tuned, kind):
    """Cluster ids of the units that are tuned to something."""
    units = tuned.truth.tuned
    return units[units.tuned_to == kind].cluster_id


def test_units_of_a_region_are_those_that_were_planted_there(asked, tuned):
    table = asked(QUESTIONS[1])["table"]
    units = tuned.truth.units
    last = units[units.is_good_2022 & units.acronym.isin(["CP", "ACB"])]
    sorts = tuned.truth.sortings.query("is_default")[["eid", "probe_name", "revision"]]
    expected = last.merge(sorts)
    assert set(zip(table.eid, table.probe_name, table.cluster_id, strict=True)) == set(
        zip(expected.eid, expected.probe_name, expected.cluster_id, strict=True)
    )


def test_the_first_regions_are_those_that_respond_at_once(asked, tuned):
    """In the other session units respond from the stimulus on; here not before 40 ms."""
    table = asked(QUESTIONS[8])["table"].set_index("region")
    assert (table.latency_low <= table.latency).all()
    assert (table.latency <= table.latency_high).all()
    at_once = table.index.intersection(["PO", "LP", "CA1", "DG"])
    assert (table.latency[at_once] < 0.02).all()
    assert len(at_once) >= 2
    assert table.index.tolist().index("CP") > max(map(table.index.tolist().index, at_once))


def test_units_that_were_tuned_to_reward_make_their_region_modulated(asked, tuned):
    table = asked(QUESTIONS[9])["table"].set_index("region")
    units = tuned.truth.units.merge(tuned.truth.tuned[["cluster_id", "eid", "tuned_to"]])
    regions = set(units[units.tuned_to == "outcome"].acronym) & set(table.index)
    assert regions
    assert (table.n_modulated[list(regions)] >= 1).all()


def test_choices_follow_a_switch(asked, tuned):
    table = asked(QUESTIONS[16])["table"]
    zero = table[table.is_zero_contrast]
    mean = zero.groupby(zero.from_switch >= 0).apply(
        lambda part: np.average(part.p_new_side, weights=part.n_trials)
    )
    # The simulated mouse follows the block at once: by 5 % contrast, about 16 % of choices.
    assert mean[True] > 0.5 > mean[False]


def test_units_that_were_tuned_to_movement_fire_more_in_movement(asked, tuned):
    table = asked(QUESTIONS[26])["table"].set_index("cluster_id")
    ratio = table.movement / table.quiescence
    ours = planted(tuned, "movement")
    np.testing.assert_allclose(ratio[ours], 2.5, rtol=0.1)
    others = table.index.isin(planted(tuned, "noise"))
    np.testing.assert_allclose(ratio[others], 1.0, atol=0.1)


def test_planted_receptive_fields_are_found(asked, tuned):
    table = asked(QUESTIONS[31])["table"].set_index("cluster_id")
    units = tuned.truth.tuned
    ours = units[units.tuned_to == "noise"].set_index("cluster_id")
    found = table.loc[ours.index]
    assert found.has_field.astype(bool).all()
    assert (found.polarity == "on").all()
    assert found.row.tolist() == ours.field_row.tolist()
    assert found.column.tolist() == ours.field_column.tolist()
    others = table.index.isin(planted(tuned, "side")) | table.index.isin(planted(tuned, "choice"))
    assert table.has_field[others].astype(bool).mean() < 0.2


def test_planted_responses_to_replayed_stimuli_are_found(asked, tuned):
    table = asked(QUESTIONS[32])["table"]
    units = tuned.truth.tuned
    ours = units[units.tuned_to == "replay"].set_index("cluster_id").number
    for cluster, number in ours.items():
        of_unit = table[table.cluster_id == cluster].set_index("stimulus")
        answered = (
            ["valve", "tone", "noise"] if number == 3 else [("valve", "tone", "noise")[number]]
        )
        assert (of_unit.p[answered] < 0.01).all()
        assert (of_unit.rate_in[answered] > 1.5 * of_unit.rate_before[answered]).all()


def test_planted_timescales_lie_within_their_intervals(asked, tuned):
    table = asked(QUESTIONS[19])["table"].set_index("cluster_id")
    units = tuned.truth.tuned
    ours = units[units.tuned_to == "process"].set_index("cluster_id").timescale
    for cluster, timescale in ours.items():
        row = table.loc[cluster]
        # The rate follows exp(x) of a process x, whose correlation falls a little faster.
        assert row.tau_low * 0.75 <= timescale <= row.tau_high * 1.35, (cluster, timescale)
    order = table.tau[ours.sort_values().index].astype(float)
    assert order.is_monotonic_increasing


def test_units_that_were_tuned_to_the_left_prefer_the_ipsilateral_side(asked, tuned):
    table = asked(QUESTIONS[30])["table"].set_index("cluster_id")
    units = tuned.truth.tuned
    early = units[(units.tuned_to == "side") & (units.latency < 0.08)].cluster_id
    # The simulated probe is in the left hemisphere.
    assert (table.ipsilateral[early] > 1.1 * table.contralateral[early]).all()


def test_bins_and_frames_hold_every_spike_and_frame(asked, tuned):
    names = asked(QUESTIONS[36])
    grid = names["grid"]
    total = tuned.truth.sortings.set_index("eid").n_spikes[names["eid"]]
    assert grid.counts.sum(dtype=int) >= total - len(grid.units)
    frames = asked(QUESTIONS[37])["table"]
    start = tuned.truth.trials[names["eid"]].intervals_0[7]
    end = tuned.truth.trials[names["eid"]].intervals_1[7]
    assert abs(len(frames) - 60 * (end - start)) < 3
    assert frames.time.between(start, end).all()


def test_the_parts_of_a_split_share_no_mouse(asked, tuned):
    table = asked(QUESTIONS[21])["table"]
    assert not table[["subject", "part"]].drop_duplicates().subject.duplicated().any()
