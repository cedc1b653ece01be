"""Every column of every imported kind, changed in eight ways."""

import datetime
import decimal
import re
from dataclasses import fields
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from schemas.errors import DamagedFile, InconsistentData
from schemas.sources import alf
from schemas.sources.alf.domains import DOMAINS, METRICS
from tests.support import domains
from tests.support.alf import write
from tests.support.released import FILES, VARIANTS, N, as_written, place

DOCUMENT = domains.DOCUMENT.read_text(encoding="utf-8")
MUTATIONS = {
    "negated": lambda v: ~v if v.dtype == bool else -v,
    "x 1000": lambda v: v * 1e3,
    "x 1e300": lambda v: v * 1e300,
    "infinite": lambda v: put(v, np.inf),
    "NaN": lambda v: put(v, np.nan),
    "shuffled": lambda v: v[np.random.default_rng(1).permutation(len(v))],
    "truncated": lambda v: v[:-1],
    "other dtype": lambda v: v.astype(str),
}
OF_TEXT = ("NaN", "shuffled", "truncated", "other dtype")
"""Mutations of a column of text, which has neither sign nor size."""

COLUMNS = [(kind, name) for kind, columns in DOMAINS.items() for name in columns]


def put(values, wrong):
    values = np.array(values, object if values.dtype.kind in "OU" else float)
    values[1] = wrong
    return values


def mutate(kind, name, mutation):
    """The file of a column with the column changed."""
    change, (path, column) = MUTATIONS[mutation], place(kind, name)
    content = VARIANTS.get((kind, name), FILES[kind])[path]
    if kind == "passive_periods":
        return {path: mutate_periods(content, name, change)}
    if isinstance(content, dict):
        old = np.asarray(content[column])
        is_text = old.dtype.kind in "OU" and mutation == "other dtype"
        new = np.arange(len(old)) if is_text else change(old)
        return {path: {k: v[: len(new)] for k, v in content.items()} | {column: new}}
    new = change(content if column is None else content[:, column])
    if column is not None:
        array = content[: len(new)].astype(new.dtype)
        array[:, column] = new
        return {path: array}
    return {path: new}


