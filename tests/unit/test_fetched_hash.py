"""What was fetched twice is compared by hashes: equal where equal, another where it changed."""

import copy
import datetime
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.database.fetched_hash import FetchedHash


@dataclass
class Record:
    name: str
    size: int


class Plain:
    def __init__(self, name):
        self.name = name


def digest(value):
    return FetchedHash(value, ignore_iterable_order=False)[value]


frame = pd.DataFrame({"a": [1, 2], "b": ["x", None], "c": [1.5, np.nan], "d": [True, False]})
DIFFERENT = [
    None,
    0,
    1,
    True,
    1.0,
    np.float32(1),
    np.nan,
    "1",
    b"1",
    "\ud800",
    Decimal(1),
    datetime.date(2020, 1, 1),
    datetime.datetime(2020, 1, 1),
    [],
    (1,),
    [1, 2],
    [2, 1],
    [[1], 2],
    [[1, 2]],
    {},
    {"a": 1},
    {"b": 1},
    {"a": 1, "b": 2},
    {"a": [1, {"b": np.arange(3)}]},
    {"a": [1, {"b": np.arange(1, 4)}]},
    np.arange(4),
    np.arange(4.0),
    np.arange(4, dtype=np.int32),
    np.arange(4).reshape(2, 2),
    np.array([0, 1, 2, np.nan]),
    np.array(["a", None], dtype=object),
    np.array(["a", "b"], dtype=object),
    np.array(["a", "b"]),
    frame,
    frame.rename(columns={"a": "e"}),
    frame.assign(a=[1, 3]),
    frame.assign(a=[1.0, 2.0]),
    frame.assign(b=["x", "y"]),
    frame.assign(c=[1.5, 1.5]),
    frame.assign(d=[True, True]),
    frame.iloc[::-1],
    frame.iloc[:1],
    frame[["a"]],
    frame.a.astype("Int64"),
    Record("a", 1),
    Record("a", 2),
    Record("b", 1),
    Plain("a"),
    Plain("b"),
    np.array(["2020-01-01"], dtype="datetime64[D]"),
    pd.Series(["2020-01-01"], dtype="datetime64[us]"),
    pd.Series(["a", "b"], dtype="category"),
]


@pytest.mark.parametrize("value", DIFFERENT, ids=lambda value: type(value).__name__)
def test_a_copy_has_the_same_hash(value):
    assert digest(copy.deepcopy(value)) == digest(value)


def test_no_two_of_these_have_the_same_hash():
    assert len({digest(value) for value in DIFFERENT}) == len(DIFFERENT)


def test_a_view_is_what_it_shows():
    every = np.arange(10.0)
    assert digest(every[::2]) == digest(every[::2].copy())


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(PLAIN, PLAIN)
def test_whatever_differs_has_another_hash(one, other):
    assert (digest(one) == digest(other)) == (
        repr(one) == repr(other) or _as_list(one) == _as_list(other)
    )


def _as_list(value):
    """Sequences are compared by their items, whatever their type."""
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(_as_list, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key!r}:{_as_list(item)}" for key, item in value.items()) + "}"
    return repr(value)
