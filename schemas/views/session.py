"""Sessions and insertions by their ids, and sessions by who, what and how well."""

from __future__ import annotations

import math
from collections.abc import Iterable
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
        raise QueryError(f"{name!r} is no UUID.", None, remedy) from None
    if session.Session & {"eid": uuid}:
        return {"eid": uuid}
    found = (probe.ProbeInsertion & {"pid": uuid}).proj().to_dicts()
    if not found:
        remedy = "Register it first: see `bwm register --help`."
        raise QueryError(f"no session and no insertion {uuid} is registered.", None, remedy)
    return found[0]


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

    A bound is itself within bounds. A session in which the measure is not known, as without
    trials, is left out where a bound on it is given.

    Parameters
    ----------
    release_name : str, optional
        Only sessions with an insertion of that release.
    lab, subject : str, optional
        Only of that laboratory or mouse.
    protocol : str, optional
        Only where the protocol has this in its name, e.g. `ephysChoiceWorld`.
    project : str, optional
        Only of that project, whatever others they are of.
    min_trials : int, optional
        Least number of trials.
    min_performance, min_easy_performance : float, optional
        Least fraction of correct trials, of all and of those with a contrast of at least half.
    max_reaction_time : float, optional
        Greatest median reaction time (s) of the trials within the bounds of its definition.
    rt_definition : str
        What is called a reaction time: a row of `behavior.ReactionTimeDefinition`.
    min_bias_shift : float, optional
        Least shift of the psychometric curve between blocks (percent contrast).
    psychometric_definition : str
        How the curve is fitted: a row of `behavior.PsychometricDefinition`.

    Raises
    ------
    QueryError
        A name is not known (says which are), or a bound is no number.
    """
    found = session.Session()
    if release_name is not None:
        require(release.Release, "release_name", release_name)
        found = found & (release.Release.Insertion & {"release_name": release_name}).proj()
    if lab is not None:
        require(subjects.Lab, "lab", lab)
        found = found & (subjects.Subject & {"lab": lab}).proj()
    if subject is not None:
        require(subjects.Subject, "subject", subject)
        found = found & {"subject": subject}
    if protocol is not None:
        found = found & _protocols(protocol)
    if project is not None:
        found = found & _projects(project)
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
                raise QueryError(f"{name} is {bound}.", None, "Give a number, or leave it out.")
            found = found & (table & f"{test} {float(bound)!r}").proj()
    return found


def session_measures(
    rt_definition: str = "first_movement", psychometric_definition: str = "plots"
) -> dj.expression.QueryExpression:
    """Return what `sessions` chooses by, one row a session with trials.

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
        A definition is not known; says which are.
    """
    reaction, psychometric = _by_definition(rt_definition, psychometric_definition)
    performance = behavior.Performance.proj("performance", "performance_easy")
    fitted = reaction.proj("rt_median") * psychometric.proj("bias_shift")
    return behavior.Trials.proj("n_trials") * performance * fitted


def require(table: type[dj.Table], name: str, value: str) -> None:
    """Refuse a name that is in no row: DataJoint would find nothing and say nothing.

    Raises
    ------
    QueryError
        Names those there are.
    """
    if not table & {name: value}:
        raise _unknown(name, value, table.proj(name).to_arrays(name))


def _unknown(name: str, value: str, known: Iterable[str]) -> QueryError:
    listed = ", ".join(sorted(set(known)))
    return QueryError(f"no {name} {value!r}.", None, f"There are: {listed or 'none yet'}.")


def _by_definition(
    rt_definition: str, psychometric_definition: str
) -> tuple[dj.expression.QueryExpression, dj.expression.QueryExpression]:
    """Return the reaction times and psychometric fits of sessions by one definition each."""
    require(behavior.ReactionTimeDefinition, "rt_definition", rt_definition)
    fits = behavior.PsychometricDefinition
    require(fits, "psychometric_definition", psychometric_definition)
    return (
        behavior.ReactionTime & {"rt_definition": rt_definition},
        behavior.Psychometric & {"psychometric_definition": psychometric_definition},
    )


def _protocols(part: str) -> list[dict[str, str]]:
    """Find the protocols with a text in their names: a text in SQL would need to be quoted."""
    known = _distinct("task_protocol")
    found = [{"task_protocol": text} for text in known if part in text]
    if not found:
        raise _unknown("protocol", part, known)
    return found


def _projects(name: str) -> list[dict[str, str]]:
    """Find the lists of projects that have a project in them."""
    known = {text: [one.strip() for one in text.split(",")] for text in _distinct("projects")}
    found = [{"projects": text} for text, names in known.items() if name in names]
    if not found:
        raise _unknown("project", name, {one for names in known.values() for one in names})
    return found


def _distinct(name: str) -> list[str]:
    values = (dj.U(name) & session.Session).to_arrays(name)
    return [text for text in values if text]
