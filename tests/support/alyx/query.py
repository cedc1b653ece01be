"""Queries in the words of Django over records in memory: `field,value,field,value`.

`~` excludes. Conditions are judged as PostgreSQL judges what Django makes of them, with three
outcomes: a comparison with NULL is unknown, and so is one with a key that a JSON value lacks. A
record whose outcome is unknown is neither found by a condition nor by its negation, but Django
adds to a negation that the *column* be not NULL. So `~json__qc,CRITICAL` keeps a record without
any json, and drops one whose json has no `qc`.
"""

from __future__ import annotations

import ast
import datetime
import json
import operator
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
TEXT_LOOKUPS: dict[str, Callable[[str, str], bool]] = {
    "iexact": lambda stored, wanted: stored.upper() == wanted.upper(),
    "contains": lambda stored, wanted: wanted in stored,
    "icontains": lambda stored, wanted: wanted.upper() in stored.upper(),
    "startswith": lambda stored, wanted: stored.startswith(wanted),
    "istartswith": lambda stored, wanted: stored.upper().startswith(wanted.upper()),
    "endswith": lambda stored, wanted: stored.endswith(wanted),
}
LOOKUPS = {"exact", "in", "isnull", *COMPARISONS, *TEXT_LOOKUPS}


class BadQuery(Exception):
    """A query that Alyx answers with status 500; the text is its `detail`."""


class _Missing:
    """SQL's NULL, which is not the `null` of JSON."""

    def __repr__(self) -> str:
        return "NULL"


NULL = _Missing()


@dataclass(frozen=True)
class Model:
    """Fields of a kind of record.

    Attributes
    ----------
    fields : dict of str to str
        Type of each field: ``text``, ``number``, ``bool``, ``uuid``, ``date``, ``datetime``,
        ``json``; ``one:Model`` and ``many:Model`` lead to other records.
    key : str
        The primary key.
    """

    fields: dict[str, str]
    key: str = "id"


@dataclass(frozen=True)
class _Term:
    """Where a condition leads: relations, then a field, then keys within its JSON."""

    steps: tuple[str, ...]
    many: bool
    field: str | None
    kind: str
    keys: tuple[str, ...]
    by_day: bool
    lookup: str


def split(text: str) -> list[str]:
    """Split at the commas that are in no list, as Alyx does."""
    words, word, closing = [], "", ""
    for letter in text:
        if letter == "," and not closing:
            words.append(word)
            word = ""
            continue
        if letter in "[(":
            closing = {"[": "]", "(": ")"}[letter]
        elif letter == closing:
            closing = ""
        word += letter
    return [*words, word]


def parse(text: str) -> dict[str, Any]:
    """Terms and values; a term that is there twice has its last value, as in Alyx."""
    words = split(text)
    if len(words) % 2:
        raise BadQuery("list index out of range")
    return {term: _value(word) for term, word in zip(words[::2], words[1::2], strict=True)}


def _value(word: str) -> Any:
    if word == "None":
        return None
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    if word.replace(".", "", 1).isdigit():
        return float(word)
    if word.startswith(("(", "[")) and word.endswith((")", "]")):
        try:
            return ast.literal_eval(word)
        except (ValueError, SyntaxError) as error:
            raise BadQuery(str(error)) from None
    return word


def select(rows: Iterable[Row], models: dict[str, Model], model: str, text: str) -> list[Row]:
    """Rows that meet all conditions of a query.

    Raises
    ------
    BadQuery
        For what Alyx answers with status 500.
    """
    found = list(rows)
    for term, value in parse(text).items():
        found = select_term(found, models, model, term, value)
    return found


def select_term(
    rows: Iterable[Row], models: dict[str, Model], model: str, term: str, value: Any
) -> list[Row]:
    """Rows that meet one condition, or, where `~` precedes it, those that its negation finds."""
    negated = term.startswith("~")
    place = _resolve(models, model, term.removeprefix("~"))
    wanted = _prepare(place, value)
    test = _excluded if negated else _included
    return [row for row in rows if test(place, wanted, row)]


def _resolve(models: dict[str, Model], model: str, term: str) -> _Term:
    parts = term.split("__")
    steps: list[str] = []
    current, kind, many, field = models[model], "one:" + model, False, None
    while parts:
        name = current.key if parts[0] == "pk" else parts[0]
        found = current.fields.get(name)
        if found is None and name.endswith("_id") and name[:-3] in current.fields:
            name, found = name[:-3], current.fields[name[:-3]]
        if found is None:
            if steps and parts[0] in LOOKUPS:
                break
            choices = ", ".join(sorted(current.fields))
            raise BadQuery(
                f"Cannot resolve keyword '{parts[0]}' into field. Choices are: {choices}"
            )
        parts.pop(0)
        kind = found
        if ":" not in kind:
            field = name
            break
        steps.append(name)
        many = many or kind.startswith("many:")
        current = models[kind.partition(":")[2]]
    if field is None:
        field, kind = current.key, current.fields[current.key]
    return _ending(tuple(steps), many, field, kind, parts)


