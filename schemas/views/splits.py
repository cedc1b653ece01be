"""Splits of a release into parts that share no mouse, laboratory or session."""

from __future__ import annotations

import math
from collections.abc import Mapping

import datajoint as dj
import pandas as pd

from schemas import probe, release, rows, session, subject
from schemas.errors import QueryError
from schemas.maths.splits import assign_groups
from schemas.views.session import require

HALVES = {"exploration": 0.5, "confirmation": 0.5}
"""Parts of a split by default, with their shares of the insertions."""

GROUP_COLUMN = {"subject": "subject", "lab": "lab", "session": "eid"}
"""Column that names the group of an insertion, by the name of a row of `release.SplitGroup`."""


def split(
    release_name: str,
    by: str = "subject",
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Split the insertions of a release into parts that share no mouse.

    The parts come as near to their shares of the insertions as a greedy assignment does: see
    `maths.splits.assign_groups`. The same names, shares and seed give the same split on any
    database. Nothing is stored: `bwm split` does that.

    Parameters
    ----------
    release_name : str
        A row of `release.Release`.
    by : str
        What no two parts share: a row of `release.SplitGroup`: `subject`, `lab` or `session`.
    fractions : mapping of str to float, optional
        Share of the insertions of each part, by its name; they sum to 1. Default halves for
        exploration and confirmation.
    seed : int
        Sorts groups of equal size.

    Returns
    -------
    pandas.DataFrame
        One row per insertion of the release, ordered by key: `eid`, `probe_name`, `pid`, `subject`,
        `lab`, `part`.

    Raises
    ------
    QueryError
        No such release or group; the shares are not positive numbers that sum to 1; a mouse has no
        laboratory where the split is by laboratory; or a part would be empty.

    Examples
    --------
    >>> parts = {"train": 0.6, "validation": 0.2, "test": 0.2}
    >>> table = views.split("2022_10_bwm_release", fractions=parts)  # doctest: +SKIP
    """
    shares = _checked_shares(HALVES if fractions is None else fractions)
    table = _fetch_members(release_name, by)
    group = table[GROUP_COLUMN[by]]
    sizes = group.value_counts()
    part = assign_groups(sizes.index.tolist(), sizes.tolist(), shares, seed)
    table["part"] = group.map(dict(zip(sizes.index, part, strict=True)))
    table["part"] = table.part.map(dict(enumerate(shares)))
    if empty := [name for name in shares if name not in set(table.part)]:
        what = f"part {empty[0]!r} would be empty: there are {len(sizes)} groups by {by}."
        raise QueryError(what, release_name, "Give it a larger share, or split by smaller groups.")
    return table[["eid", "probe_name", "pid", "subject", "lab", "part"]]


def _fetch_members(release_name: str, by: str) -> pd.DataFrame:
    """Fetch the insertions of a release with pid, mouse and laboratory."""
    require(release.Release, "release_name", release_name)
    require(release.SplitGroup, "split_by", by)
    members = release.Release.Insertion & {"release_name": release_name}
    mice = session.Session.proj("subject") * subject.Subject.proj("lab")
    table = rows.frame(members.proj() * probe.ProbeInsertion.proj("pid") * mice)
    lacking = table[table[GROUP_COLUMN[by]].isna()]
    if len(lacking):
        mouse = lacking.subject.iloc[0]
        what = f"{len(lacking)} insertions of the release have no {by}, e.g. of {mouse}."
        raise QueryError(what, release_name, "Split by subject or by session.")
    return table


def split_part(split_name: str, part: str) -> dj.expression.QueryExpression:
    """Return the insertions of a part of a stored split, to restrict other views by.

    Parameters
    ----------
    split_name : str
        A row of `release.Split`: see `bwm split`.
    part : str
        One of its parts, e.g. `exploration`.

    Returns
    -------
    expression
        Keys of `probe.ProbeInsertion`.

    Raises
    ------
    QueryError
        No such split or part; the error lists those that exist.

    Examples
    --------
    >>> views.units("TH") & views.split_part("halves", "exploration")  # doctest: +SKIP
    """
    require(release.Split, "split_name", split_name)
    parts = release.Split.Part & {"split_name": split_name}
    require(parts, "split_part", part)
    chosen = release.Split.Insertion & {"split_name": split_name, "split_part": part}
    return (probe.ProbeInsertion & chosen.proj()).proj()


def _checked_shares(fractions: Mapping[str, float]) -> dict[str, float]:
    """Return the shares as numbers, or say which is none."""
    try:
        shares = {str(name): float(share) for name, share in fractions.items()}
    except (TypeError, ValueError):
        shares = {}
    total = sum(shares.values())
    is_right = all(share > 0 for share in shares.values()) and math.isclose(total, 1, abs_tol=1e-6)
    if not is_right or not all(shares):
        what = f"the parts are {dict(fractions)}."
        raise QueryError(what, None, "Give each part a name and a share above 0, which sum to 1.")
    return shares
