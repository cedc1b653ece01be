"""What goes in through `rows.insert` comes out of `rows.frame` the same from both servers."""

import datetime
import itertools
import os
from decimal import Decimal

import datajoint as dj
import numpy as np
import pandas as pd
import pytest

from schemas import rows
from schemas.database import upstream
from schemas.errors import InconsistentData

NAN, INF = float("nan"), float("inf")
NOON = datetime.datetime(2024, 5, 6, 12, 30, 15, 123456)
number = itertools.count()

DEFINITION = """
# one row per kind of value
name         : varchar(64)       # exact, case included
---
tiny = null  : int8              # whole number
short = null : int16             # whole number
whole = null : int32             # whole number
large = null  : int64             # whole number
level = null  : float64           # number
flag = null  : bool              # true or false
day = null   : date              # day
time = null  : datetime(6)       # time to the microsecond
code = null  : char(3)           # exactly three letters
text = null  : varchar(255)      # any text
kind = null  : enum('x', 'y')    # one of two
money = null : decimal(8, 3)     # number with three places
more = null  : json              # anything, not in frames
"""
WHOLE = ("tiny", "short", "whole", "large")
WORDS = ("name", "code", "text", "kind")
TEXT = pd.Series(["text"]).dtype
FILLED = {
    "name": TEXT,
    **dict.fromkeys(WHOLE, "int64"),
    "level": "float64",
    "flag": "bool",
    "day": "object",
    "time": "datetime64[us]",
    **dict.fromkeys(("code", "text", "kind"), TEXT),
    "money": "float64",
}
WITH_NULLS = FILLED | dict.fromkeys(WHOLE, "Int64") | {"flag": "boolean"}
FULL = {
    "name": "full",
    "tiny": -128,
    "short": 32_767,
    "whole": 2**31 - 1,
    "large": 2**62 + 1,
    "level": 0.1,
    "flag": True,
    "day": NOON.date(),
    "time": NOON,
    "code": "abc",
    "text": "text",
    "kind": "x",
    "money": 12345.678,
    "more": {"a": [1, None, "é"], "b": 0.1},
}


@pytest.fixture
def schema(backend):
    upstream.apply()
    with dj.config.override(database__backend=backend.name, database__port=backend.port):
        connection = dj.Connection(
            backend.host, backend.user, backend.password, port=backend.port, use_tls=False
        )
    name = f"bwm_rows_{os.getpid()}_{next(number)}"
    if backend.name == "mysql":
        connection.query(f"CREATE DATABASE `{name}` COLLATE utf8mb4_bin")
    schema = dj.Schema(name, connection=connection)
    yield schema
    schema.drop(prompt=False)
    connection.close()


@pytest.fixture
def table(schema):
    @schema
    class Value(dj.Manual):
        definition = DEFINITION

    return Value


def fetched(table, column):
    """Values of a column by name, missing ones as None."""
    frame = rows.frame(table()).astype(object)
    return {
        name: None if pd.isna(value) else value
        for name, value in zip(frame["name"], frame[column], strict=True)
    }


def types(frame):
    return {name: str(kind) for name, kind in frame.dtypes.items()}


def expected_types(kinds):
    return {name: str(kind) for name, kind in kinds.items()}


def test_a_full_row_comes_back_as_it_went_in(table):
    rows.insert1(table, FULL)
    found = rows.frame(table())
    assert types(found) == expected_types(FILLED)  # json is left out
    row = found.iloc[0].to_dict()
    assert row == {name: value for name, value in FULL.items() if name != "more"}
    assert (table & {"name": "full"}).fetch1("more") == FULL["more"]


def test_a_row_of_nothing_comes_back_as_nothing(table):
    rows.insert1(table, {"name": "null", **dict.fromkeys(list(FULL)[1:])})
    found = rows.frame(table())
    assert found.drop(columns="name").isna().all(axis=None)
    assert types(found) == expected_types(WITH_NULLS)
    assert table.fetch1("more") is None
    rows.insert1(table, FULL)
    assert types(rows.frame(table())) == expected_types(WITH_NULLS)


def test_a_table_without_rows_gives_every_column_in_its_type(table):
    found = rows.frame(table())
    assert len(found) == 0
    assert types(found) == expected_types(FILLED)
    assert found.merge(pd.DataFrame({"name": ["a"], "n": [1]}), how="left").empty


