"""What a page is: fields of its address, a template, and panels that are drawn in the browser."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import pandas as pd

from schemas import ephys, release
from viewer import parameters
from viewer.parameters import Field, Values

RELEASE = Field("release", parameters.row_of(release.Release, "release_name"), None, "release")
CRITERION = Field(
    "criterion", parameters.row_of(ephys.UnitCriterion, "criterion"), "ibl_2022", "good unit"
)
SORTING = Field("sorting", parameters.row_of(ephys.Sorting, "sorting_name"), None, "spike sorting")
LENS = (RELEASE, CRITERION, SORTING)
"""Fields that links carry from page to page."""

SPAN_CHARACTERS = "@,+"


@dataclass(frozen=True)
class Shown:
    """What a panel shows.

    Attributes
    ----------
    tables : mapping of str to DataFrame
        The first one, `data`, is what the panel offers for download where it has no exact data.
    layers : list of dict
        How tables and images are drawn, see `static/draw.js`.
    x, y : dict
        `label`, `min`, `max`, `log`, `down` (axis from top to bottom), `names` (of whole numbers).
    images : mapping of str to uint8 array
    note : str
        What is left out, in words.
    height : int
        Pixels.
    """

    tables: Mapping[str, pd.DataFrame]
    layers: Sequence[Mapping[str, Any]]
    x: Mapping[str, Any]
    y: Mapping[str, Any]
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    note: str = ""
    height: int = 320


@dataclass(frozen=True)
class Panel:
    """A figure with its table, data and query.

    Attributes
    ----------
    title, caption : str
        What it shows, with units; shown before the figure is there.
    show : callable
        Takes the values of the page; returns what is drawn.
    code : callable
        Takes the values; returns the Python that gives the same data.
    exact : callable, optional
        Takes the values; returns the data in full, where the figure shows them reduced.
    wide : bool
        Whether the figure takes the whole width of a large screen.
    """

    title: str
    caption: str
    show: Callable[[Values], Shown]
    code: Callable[[Values], str]
    exact: Callable[[Values], pd.DataFrame] | None = None
    wide: bool = False


@dataclass(frozen=True)
class Page:
    """A kind of page.

    Attributes
    ----------
    name : str
        Name, also of the template.
    path : str
        Path with its fields in braces, as Starlette takes it.
    fields : tuple of Field
        Fields of the query.
    keys : tuple of Field
        Fields of the path.
    build : callable
        Takes the values; returns what the template is given.
    panels : mapping of str to Panel
    tables : mapping of str to callable
        Further tables for download: each takes the values and returns a frame.
    check : callable, optional
        Takes the values; raises NotFound where nothing of these keys is in the database.
    lasts : float
        (s) Time for which an answer may be given again.
    """

    name: str
    path: str
    fields: tuple[Field, ...]
    keys: tuple[Field, ...]
    build: Callable[[Values], dict[str, Any]]
    panels: Mapping[str, Panel] = field(default_factory=dict)
    tables: Mapping[str, Callable[[Values], pd.DataFrame]] = field(default_factory=dict)
    check: Callable[[Values], Any] | None = None
    lasts: float = 60.0

    def url(self, values: Values, **changes: Any) -> str:
        """Return the address of the page with values, some of them changed; None is the default."""
        wanted = {**values, **changes}
        fixed = [part for part in self.path.split("/") if part and part[0] != "{"]
        path = "/" + "/".join(fixed)
        for key in self.keys:
            path += f"/{quote(parameters.write_value(wanted[key.name]), safe=SPAN_CHARACTERS)}"
        return address(path, parameters.write(wanted, self.fields))

    def data_url(self, values: Values, panel: str, ending: str) -> str:
        """Return the address of the data of a panel or table."""
        pairs = parameters.write(values, (*self.keys, *self.fields))
        return address(f"/data/{self.name}/{panel}.{ending}", pairs)


def address(path: str, pairs: list[tuple[str, str]]) -> str:
    """Write an address from a path and the pairs of its query."""
    sign = "&" if "?" in path else "?"
    return f"{path}{sign}{urlencode(pairs)}" if pairs else path


def call(function: str, *arguments: Any, **options: Any) -> str:
    """Write a call in Python; options that are None are left out."""
    given = [repr(value) for value in arguments]
    given += [f"{name}={value!r}" for name, value in options.items() if value is not None]
    return f"{function}({', '.join(given)})"
