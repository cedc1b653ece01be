"""Splits of releases, stored as rows."""

from __future__ import annotations

from collections.abc import Mapping

import datajoint as dj
import pandas as pd

from populate.registration.releases import COUNTS
from populate.registration.sessions import text_limits, text_problem
from schemas import release, rows, views
from schemas.errors import Contradiction, RegistrationError
from schemas.views.splits import HALVES


def store_split(
    name: str,
    release_name: str,
    by: str = "subject",
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Split a release, and store the split as rows of `release.Split` and its part tables.

    Parameters
    ----------
    name : str
        Name of the split.
    release_name, by, fractions, seed
        As in `views.split`.

    Returns
    -------
    DataFrame
        What `views.split` returns. A split that is stored already is left as it is.

    Raises
    ------
    QueryError
        As `views.split`.
    RegistrationError
        The name of the split or of a part cannot be stored.
    Contradiction
        Another split is stored under this name.
    """
    shares = dict(HALVES if fractions is None else fractions)
    table = views.split(release_name, by, shares, seed)
    row = {"split_name": name, "release_name": release_name, "split_by": by, "split_seed": seed}
    _check_texts(row, shares)
    key = {"split_name": name}
    members = table[["eid", "probe_name"]].assign(split_part=table.part)
    if stored := (release.Split & key).to_dicts():
        held = rows.frame(release.Split.Insertion & key)[list(members)]
        asked = rows.frame(release.Split.Part & key, columns=["split_part", "part_fraction"])
        is_same = stored == [row] and dict(asked.to_numpy()) == shares and held.equals(members)
        if not is_same:
            what = "another split is stored under this name."
            raise Contradiction(what, f"split {name}", "A split does not change: give a new name.")
        return table
    parts = [{"split_part": part, "part_fraction": share} for part, share in shares.items()]
    with dj.conn().transaction:
        rows.insert1(release.Split(), row)
        rows.insert(release.Split.Part(), parts, key)
        rows.insert(release.Split.Insertion(), members, key)
    return table


def count_parts(table: pd.DataFrame) -> pd.DataFrame:
    """Count what each part of a split holds, in the order of their names.

    Returns
    -------
    DataFrame
        One row a part: `part`, numbers of `insertions`, `sessions`, `mice` and `labs`.
    """
    return table.groupby("part").agg(**COUNTS).reset_index()


def _check_texts(row: Mapping[str, object], shares: Mapping[str, float]) -> None:
    limits = text_limits(release.Split, release.Split.Part)
    for texts in (row, *({"split_part": part} for part in shares)):
        if fault := text_problem(texts, limits):
            raise RegistrationError(fault, "split", "Give another name.")
    if not row["split_name"]:
        raise RegistrationError("it has no name.", "split", "Give one.")
