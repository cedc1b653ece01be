"""Movements of the wheel through the database: those that were planted, where they were planted.

Bounds follow from the definition and from the simulated encoder, which steps at known times:

- Between steps the trace is a straight line. When the window that first sees a movement begins,
  the wheel rests, less than one count beyond its last step; so the onset is the last sample
  before the trace passes a level between 1.5 and 2.5 counts.
- A movement ends when at most 8 counts are left of it.
"""

import numpy as np
import pandas as pd
import pytest

from populate import stale
from populate.workers import worker
from schemas import behavior, rows, wheel
from schemas.sources import simulator
from schemas.sources.simulator import behavior as planted_behavior
from schemas.sources.simulator.plan import SIZES, plan_release
from schemas.sources.simulator.session import TASK_SHARE, SimulatedSession
from tests.support.databases import Release
from tests.support.revising import revise

SAMPLE = 0.001
"""Distance of two samples (s)."""
COUNT = planted_behavior.WHEEL_STEP
SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}


def counts_of(moves):
    return np.round(moves.amplitude.abs() / COUNT)


def steps_of(moves, k):
    """Time of the k-th step of each planted movement (s): half-way through its share of a rise."""
    n = counts_of(moves)
    # The root of 3x^2 - 2x^3 = (k + 1/2) / n.
    return moves.onset + moves.duration * (0.5 - np.sin(np.arcsin(1 - 2 * (k + 0.5) / n) / 3))


def lost(moves):
    """Rad by which a peak may fall short: 2.5 counts first, 8 and one sample's travel last."""
    return 10.5 * COUNT + 1.5 * moves.amplitude.abs() / moves.duration * SAMPLE


@pytest.fixture(scope="module")
def planted(release):
    """Planted movements of each session with a wheel, by eid."""
    found = {}
    for plan in plan_release(SIZES["tiny"], 1, edge_cases=True, faults=False):
        if plan.role.wheel:
            found[plan.eid] = movements_of(plan, SIZES["tiny"], release.truth.trials[plan.eid])
    return found


def movements_of(plan, size, trials):
    no_go = size.n_trials // 3 if plan.role.odd_events else None
    rng = SimulatedSession(plan, size, 1).rng(0)
    again, moves = planted_behavior.simulate_trials(
        rng, size.n_trials, TASK_SHARE * size.duration, no_go
    )
    assert again[list(trials)].equals(trials), "these are not the movements of the release"
    end = moves.onset + moves.duration
    apart = starts(moves, (moves.onset - end.shift()).fillna(np.inf))
    return moves.assign(
        end=end,
        starts=apart,
        found=apart.cumsum() - 1,
        earliest=(steps_of(moves, 0) + steps_of(moves, 1)) / 2 - SAMPLE,
        latest=(steps_of(moves, 1) + steps_of(moves, 2)) / 2,
        few_left=steps_of(moves, counts_of(moves) - 9),
        lost=lost(moves),
    )


def starts(moves, gap):
    """Return whether each planted movement is one of its own, or goes on from the one before it.

    That is tried, sample by sample, where there are 0.3 s or less between them: 0.1 s without
    movement, and the 0.2 s of the window that sees the second one before it starts.
    """
    apart = gap > 0.3
    for i in np.flatnonzero(~apart):
        pair = moves.iloc[i - 1 : i + 1]
        times, position = planted_behavior.simulate_wheel(pair, pair.onset.iloc[1] + 1)
        middle = pair.onset + pair.duration / 2
        grid = 0.2 + SAMPLE * np.arange(*np.round((middle - 0.2) / SAMPLE).astype(int))
        trace = np.interp(grid, times, position)
        still = np.ptp(np.lib.stride_tricks.sliding_window_view(trace, 200), axis=1) <= 8 * COUNT
        rests = np.diff(np.flatnonzero(np.r_[True, ~still, True]))  # from one moving sample on
        apart.iloc[i] = rests.max() > 100
    return apart


def stored_moves(eid):
    return rows.frame(wheel.WheelMoves.Move & {"eid": eid})


def test_every_planted_movement_is_found_and_no_other(planted, populated):
    for eid, moves in planted.items():
        stored = stored_moves(eid)
        first = moves[moves.starts]
        assert len(stored) == len(first) == (wheel.WheelMoves & {"eid": eid}).fetch1("n_moves")
        assert (stored.move == np.arange(len(stored))).all()
        assert (stored.move_onset.to_numpy() >= first.earliest.to_numpy()).all()
        assert (stored.move_onset.to_numpy() <= first.latest.to_numpy()).all()
        last = moves.groupby("found").last()
        assert (stored.move_offset >= last.few_left).all()
        assert (stored.move_offset <= last.end + SAMPLE).all()
        assert stored.peak_velocity_time.between(stored.move_onset, stored.move_offset).all()


