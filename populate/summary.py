"""Summary of what is in the database."""

from __future__ import annotations

from schemas import activity, behavior, ephys, probe, rows, session, subject, wheel


def contents() -> dict[str, int]:
    """Count sessions, trials, units, spikes and more."""
    return {**recordings(), "rates of regions": len(activity.RegionRate.Region())}


def recordings() -> dict[str, int]:
    """Count what `contents` does from some hundred rows of each table: it takes a moment."""
    trials = rows.frame(behavior.Trials.proj("n_trials"))
    sortings = rows.frame(ephys.SpikeSorting.proj("n_clusters"))
    spikes = rows.frame(ephys.Spikes.proj("n_spikes"))
    good = rows.frame(ephys.GoodUnits.proj("n_good"))
    return {
        "laboratories": len(subject.Lab()),
        "mice": len(subject.Subject()),
        "sessions": len(session.Session()),
        "insertions": len(probe.ProbeInsertion()),
        "datasets listed": len(session.Dataset()),
        "trials": int(trials.n_trials.sum()),
        "wheel traces": len(wheel.Wheel()),
        "spike sortings": len(sortings),
        "units": int(sortings.n_clusters.sum()),
        **{
            f"good units by {criterion}": int(n)
            for criterion, n in good.groupby("criterion").n_good.sum().items()
        },
        "spikes": int(spikes.n_spikes.sum()),
    }