def test_no_row_of_a_restriction_or_a_join_gives_the_same_columns(table):
    rows.insert1(table, FULL)
    nothing = rows.frame((table & "large < 0").proj("large", "time") * table.proj(other="level"))
    assert types(nothing) == expected_types(
        {"name": TEXT, "large": "int64", "time": "datetime64[us]", "other": "float64"}
    )


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("level", {"nan": NAN, "inf": INF, "minus": -INF, "numpy": np.float64("nan")}),
        ("level", {"single": np.float32("nan"), "na": pd.NA}),
        ("whole", {"nan": NAN, "na": pd.NA, "numpy": np.float32("inf")}),
        ("flag", {"nan": NAN, "na": pd.NA}),
        ("time", {"nat": pd.NaT, "numpy": np.datetime64("NaT"), "nan": NAN}),
        ("text", {"nan": NAN, "na": pd.NA}),
        ("money", {"nan": NAN, "inf": INF}),
    ],
)
def test_what_is_not_a_value_is_null(table, column, values):
    rows.insert(table, [{"name": name, column: value} for name, value in values.items()])
    assert len(table & f"{column} IS NULL") == len(values)
    assert fetched(table, column) == dict.fromkeys(values)


def test_a_number_that_is_not_one_spoils_no_mean(table):
    rows.insert(table, pd.DataFrame({"name": list("abc"), "level": [1.0, NAN, 3.0]}))
    assert rows.frame(dj.U().aggr(table, mean="avg(level)"))["mean"].tolist() == [2.0]
    assert len(table & "level > 2") == 1


EXTREMES = [0.1, 1 / 3, -1e-300, 1.7976931348623157e308, 5e-324, 2.0**53 + 2, 1e22, 123456.789e3]


def test_floats_are_exact(table):
    rows.insert(table, [{"name": f"{i:02}", "level": v} for i, v in enumerate(EXTREMES)])
    assert rows.frame(table()).level.tolist() == EXTREMES


@pytest.mark.parametrize(
    ("column", "given", "stored"),
    [
        ("whole", [2.0, np.float64(-3), np.int8(4), True, np.uint16(5)], [2, -3, 4, 1, 5]),
        ("large", [2.0**60, np.int64(-(2**63))], [2**60, -(2**63)]),
        ("flag", [1, 0, 1.0, np.True_, False], [True, False, True, True, False]),
        ("level", [1, True, np.float32(0.5), np.int64(7)], [1.0, 1.0, 0.5, 7.0]),
        ("day", [NOON.date(), "2024-05-07", np.datetime64("2024-05-08")], [6, 7, 8]),
        (
            "time",
            [NOON, pd.Timestamp(NOON), np.datetime64(NOON), np.datetime64(NOON, "ns")],
            4 * [NOON],
        ),
        (
            "time",
            [NOON.replace(tzinfo=datetime.timezone.utc), pd.Timestamp(NOON, tz="UTC")],
            2 * [NOON],
        ),
        (
            "time",
            [pd.Timestamp(NOON).tz_localize("Asia/Kolkata")],
            [NOON - datetime.timedelta(hours=5.5)],
        ),
        ("money", [1.5, 2, np.float32(0.125)], [1.5, 2.0, 0.125]),
    ],
)
def test_values_of_any_kind_become_what_the_column_holds(table, column, given, stored):
    names = [f"{i:02}" for i in range(len(given))]
    for name, value in zip(names, given, strict=True):
        rows.insert1(table, {"name": name, column: value})
    if column == "day":
        stored = [datetime.date(2024, 5, day) for day in stored]
    found = rows.frame(table())
    assert found[column].tolist() == stored
    assert str(found[column].dtype) == str(FILLED[column])


STRINGS = [
    "",
    "it's",
    'say "it"',
    "back\\slash",
    "",
    "\\.",
    "\\N",
    "NULL",
    "a,b\r\n\t",
    "100 %",
    "%s %(name)s %%",
    "{} {name}",
    "a\nb\tc",
    "`x`; DROP TABLE value; --",
    "NULL",
    "NaN",
    "Zürich, µm ≤ 日本",
    "🐭",
    "e\u0301",
    "\u00e9",
    "x" * 255,
]


def test_text_is_exact(table):
    rows.insert(table, [{"name": f"{i:02}", "text": text} for i, text in enumerate(STRINGS)])
    assert rows.frame(table()).text.tolist() == STRINGS


@pytest.mark.parametrize("text", [text for text in STRINGS if "\\" not in text])
def test_text_is_found_by_its_value(table, text):
    # DataJoint doubles backslashes in restrictions, which on PostgreSQL finds another text.
    rows.insert(
        table, [{"name": "this", "text": text}, {"name": "other", "text": f"{text}."[-255:]}]
    )
    assert rows.frame(table & {"text": text})["name"].tolist() == ["this"]


def test_keys_that_differ_by_case_or_accent_are_different(table):
    names = ["CM", "Cm", "cm", "e", "é", "E", "e\u0301"]
    rows.insert(table, [{"name": name, "whole": i} for i, name in enumerate(names)])
    assert fetched(table, "whole") == {name: i for i, name in enumerate(names)}
    for i, name in enumerate(names):
        assert rows.frame(table & {"name": name}).whole.tolist() == [i]
    joined = rows.frame(table.proj("whole") * table.proj(again="whole"))
    assert (joined.whole == joined.again).all()
    assert len(joined) == len(names)


