"""Values and frames made ready for both servers."""

import uuid
from collections import OrderedDict
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import rows
from schemas.errors import InconsistentData

NAN, INF = float("nan"), float("inf")
UUID = uuid.UUID("288BFBF3-3700-4ABE-B6E4-130B5C541E61")
NOON = datetime(2024, 5, 6, 12, 30, 15, 123456)
EAST = timezone(timedelta(hours=5, minutes=30))


def same(found, expected):
    """Equal in value and type, containers inside as well."""
    if type(found) is not type(expected):
        return False
    if isinstance(found, dict):
        return list(found) == list(expected) and all(same(found[k], expected[k]) for k in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (NAN, None),
        (INF, None),
        (-INF, None),
        (np.float64("nan"), None),
        (np.float32("inf"), None),
        (pd.NaT, None),
        (pd.NA, None),
        (np.datetime64("NaT"), None),
        (np.datetime64("NaT", "ns"), None),
        (0.0, 0.0),
        (1e308, 1e308),
        (5e-324, 5e-324),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.float32(0.1), 0.10000000149011612),
        (np.float16(2), 2.0),
        (True, True),
        (np.True_, True),
        (np.bool_(False), False),
        (7, 7),
        (2**63 - 1, 2**63 - 1),
        (np.int8(-7), -7),
        (np.uint16(65_535), 65_535),
        (np.int64(2**62), 2**62),
        ("", ""),
        ("NaN", "NaN"),
        ('it\'s 100 % \\ "é"', 'it\'s 100 % \\ "é"'),
        (b"\x00\xff", b"\x00\xff"),
        (UUID, "288bfbf3-3700-4abe-b6e4-130b5c541e61"),
        (date(2024, 5, 6), date(2024, 5, 6)),
        (NOON, NOON),
        (NOON.replace(tzinfo=timezone.utc), NOON),
        (NOON.replace(tzinfo=EAST), NOON - timedelta(hours=5, minutes=30)),
        (pd.Timestamp(NOON), NOON),
        (pd.Timestamp(NOON, tz="UTC"), NOON),
        (
            pd.Timestamp("2024-05-06 12:30:15.123456", tz="America/New_York"),
            NOON + 4 * timedelta(0, 3600),
        ),
        (pd.Timestamp("2024-05-06 12:30:15.123456789"), NOON),
        (np.datetime64("2024-05-06T12:30:15.123456"), NOON),
        (np.datetime64("2024-05-06T12:30:15.123456789"), NOON),
        (np.datetime64("2024-05-06"), date(2024, 5, 6)),
        ([], []),
        ({}, {}),
        ((1, NAN), [1, None]),
        ([NAN, [np.int16(1), (pd.NA,)]], [None, [1, [None]]]),
        (
            {"a": NAN, "b": {"c": np.True_, "d": [UUID]}},
            {"a": None, "b": {"c": True, "d": [str(UUID)]}},
        ),
        (OrderedDict(a=INF), {"a": None}),
    ],
    ids=repr,
)
def test_a_value_is_made_clean(value, expected):
    assert same(rows.clean(value), expected)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=5),
    st.floats(width=32).map(np.float32),
    st.integers(0, 255).map(np.uint8),
    st.booleans().map(np.bool_),
    st.uuids(),
    st.datetimes(timezones=st.none() | st.just(timezone.utc) | st.just(EAST)).filter(
        lambda t: 1 < t.year < 9999
    ),
)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


def plain(value):
    """Whether both servers take a value."""
    if isinstance(value, dict):
        return all(map(plain, value.values()))
    if isinstance(value, list):
        return all(map(plain, value))
    if isinstance(value, float):
        return abs(value) < INF
    if isinstance(value, datetime):
        return value.tzinfo is None
    return value is None or type(value) in (bool, int, str)


@settings(max_examples=200, deadline=None)
@given(nested)
def test_what_is_clean_is_plain_and_stays_as_it_is(value):
    cleaned = rows.clean(value)
    assert plain(cleaned)
    assert same(rows.clean(cleaned), cleaned)


def test_a_mixed_frame_becomes_plain_rows():
    frame = pd.DataFrame(
        {
            "whole": np.array([1, 2], np.uint16),
            "number": [0.5, NAN],
            "single": np.array([0.5, INF], np.float32),
            "flag": [True, False],
            "maybe": pd.array([True, pd.NA], "boolean"),
            "count": pd.array([pd.NA, 3], "Int64"),
            "text": ["a", None],
            "time": pd.to_datetime([NOON, None]),
            "zoned": pd.to_datetime([NOON, NOON]).tz_localize("UTC"),
            "kind": pd.Categorical(["x", "y"]),
            "id": [UUID, None],
            "mixed": [np.int64(1), {"a": NAN}],
        },
        index=[10, 20],
    )
    found = rows.records(frame)
    assert same(
        found,
        [
            {
                "whole": 1,
                "number": 0.5,
                "single": 0.5,
                "flag": True,
                "maybe": True,
                "count": None,
                "text": "a",
                "time": NOON,
                "zoned": NOON,
                "kind": "x",
                "id": str(UUID),
                "mixed": 1,
            },
            {
                "whole": 2,
                "number": None,
                "single": None,
                "flag": False,
                "maybe": None,
                "count": 3,
                "text": None,
                "time": None,
                "zoned": NOON,
                "kind": "y",
                "id": None,
                "mixed": {"a": None},
            },
        ],
    )


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": [], "b": []})])
def test_an_empty_frame_has_no_rows(frame):
    assert rows.records(frame) == []


