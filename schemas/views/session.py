"""Sessions and insertions by their ids, and sessions by who, what and how well."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import datajoint as dj

from schemas import behavior, probe, release, session
from schemas import subject as subjects
from schemas.errors import QueryError


def find_recording(name: str) -> dict[str, str]:
    """Return the key of a session or an insertion.

    Parameters
    ----------
    name : str
        eid of a session, or pid of an insertion; upper case and lower case are the same.

    Returns
    -------
    dict
        `eid`, and for an insertion `probe_name`.

    Raises
    ------
    QueryError
        It is no UUID, or nothing of that id is registered.
    """
    try:
        uuid = str(UUID(name))
    except ValueError:
        remedy = "Give the eid of a session or the pid of an insertion."
        raise QueryError(f"{name!r} is not a UUID.", None, remedy) from None
    if session.Session & {"eid": uuid}:
        return {"eid": uuid}
    insertions = (probe.ProbeInsertion & {"pid": uuid}).proj().to_dicts()
    if not insertions:
        remedy = "Register it first: see `bwm register --help`."
        raise QueryError(f"no session and no insertion {uuid} is registered.", None, remedy)
    return insertions[0]


def session_key(recording: str) -> dict[str, str]:
    """Return the key of the session of an eid, or of the pid of one of its insertions.

    Raises
    ------
    QueryError
        As `find_recording`.
    """
    return {"eid": find_recording(recording)["eid"]}


def sessions(
    release_name: str | None = None,
    lab: str | None = None,
    subject: str | None = None,
    protocol: str | None = None,
    project: str | None = None,
    min_trials: int | None = None,
    min_performance: float | None = None,
    min_easy_performance: float | None = None,
    max_reaction_time: float | None = None,
    rt_definition: str = "first_movement",
    min_bias_shift: float | None = None,
    psychometric_definition: str = "plots",
) -> dj.expression.QueryExpression:
    """Return sessions, as rows of `session.Session` to restrict and join further.

    Bounds are inclusive; a session without the measure, e.g. without trials, is then left out.

    Parameters
    ----------
    release_name : str, optional
        Only sessions with an insertion of that release.
    lab, subject, project : str, optional
        Only sessions of that laboratory, mouse or project.
    protocol : str, optional
        Only sessions whose protocol contains this text, e.g. `ephysChoiceWorld`.
    min_trials : int, optional
        Least number of trials.
    min_performance, min_easy_performance : float, optional
        Least fraction of correct trials, of all and of those with a contrast of at least half.
    max_reaction_time : float, optional
        Greatest median reaction time (s) of the trials within the bounds of its definition.
    rt_definition : str
        Row of `behavior.ReactionTimeDefinition`.
    min_bias_shift : float, optional
        Least shift of the psychometric curve between blocks (percent contrast).
    psychometric_definition : str
        Row of `behavior.PsychometricDefinition`: how the curve is fitted.

    Raises
    ------
    QueryError
        A name is not known (the error lists those that are), or a bound is not a number.
    """
    _require_definitions(rt_definition, psychometric_definition)
    chosen = _registered(release_name, lab, subject, protocol, project)
    reaction, psychometric = _by_definition(rt_definition, psychometric_definition)
    performance = behavior.Performance()
    for name, bound, table, test in (
        ("min_trials", min_trials, behavior.Trials(), "n_trials >="),
        ("min_performance", min_performance, performance, "performance >="),
        ("min_easy_performance", min_easy_performance, performance, "performance_easy >="),
        ("max_reaction_time", max_reaction_time, reaction, "rt_median <="),
        ("min_bias_shift", min_bias_shift, psychometric, "bias_shift >="),
    ):
        if bound is not None:
            if not math.isfinite(bound):
                raise QueryError(f"{name} is {bound}.", None, "Give a finite number, or none.")
            chosen = chosen & (table & f"{test} {float(bound)!r}").proj()
    return chosen


def _registered(
    release_name: str | None,
    lab: str | None,
    subject: str | None,
    protocol: str | None,
    project: str | None,
) -> dj.expression.QueryExpression:
    """Return sessions by what is registered about them."""
    chosen = session.Session()
    if release_name is not None:
        require(release.Release, "release_name", release_name)
        chosen = chosen & (release.Release.Insertion & {"release_name": release_name}).proj()
    if lab is not None:
        require(subjects.Lab, "lab", lab)
        chosen = chosen & (subjects.Subject & {"lab": lab}).proj()
    if subject is not None:
        require(subjects.Subject, "subject", subject)
        chosen = chosen & {"subject": subject}
    if protocol is not None:
        chosen = chosen & _protocols(protocol)
    if project is not None:
        chosen = chosen & _projects(project)
    return chosen


def session_measures(
    rt_definition: str = "first_movement", psychometric_definition: str = "plots"
) -> dj.expression.QueryExpression:
    """Return the measures by which `sessions` chooses, one row per session with trials.

    Parameters
    ----------
    rt_definition, psychometric_definition : str
        As in `sessions`.

    Returns
    -------
    expression
        `n_trials`, `performance` and `performance_easy` (fraction), `rt_median` (s) and
        `bias_shift` (percent contrast), keyed by session and the two definitions.

    Raises
    ------
    QueryError
        A definition is not known; the error lists those that are.
    """
    _require_definitions(rt_definition, psychometric_definition)
    return join_measures(rt_definition, psychometric_definition)


def join_measures(
    rt_definition: str, psychometric_definition: str
) -> dj.expression.QueryExpression:
    """Return `session_measures` by definitions that are known to exist."""
    reaction, psychometric = _by_definition(rt_definition, psychometric_definition)
    performance = behavior.Performance.proj("performance", "performance_easy")
    fitted = reaction.proj("rt_median") * psychometric.proj("bias_shift")
    return behavior.Trials.proj("n_trials") * performance * fitted


def require(table: type[dj.Table], name: str, value: str) -> dict[str, Any]:
    """Return the row of a name, which is unique in its table.

    Raises
    ------
    QueryError
        No row has that name; the error lists the names that exist. DataJoint's restriction
        would be empty without an error.
    """
    found = (table & {name: value}).to_dicts()
    if not found:
        raise _unknown(name, value, table.proj(name).to_arrays(name))
    return found[0]


def _unknown(name: str, value: str, known: Iterable[str]) -> QueryError:
    listed = ", ".join(sorted(set(known)))
    return QueryError(f"no {name} {value!r}.", None, f"There are: {listed or 'none yet'}.")


def _by_definition(
    rt_definition: str, psychometric_definition: str
) -> tuple[dj.expression.QueryExpression, dj.expression.QueryExpression]:
    """Return the reaction times and psychometric fits of sessions by one definition each."""
    return (
        behavior.ReactionTime & {"rt_definition": rt_definition},
        behavior.Psychometric & {"psychometric_definition": psychometric_definition},
    )


def _require_definitions(rt_definition: str, psychometric_definition: str) -> None:
    require(behavior.ReactionTimeDefinition, "rt_definition", rt_definition)
    table = behavior.PsychometricDefinition
    require(table, "psychometric_definition", psychometric_definition)


def _protocols(part: str) -> list[dict[str, str]]:
    """Find the protocols whose names contain a text; comparing in Python needs no SQL quoting."""
    known = _distinct("task_protocol")
    found = [{"task_protocol": text} for text in known if part in text]
    if not found:
        raise _unknown("protocol", part, known)
    return found


def _projects(name: str) -> list[dict[str, str]]:
    """Find the lists of projects that contain a project."""
    lists = {text: [part.strip() for part in text.split(",")] for text in _distinct("projects")}
    found = [{"projects": text} for text, names in lists.items() if name in names]
    if not found:
        raise _unknown("project", name, {known for names in lists.values() for known in names})
    return found


def _distinct(name: str) -> list[str]:
    values = (dj.U(name) & session.Session).to_arrays(name)
    return [text for text in values if text]