def test_json_is_cleaned_inside(table):
    rows.insert1(table, {"name": "a", "more": {"n": [np.int16(1), NAN, np.True_], "t": ("é", "'")}})
    assert table.fetch1("more") == {"n": [1, None, True], "t": ["é", "'"]}


def test_a_column_that_cannot_take_a_value_refuses_all_rows(table):
    with pytest.raises(InconsistentData, match=r"whole must be a whole number, not 2\.5"):
        rows.insert(table, [{"name": "a", "whole": 1}, {"name": "b", "whole": 2.5}])
    with pytest.raises(InconsistentData, match="flag must be true or false, not 2"):
        rows.insert(table, [{"name": "a", "flag": True}, {"name": "b", "flag": 2}])
    assert len(table()) == 0


def test_many_rows_go_in_chunks_and_come_out_in_the_order_of_their_key(table, monkeypatch):
    n = 50_000
    random = np.random.default_rng(0)
    level = random.normal(size=n)
    level[::7] = NAN
    frame = pd.DataFrame(
        {
            "name": [f"{i:05}" for i in range(n)],
            "whole": random.integers(-(2**31), 2**31, n),
            "level": level,
            "flag": level > 0,
            "text": np.where(np.arange(n) % 3, "it's 100 %", None),
        }
    )
    statements = []
    query = dj.Connection.query

    def watched(self, sql, *arguments, **options):
        statements.append(sql)
        return query(self, sql, *arguments, **options)

    monkeypatch.setattr(dj.Connection, "query", watched)
    monkeypatch.setattr(rows, "CHUNK_BYTES", 400_000)
    rows.insert(table, frame.sample(frac=1, random_state=1))
    inserts = [sql for sql in statements if sql.startswith(("INSERT", "COPY"))]
    assert 2 <= len(inserts) <= 10
    found = rows.frame(table.proj("whole", "level", "flag", "text"))
    pd.testing.assert_frame_equal(found, frame.astype({"text": TEXT}), check_exact=True)


def test_a_statement_written_by_column_stores_what_datajoint_stores(table, monkeypatch):
    random = np.random.default_rng(1)
    texts = [
        "it's",
        'say "it"',
        "back\\slash",
        "100 %",
        "%s %%",
        "a\nb\0c".replace("\0", ""),
        "é",
        "🐭",
    ]
    level = np.concatenate([random.normal(size=60), 10.0 ** np.arange(-300, 300, 30), [-0.0, NAN]])
    level = np.concatenate([level, [0.1, 1 / 3, 2**53 + 1, 5e-324, 1.7976931348623157e308]])
    level = np.concatenate([level, random.normal(size=60)])
    n = len(level)
    frame = pd.DataFrame(
        {
            "name": [f"{i:03}" for i in range(n)],
            "tiny": random.integers(-128, 128, n),
            "large": random.integers(-(2**63), 2**63 - 1, n),
            "whole": np.where(np.arange(n) % 2, 3.0, NAN),
            "level": level,
            "flag": [(True, False, None)[i % 3] for i in range(n)],
            "day": [NOON.date() if i % 5 else None for i in range(n)],
            "time": [NOON + datetime.timedelta(i, microseconds=i) for i in range(n)],
            "text": [texts[i % len(texts)] if i % 7 else None for i in range(n)],
            "kind": [("x", "y", None)[i % 3] for i in range(n)],
            "money": [Decimal(f"{i}.125") if i % 4 else None for i in range(n)],
            "code": [(None, "a,b")[i % 2] for i in range(n)],
            "more": [{"a": [i, None, 'é"']} if i % 3 else None for i in range(n)],
        }
    )
    stored = []
    for by_column in (True, False):
        if not by_column:
            monkeypatch.setattr(rows.bulk, "takes", lambda *_: False)
        rows.insert(table, frame)
        stored.append(rows.frame(table).assign(more=table.to_arrays("more", order_by="name")))
        table.delete(prompt=False)
    assert len(stored[0]) == n
    assert np.array_equal(stored[0].level, frame.level, equal_nan=True)
    pd.testing.assert_frame_equal(*stored, check_exact=True)


def test_a_missing_value_of_many_takes_the_default_of_its_column(schema):
    @schema
    class Default(dj.Manual):
        definition = """
        # text with a default
        n : int32  # key
        ---
        text = "a" : varchar(8)  # any text
        """

    rows.insert(Default, ({"n": i, "text": (None, "", "b")[i % 3]} for i in range(300)))
    assert rows.frame(Default).text.tolist() == ["a", "", "b"] * 100