def mutate_periods(table, name, change):
    """The table of passive periods, which has one row of starts and one of stops."""
    row = ["start", "stop"].index(name)
    new = change(np.array([values[row] for values in list(table.values())[1:]]))
    if len(new) < len(table) - 1:
        return {key: values[: 1 + row] for key, values in table.items()}
    changed = {
        key: [*values[:row], value, *values[row + 1 :]]
        for (key, values), value in zip(list(table.items())[1:], new, strict=True)
    }
    return {"": ["start", "stop"]} | changed


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Read the files of a kind, some of them changed: the arrays by name."""
    folder = tmp_path_factory.mktemp("kinds")
    written = {kind: files_of(folder / kind, FILES[kind]) for kind in DOMAINS}

    def reading(kind, changed):
        return arrays(alf.KINDS[kind].reader(written[kind] | files_of(folder / "changed", changed)))

    return reading


@pytest.fixture(scope="module")
def released(read):
    """The arrays of every column as it was released."""
    whole = {kind: read(kind, {}) for kind in DOMAINS}
    return {
        column: read(column[0], VARIANTS[column]) if column in VARIANTS else whole[column[0]]
        for column in COLUMNS
    }


def files_of(folder, contents):
    return write(folder, {path: as_written(path, c) for path, c in contents.items()})


def arrays(result):
    """The arrays of what a reader returns, by name."""
    found = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if isinstance(value, pd.DataFrame):
            found |= {name: value[name].to_numpy() for name in value}
        elif field.name == "region" or isinstance(value, np.ndarray):
            found[field.name] = np.asarray(value)
    return found


def is_same(found, expected):
    """Whether two results are equal but for values that are null."""
    if found.keys() != expected.keys():
        return False
    for name, values in found.items():
        null = pd.isna(values)
        same = len(values) == len(expected[name]) if values.ndim else True
        if not same or not np.array_equal(values[~null], expected[name][~null]):
            return False
    return True


def listed():
    """Accepted mutations of the document: of each, the patterns of the columns."""
    table = DOCUMENT.partition("<!-- accepted: begin -->")[2].partition("<!-- accepted: end")[0]
    for line in table.strip().splitlines()[2:]:
        _, mutations, columns, reason, _ = line.split("|")
        assert reason.strip()
        for pattern in re.findall("`([^`]+)`", columns):
            yield mutations.strip(), pattern


OF_INSERTIONS = "insertions."
LISTED = [one for one in listed() if not one[1].startswith(OF_INSERTIONS)]
LISTED_INSERTIONS = [one for one in listed() if one[1].startswith(OF_INSERTIONS)]
"""What `test_domains_of_insertions` holds."""


def is_listed(mutation, kind, name):
    """Whether the document says that a mutation is accepted."""
    column, ordered = f"{kind}.{name}", DOMAINS[kind][name].order
    return any(
        mutation == listed and fnmatchcase(column, pattern) and not (pattern == "*" and ordered)
        for listed, pattern in LISTED
    )


def is_accepted(read, released, kind, name, mutation):
    """Whether changed values get in. What is read as it was, or as null, does not."""
    try:
        found = read(kind, mutate(kind, name, mutation))
    except (InconsistentData, DamagedFile) as error:
        return Path(place(kind, name)[0]).name.split(".")[0] not in str(error)
    return not is_same(found, released[kind, name])


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("kind", DOMAINS)
def test_a_changed_column_is_read_refused_or_listed_with_a_reason(read, released, kind, mutation):
    accepted = {
        name
        for name, domain in DOMAINS[kind].items()
        if (mutation in OF_TEXT or not domain.pattern)
        and is_accepted(read, released, kind, name, mutation)
    }
    assert accepted <= {name for name in DOMAINS[kind] if is_listed(mutation, kind, name)}


def test_what_is_listed_as_accepted_is_accepted(read, released):
    for mutation, pattern in LISTED:
        columns = [(k, n) for k, n in COLUMNS if fnmatchcase(f"{k}.{n}", pattern)]
        found = pattern == "*" or all(is_accepted(read, released, *c, mutation) for c in columns)
        assert columns, f"{pattern} is no column"
        assert found, f"{mutation}: {pattern} is refused"


NUMERIC = (">f8", ">f4", "<f2", "longdouble", "int64", ">i4", "Float32", "Float64", "Int64")
OTHER = {
    "text": lambda n: ["False"] * n,
    "bytes": lambda n: [b"1"] * n,
    "vectors": lambda n: [np.ones(2)] * n,
    "dates": lambda n: [datetime.date(2021, 1, 14)] * n,
    "durations": lambda n: np.ones(n, "timedelta64[s]"),
    "decimals": lambda n: [decimal.Decimal("0.5")] * n,
    "categories": lambda n: pd.Categorical(["1", "0"] * (n // 2)),
    "nothing but one text": lambda n: [None] * (n - 1) + ["True"],
    "maps": lambda n: [{"a": 1}] * n,
}
"""Values that are no numbers."""

FROM_ARRAYS = [kind for kind in DOMAINS if not kind.startswith("passive")]
IN_TABLES = [
    (kind, name, *place(kind, name))
    for kind, name in COLUMNS
    if not DOMAINS[kind][name].pattern and place(kind, name)[0].endswith(".pqt")
]


def retyped(kind, dtype, change):
    """The files of a kind, all numbers changed; floats become whole for a type of integers."""

    def of_column(values, is_table):
        values = np.asarray(values)
        if values.dtype.kind not in "iuf":
            return values
        if "i" in dtype.lower():
            values = np.abs(np.nan_to_num(values, nan=1)).round()
        return change(values.astype(float), is_table)

    return {
        path: {name: of_column(values, True) for name, values in content.items()}
        if isinstance(content, dict)
        else of_column(content, False)
        for path, content in FILES[kind].items()
        if not path.endswith((".bin", ".csv"))
    }


@pytest.mark.parametrize("kind", FROM_ARRAYS)
@pytest.mark.parametrize("dtype", NUMERIC)
def test_numbers_of_any_type_are_read(read, kind, dtype):
    def change(values, is_table):
        if is_table or dtype[0] in "FI":
            # Parquet has one byte order, and no type of arrays is nullable.
            return pd.array(values, dtype) if is_table and dtype[0] in "FI" else values
        return values.astype(dtype)

    def widen(values, is_table):
        return np.asarray(
            pd.Series(change(values, is_table)) if is_table else change(values, False)
        ).astype(float)

    def outcome(files):
        try:
            return [
                [name, np.nan_to_num(v.astype(float), nan=-7).tolist()]
                for name, v in read(kind, files).items()
                if v.dtype != object
            ]
        except InconsistentData as error:
            return re.sub(r"is .*", "", str(error))

    assert outcome(retyped(kind, dtype, change)) == outcome(retyped(kind, dtype, widen))


@pytest.mark.parametrize(("kind", "name", "path", "column"), IN_TABLES)
def test_what_is_no_number_is_refused_by_the_name_of_the_column(read, kind, name, path, column):
    content = FILES[kind][path]
    first = IN_TABLES.index((kind, name, path, column)) % len(OTHER)
    for make in [*OTHER.values()][first : first + 2]:
        with pytest.raises(InconsistentData, match=rf"\.pqt: {column} is not numeric"):
            read(kind, {path: content | {column: make(N)}})


@pytest.mark.parametrize("kind", FROM_ARRAYS)
@pytest.mark.parametrize(
    "dtype", ["U5", "S1", "datetime64[D]", "complex", "bool", "O", [("a", "f8")]]
)
def test_an_array_of_no_numbers_is_refused_by_the_name_of_its_file(read, kind, dtype):
    for path, content in FILES[kind].items():
        if path.endswith(".npy") and "included" not in path:
            with pytest.raises((InconsistentData, DamagedFile), match=re.escape(Path(path).name)):
                read(kind, {path: np.zeros(content.shape, dtype)})


def test_text_of_lists_is_refused_by_the_name_of_the_column(read):
    path, column = place("clusters", "ks2_label")
    content = FILES["clusters"][path]
    with pytest.raises(InconsistentData, match=f"{column} in row 0"):
        read("clusters", {path: content | {column: [["good", "mua"]] * len(content[column])}})


def test_every_column_that_is_read_has_a_domain():
    assert set(DOMAINS) == {kind.name for kind in alf.KINDS.values() if kind.reader}
    assert list(DOMAINS["trials"]) == list(alf.TRIAL_COLUMNS)
    assert set(METRICS) == set(alf.METRIC_COLUMNS)


def test_the_document_shows_the_domains():
    shown = DOCUMENT.partition(domains.BEGIN)[2].partition(domains.END)[0]
    assert shown.strip() == "\n".join(domains.rows()), "run `make domains`"
