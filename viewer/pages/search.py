"""Search: one text for subjects, laboratories, regions, sessions, insertions and units."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

import datajoint as dj

from schemas import atlas, ephys, probe, rows, session, subject
from viewer import parameters
from viewer.pages import names
from viewer.parameters import Field, Values

QUERY = Field("q", parameters.words, None, "search")
REMEDY = "Give an acronym or name of the Allen atlas, a mouse, a laboratory, or an id."
MOST = 60
"""Most hits of a kind."""


@dataclass(frozen=True)
class Hit:
    """A thing that was found: its page, its name, and more about it."""

    path: str
    text: str
    more: str = ""


@dataclass(frozen=True)
class Found:
    """Hits by kind; `only` is the path to go to where the text names one thing exactly."""

    hits: dict[str, list[Hit]] = field(default_factory=dict)
    only: str | None = None
    remedy: str = REMEDY


def find(values: Values) -> Found:
    """Find what the text of a search names."""
    text = values["q"]
    if not text:
        return Found()
    if re.fullmatch(r"[0-9a-fA-F]{4}[0-9a-fA-F-]{0,32}", text):
        hits = {kind: found for kind, found in _by_id(text.lower()).items() if found}
        every = [hit for found in hits.values() for hit in found]
        if len(every) == 1:
            return Found(hits, every[0].path)
        if every:
            return Found(hits)
    exact = atlas.BrainRegion & {"region_acronym": text}
    if len(text) <= 16 and exact:
        return Found({}, _region_path(text))
    groups = {"Regions": _regions(text), "Mice": _mice(text), "Laboratories": _labs(text)}
    hits = {kind: found for kind, found in groups.items() if found}
    return Found(hits)


def _by_id(text: str) -> dict[str, list[Hit]]:
    """Find sessions, insertions and units whose id begins with a text."""
    is_whole = len(text) == 36
    # The text has only hexadecimal digits and hyphens, none of which LIKE takes for a wildcard.
    sessions = session.Session & f"eid LIKE '{text}%'"
    insertions = probe.ProbeInsertion & f"pid LIKE '{text}%'"
    columns = ("subject", "session_date", "session_number")
    shown = rows.frame(session.Session.proj(*columns) & sessions.proj())
    found = {
        "Sessions": [
            Hit(f"/session/{row['eid']}", row["eid"], names.title_of(row))
            for row in shown.head(MOST).to_dict("records")
        ],
        "Insertions": [
            Hit(f"/insertion/{row['pid']}", row["pid"], row["probe_name"])
            for row in rows.frame(insertions).head(MOST).to_dict("records")
        ],
    }
    if is_whole and not any(found.values()):
        units = (ephys.SpikeSorting.Cluster & {"cluster_uuid": text}).proj()
        if units:
            found["Units"] = [Hit(names.unit_path(text), text)]
    return found


def _regions(text: str) -> list[Hit]:
    wanted = text.lower()
    table = rows.frame(
        atlas.BrainRegion.proj("region_acronym", "region_name", "region_order"),
        order_by="region_order",
    )
    by_acronym = table.region_acronym.str.lower().str.startswith(wanted)
    is_hit = by_acronym | table.region_name.str.lower().str.contains(wanted, regex=False)
    return [
        Hit(_region_path(row.region_acronym), row.region_acronym, row.region_name)
        for row in table[is_hit].head(MOST).itertuples()
    ]


def _mice(text: str) -> list[Hit]:
    mice = rows.frame(subject.Subject.proj("lab"))
    chosen = mice[mice.subject.str.lower().str.contains(text.lower(), regex=False)]
    return list(_sessions_of([{"subject": name} for name in chosen.subject.head(MOST)]))


def _sessions_of(mice: list[dict[str, str]]) -> Iterator[Hit]:
    if not mice:
        return
    found = session.Session.proj("subject", "session_date", "session_number") & mice
    table = rows.frame(found, order_by="subject, session_date, session_number")
    for row in table.head(MOST).to_dict("records"):
        yield Hit(f"/session/{row['eid']}", names.title_of(row), row["eid"])


def _labs(text: str) -> list[Hit]:
    n_sessions = "count(distinct eid)"
    labs = dj.U("lab").aggr(session.Session * subject.Subject, n=n_sessions)
    table = rows.frame(labs)
    table = table[table.lab.notna()]
    chosen = table[table.lab.str.lower().str.contains(text.lower(), regex=False)]
    return [
        Hit(f"/cohort?lab={quote(row.lab)}", row.lab, f"{row.n} sessions")
        for row in chosen.itertuples()
    ]


def _region_path(acronym: str) -> str:
    return f"/region/{quote(acronym, safe='')}"
