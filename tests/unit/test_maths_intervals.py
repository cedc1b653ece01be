"""Intervals that overlap windows, beside a comparison of each with each."""

import numpy as np

from schemas.maths.intervals import count_overlapping


def test_values_worked_out_here():
    start, stop = np.array([5.0, 1.0, 1.5]), np.array([6.0, 2.0, 5.5])
    first = np.array([0.0, 0.0, 2.0, 5.5, 6.0, np.nan, 1.0])
    last = np.array([1.0, 1.6, 2.0, 9.0, 7.0, 9.0, np.nan])
    assert count_overlapping(first, last, start, stop).tolist() == [0, 2, 1, 1, 0, 0, 0]
    assert count_overlapping(first, last, start[:0], stop[:0]).tolist() == [0] * 7


def test_as_comparing_each_with_each():
    rng = np.random.default_rng(3)
    start, first = rng.uniform(0, 100, 60), rng.uniform(0, 100, 400)
    stop, last = start + rng.exponential(1, 60), first + rng.exponential(3, 400)
    each = (start < last[:, None]) & (stop > first[:, None])
    assert (count_overlapping(first, last, start, stop) == each.sum(axis=1)).all()
    assert 0 < (each.sum(axis=1) == 0).sum() < 400