def test_records_are_those_of_each_cell_cleaned():
    random = np.random.default_rng(0)
    values = random.normal(size=(50, 4))
    values[random.random(values.shape) < 0.3] = NAN
    frame = pd.DataFrame(values, columns=list("abcd")).assign(n=range(50))
    expected = [
        {name: rows.clean(value) for name, value in row.items()} for row in frame.to_dict("records")
    ]
    assert same(rows.records(frame), expected)


def test_a_lookup_is_written_as_a_table():
    assert rows.lookup("name, size", ("a", 1), ("b", None)) == [
        {"name": "a", "size": 1},
        {"name": "b", "size": None},
    ]
    with pytest.raises(ValueError, match="zip"):
        rows.lookup("name, size", ("a",))


# --- inserts ------------------------------------------------------------------------------------


class Table:
    """Takes rows as a table of DataJoint does; its columns have the types of either server."""

    def __init__(self, **types):
        attributes = {
            name: SimpleNamespace(original_type=None, type=kind) for name, kind in types.items()
        }
        self.heading = SimpleNamespace(attributes=attributes)
        self.chunks, self.options = [], []

    def insert(self, chunk, **options):
        self.chunks.append(chunk)
        self.options.append(options)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int32", 2.0, 2),
        ("integer", np.float64(-3), -3),
        ("bigint", 2.0**53, 2**53),
        ("smallint", NAN, None),
        ("int", True, 1),
        ("int64", 2**62 + 1, 2**62 + 1),
        ("bool", 1, True),
        ("boolean", 0.0, False),
        ("tinyint(1)", np.int8(1), True),
        ("bool", np.True_, True),
        ("bool", pd.NA, None),
        ("tinyint", 1, 1),
        ("float64", True, 1),
        ("double precision", False, 0),
        ("float64", 2.0, 2.0),
        ("float64", 0.1, 0.1),
        ("varchar(8)", True, True),
        ("varchar(8)", "2.5", "2.5"),
    ],
)
def test_a_value_is_cast_to_what_its_column_takes(kind, value, expected):
    table = Table(a=kind)
    rows.insert1(table, {"a": value})
    assert same(table.chunks, [[{"a": expected}]])


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("int32", 2.5, "a must be a whole number, not 2.5."),
        ("bigint", 1e-9, "a must be a whole number, not 1e-09."),
        ("bool", 2, "a must be true or false, not 2."),
        ("boolean", 0.5, "a must be true or false, not 0.5."),
        ("tinyint(1)", "no", "a must be true or false, not 'no'."),
    ],
)
def test_what_a_column_cannot_take_is_refused_before_anything_is_inserted(kind, value, message):
    table = Table(a=kind)
    with pytest.raises(InconsistentData) as error:
        rows.insert(table, [{"a": 1}, {"a": None}, {"a": value}])
    assert str(error.value) == message
    assert table.chunks == []


def test_a_shared_key_joins_every_row_and_is_cleaned():
    table = Table(eid="char(36)", n="int32")
    rows.insert(table, pd.DataFrame({"n": [1.0, NAN]}), {"eid": UUID}, skip_duplicates=True)
    assert table.chunks == [[{"eid": str(UUID), "n": 1}, {"eid": str(UUID), "n": None}]]
    assert table.options == [{"skip_duplicates": True}]


def test_the_rows_of_the_caller_stay_as_they_were():
    mine = {"a": 2.0, "b": [NAN]}
    rows.insert(Table(a="int32", b="json"), [mine], {"c": 1})
    assert mine["a"] == 2.0
    assert type(mine["a"]) is float
    assert np.isnan(mine["b"][0])


@pytest.mark.parametrize("nothing", [[], iter(()), pd.DataFrame({"a": []})])
def test_nothing_to_insert_is_not_inserted(nothing):
    table = Table(a="int32")
    rows.insert(table, nothing, {"b": 1})
    assert table.chunks == []


def test_rows_are_inserted_in_chunks_in_their_order(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", 1_000)
    table = Table(a="int32", b="varchar(20)")
    rows.insert(table, ({"a": i, "b": "x" * 17} for i in range(100, 500)))
    assert [row["a"] for chunk in table.chunks for row in chunk] == list(range(100, 500))
    assert {len(chunk) for chunk in table.chunks} == {50}  # rows of 20 bytes


def test_a_row_longer_than_a_chunk_is_a_chunk(monkeypatch):
    monkeypatch.setattr(rows, "CHUNK_BYTES", 10)
    table = Table(a="varchar(100)")
    rows.insert(table, [{"a": "x" * 100}] * 3)
    assert [len(chunk) for chunk in table.chunks] == [1, 1, 1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-05-06", date(2024, 5, 6)),
        ("2024-05-06T12:30:15", date(2024, 5, 6)),
        (NOON, date(2024, 5, 6)),
        (pd.Timestamp(NOON), date(2024, 5, 6)),
        (date(2024, 5, 6), date(2024, 5, 6)),
    ],
)
def test_dates(value, expected):
    assert same(rows.as_date(value), expected)