def test_amplitudes_are_those_that_were_planted(planted, populated):
    for eid, moves in planted.items():
        stored = stored_moves(eid)
        n_judged = 0
        for move, group in moves.groupby("found"):
            amplitude = stored.peak_amplitude[move]
            reached = (COUNT * (group.amplitude / COUNT).round()).cumsum()
            far = reached[reached.abs().idxmax()]
            # Which direction went farther is open where both went equally far.
            if len(group) > 1 and abs(reached.max() + reached.min()) < 2 * group.lost.max():
                continue
            n_judged += 1
            assert np.sign(amplitude) == np.sign(far)
            assert abs(amplitude - far) <= group.lost.max()
        assert n_judged > 0.9 * len(stored)


def test_the_encoder_is_known_by_its_step(populated):
    assert set(wheel.WheelMoves.to_arrays("encoder_resolution")) == {4096}


def test_first_movements_are_those_that_were_planted(planted, populated):
    n_compared = 0
    for eid, moves in planted.items():
        stored = rows.frame(wheel.FirstMovement.Trial * behavior.Trials.Trial & {"eid": eid})
        known = stored.go_cue_time.notna() & stored.feedback_time.notna()
        assert stored.detected_movement_time[~known].isna().all()
        first = moves.drop_duplicates("trial").set_index("trial")
        # A smaller one may stay below 0.1 rad by what is lost of it.
        large = first[first.amplitude.abs() - first.lost >= 0.1]
        large = large[large.onset < stored.feedback_time.reindex(large.index)]
        judged = stored.set_index("trial")[known.to_numpy()].join(large, how="inner")
        assert judged.detected_movement_time.between(judged.earliest, judged.latest).all()
        released = judged.dropna(subset=["first_movement_time"])
        late = released.detected_movement_time - released.first_movement_time
        assert (late >= released.earliest - released.onset).all()
        assert (late <= released.latest - released.onset).all()
        n_compared += len(released)
    assert n_compared > 200


def test_trials_without_answer_or_event_have_no_first_movement(planted, populated, release):
    summary = rows.frame(wheel.FirstMovement()).set_index("eid")
    for eid, counts in summary.iterrows():
        stored = rows.frame(wheel.FirstMovement.Trial * behavior.Trials.Trial & {"eid": eid})
        missing = stored.go_cue_time.isna() | stored.feedback_time.isna()
        none = stored.detected_movement_time.isna()
        assert counts.n_unknown_move == missing.sum()
        assert counts.n_without_move == (none & ~missing).sum()
        assert counts.n_first_moves == (~none).sum()
    (odd,) = release.truth.odd("no_go")
    no_go = rows.frame(wheel.FirstMovement.Trial & {"eid": odd.eid}).set_index("trial")
    assert no_go.detected_movement_time.loc[list(odd.rows)].isna().all()
    (training,) = release.truth.odd("training_columns")
    assert summary.n_first_moves[training.eid] == 0
    assert summary.n_unknown_move[training.eid] == len(release.truth.trials[training.eid])


def test_a_session_without_wheel_has_no_row_and_awaits_none(release, populated):
    (bare,) = release.truth.odd("no_wheel")
    for table in (wheel.WheelMoves(), wheel.FirstMovement()):
        assert len(table) == len(release.truth.sessions) - 1
        assert len(table & {"eid": bare.eid}) == 0
        assert len(table.key_source & {"eid": bare.eid}) == 0


def test_replaced_trials_take_their_first_movements_along(database, tmp_path):
    made = Release(tmp_path / "release", simulator.simulate(tmp_path / "release", "tiny", **SMALL))
    tables = [behavior.Trials, wheel.Wheel, wheel.WheelMoves, wheel.FirstMovement]
    database.register(made.folder)
    worker.run(tables)
    eids = made.truth.sessions.eid
    before = {eid: first_movements(eid) for eid in eids}
    moves = stored_moves(eids[0])

    revise(made.folder, eids[0], "alf/_ibl_trials.table.pqt", "2025-01-01")
    database.register(made.folder)
    (found,) = stale.find([behavior.Trials])
    (behavior.Trials & found.key).delete(prompt=False)
    assert len(wheel.FirstMovement & {"eid": eids[0]}) == 0
    pd.testing.assert_frame_equal(stored_moves(eids[0]), moves)
    pd.testing.assert_frame_equal(first_movements(eids[1]), before[eids[1]])

    worker.run(tables)
    after = first_movements(eids[0])
    assert after.go_cue_time.notna().any()
    assert not after.go_cue_time.equals(before[eids[0]].go_cue_time)
    known = after.detected_movement_time.dropna()
    assert len(known) == (wheel.FirstMovement & {"eid": eids[0]}).fetch1("n_first_moves") > 0
    assert known.isin(moves.move_onset).all()


def first_movements(eid):
    trials = behavior.Trials.Trial.proj("go_cue_time") & {"eid": eid}
    return rows.frame(wheel.FirstMovement.Trial * trials)