def _ending(steps: tuple[str, ...], many: bool, field: str, kind: str, parts: list[str]) -> _Term:
    """Interpret what follows the field."""
    lookup, keys, by_day = "exact", (), False
    if parts and parts[-1] in LOOKUPS:
        lookup = parts.pop()
    if kind == "json":
        keys = tuple(parts)
    elif parts:
        by_day = kind == "datetime" and parts == ["date"]
        if not by_day:
            raise BadQuery(
                f"Unsupported lookup '{parts[0]}' for {kind} or join on the field not permitted."
            )
    return _Term(steps, many, field, "date" if by_day else kind, keys, by_day, lookup)


def _prepare(place: _Term, value: Any) -> Any:
    """Bring a value to the type of the field."""
    if place.lookup == "isnull":
        if not isinstance(value, bool):
            raise BadQuery("The QuerySet value for an isnull lookup must be True or False.")
        return value
    if place.lookup == "in":
        if not isinstance(value, list | tuple | set):
            value = list(value) if isinstance(value, str) else [value]
        return [_typed(place, each) for each in value if each is not None]
    if place.lookup in TEXT_LOOKUPS:
        return str(value)
    return _typed(place, value)


def _typed(place: _Term, value: Any) -> Any:
    kind = place.kind
    if value is None or kind == "json":
        return value
    if kind == "number":
        try:
            return float(value)
        except (TypeError, ValueError):
            raise BadQuery(f"Field '{place.field}' expected a number but got {value!r}.") from None
    if kind == "uuid":
        try:
            return str(uuid.UUID(str(value)))
        except ValueError:
            raise BadQuery(f"['“{value}” is not a valid UUID.']") from None
    if kind in ("date", "datetime"):
        return parse_time(str(value), kind)
    if kind == "bool":
        if value in (True, False):
            return bool(value)
        raise BadQuery(f"['“{value}” value must be either True or False.']")
    return str(value)


def parse_time(text: str, kind: str = "date") -> str:
    """ISO text of a date or a time, so that texts compare as times do."""
    try:
        if kind == "date":
            return datetime.date.fromisoformat(text).isoformat()
        return datetime.datetime.fromisoformat(text).isoformat(timespec="microseconds")
    except ValueError:
        form = "YYYY-MM-DD" if kind == "date" else "YYYY-MM-DD HH:MM[:ss[.uuuuuu]][TZ]"
        raise BadQuery(
            f"['“{text}” value has an invalid date format. It must be in {form} format.']"
        ) from None


def _included(place: _Term, wanted: Any, row: Row) -> bool:
    return any(
        _judge(place, wanted, _inner(place, column)) is True for column in _columns(place, row)
    )


def _excluded(place: _Term, wanted: Any, row: Row) -> bool:
    if place.many:  # NOT EXISTS
        return not _included(place, wanted, row)
    (column,) = _columns(place, row)
    if column is NULL and place.lookup != "isnull" and wanted is not None:
        return True
    return _judge(place, wanted, _inner(place, column)) is False


def _columns(place: _Term, row: Row) -> Iterator[Any]:
    """Values of the field in all records that the relations lead to; NULL where they end."""
    reached: list[Row | None] = [row]
    for step in place.steps:
        further: list[Row | None] = []
        for each in reached:
            related = None if each is None else each[step]
            further += (related or [None]) if isinstance(related, list) else [related]
        reached = further
    for each in reached:
        value = None if each is None else each[place.field]
        yield NULL if value is None else value


def _inner(place: _Term, value: Any) -> Any:
    """Follow keys within JSON; NULL where one is missing."""
    for key in place.keys:
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return NULL
    return value


def _judge(place: _Term, wanted: Any, stored: Any) -> bool | None:
    """Outcome of a condition; None is unknown."""
    if place.lookup == "isnull":
        return (stored is NULL) == wanted
    if wanted is None and place.kind != "json":
        return stored is NULL
    if stored is NULL:
        return None
    if place.kind == "json":
        return _judge_json(place.lookup, wanted, stored)
    if place.kind == "datetime":
        stored = parse_time(stored, "datetime")
    elif place.by_day:
        stored = stored[:10]
    if place.lookup == "exact":
        return bool(stored == wanted)
    if place.lookup == "in":
        return stored in wanted
    if place.lookup in COMPARISONS:
        return COMPARISONS[place.lookup](stored, wanted)
    return TEXT_LOOKUPS[place.lookup](str(stored), wanted)


def _judge_json(lookup: str, wanted: Any, stored: Any) -> bool | None:
    if lookup == "exact":
        return _order(stored) == _order(wanted)
    if lookup == "in":
        return any(_order(stored) == _order(each) for each in wanted)
    if lookup in COMPARISONS:
        return COMPARISONS[lookup](_order(stored), _order(wanted))
    if stored is None:
        return None
    return TEXT_LOOKUPS[lookup](stored if isinstance(stored, str) else json.dumps(stored), wanted)


def _order(value: Any) -> tuple[Any, ...]:
    """Key by which PostgreSQL sorts jsonb: null, texts, numbers, booleans, arrays, objects."""
    if value is None:
        return (0,)
    if isinstance(value, str):
        return (1, value)
    if isinstance(value, bool):
        return (3, value)
    if isinstance(value, int | float):
        return (2, float(value))
    if isinstance(value, list | tuple):
        return (4, len(value), *(_order(each) for each in value))
    return (5, len(value), *((key, _order(value[key])) for key in sorted(value)))