def test_a_copy_fails_as_an_insert_does_and_leaves_no_row(table):
    given = [{"name": f"{i:03}", "whole": i} for i in range(300)]
    rows.insert(table, given[:1])
    with pytest.raises(dj.errors.DuplicateError):
        rows.insert(table, given)
    with pytest.raises(Exception, match="text"):
        rows.insert(table, [{**row, "name": "a", "text": "x" * 256} for row in given])
    assert len(table()) == 1


def test_a_copy_is_part_of_the_transaction(table):
    table.connection.start_transaction()
    rows.insert(table, [{"name": f"{i:03}"} for i in range(300)])
    assert len(table()) == 300
    table.connection.cancel_transaction()
    assert len(table()) == 0


def test_rows_of_many_columns_and_the_set_size_of_a_chunk_fit_into_a_statement(schema):
    @schema
    class Wide(dj.Manual):
        definition = """
        # wide rows
        n : int32  # key
        ---
        text : varchar(10000)  # text
        """

    rows.insert(Wide, ({"n": i, "text": "'" * 10_000} for i in range(1_500)))
    assert len(Wide()) == 1_500


def test_a_frame_is_in_the_order_that_is_asked_for(table):
    values = [("b", 2, 0.5), ("a", 2, 0.25), ("c", 1, 1.0)]
    rows.insert(table, [{"name": n, "whole": w, "level": r} for n, w, r in values])
    for order, expected in [
        (None, "abc"),
        ("name", "abc"),
        ("level", "abc"),
        ("whole,level", "cab"),
        ("whole, name", "cab"),
    ]:
        assert "".join(rows.frame(table(), order_by=order)["name"]) == expected


@pytest.fixture
def parts(table):
    frame = pd.DataFrame(
        {
            "name": ["a", "b", "c", "d", "e", "null"],
            "kind": ["x", "y", "x", "y", "x", "x"],
            "short": pd.array([0, 1, 2, 3, 4, pd.NA], "Int64"),
            "large": pd.array([*range(2**55, 2**55 + 5), pd.NA], "Int64"),
            "level": [0, 0.25, 0.5, 0.75, 1.0, NAN],
            "time": [None] * 5 + [NOON],
        }
    )
    rows.insert(table, frame)
    return table


def test_aggregates_have_the_same_types_from_both_servers(parts):
    found = rows.frame(
        dj.U("kind").aggr(
            parts,
            n="count(*)",
            mean_short="avg(short)",
            sum_short="sum(short)",
            sum_large="sum(large)",
            max_large="max(large)",
            sum_level="sum(level)",
            mean_level="avg(level)",
            last="max(time)",
        )
    )
    assert types(found) == {
        "kind": str(TEXT),
        **dict.fromkeys(("n", "sum_short", "sum_large", "max_large"), "int64"),
        **dict.fromkeys(("mean_short", "sum_level", "mean_level"), "float64"),
        "last": "datetime64[us]",
    }
    x, y = found.set_index("kind").T.to_dict().values()
    assert (x["n"], x["mean_short"], x["sum_short"], x["max_large"]) == (4, 2.0, 6, 2**55 + 4)
    assert x["sum_large"] == 3 * 2**55 + 6
    assert (x["sum_level"], x["mean_level"], x["last"]) == (1.5, 0.5, NOON)
    assert (y["n"], y["mean_short"], y["sum_short"]) == (2, 2.0, 4)
    assert pd.isna(y["last"])


def test_aggregates_of_nothing_are_missing(parts):
    found = rows.frame(dj.U("name").aggr(parts, mean="avg(short)", top="max(short)"))
    assert len(found) == 6
    assert found["mean"].isna().sum() == found["top"].isna().sum() == 1
    assert (found["mean"].dtype, str(found["top"].dtype)) == (float, "Int64")
    everything = rows.frame(dj.U().aggr(parts & "short < 0", n="count(*)", mean="avg(short)"))
    assert everything.n.tolist() == [0]
    assert pd.isna(everything["mean"][0])


def test_means_of_many_groups_are_numbers_although_the_first_are_missing(table):
    rows.insert(
        table,
        [{"name": f"{i:03}", "short": None if i < 200 else i} for i in range(210)],
    )
    found = rows.frame(dj.U("name").aggr(table, mean="avg(short)", total="sum(short)"))
    assert found["mean"].dtype == float
    assert found["mean"].dropna().tolist() == list(range(200, 210))
    assert str(found.total.dtype) == "Int64"


def test_computed_and_renamed_columns(parts):
    found = rows.frame((parts & "short IS NOT NULL").proj(double="2 * level", other="short"))
    assert types(found) == {"name": str(TEXT), "double": "float64", "other": "int64"}
    assert found.double.tolist() == [0, 0.5, 1.0, 1.5, 2.0]
