"""Trials numbered from a switch of blocks, by hand and by a loop."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths.reversal import number_from_reversal

NAN = float("nan")


def test_trials_are_numbered_from_the_nearest_switch():
    prior = [0.5, 0.5, 0.2, 0.2, 0.2, 0.8, 0.8, NAN, 0.8, 0.8, 0.2]
    found = number_from_reversal(np.array(prior), 2)
    expected = [NAN, NAN, NAN, -2, -1, 0, 1, NAN, -2, -1, 0]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(number_from_reversal(np.empty(0), 3), [])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.8]), st.integers(1, 6)), max_size=6),
    st.integers(0, 8),
)
def test_numbers_are_those_of_a_loop(blocks, before):
    merged = []
    for prior, n in blocks:
        if merged and merged[-1][0] == prior:
            merged[-1][1] += n
        else:
            merged.append([prior, n])
    expected = []
    for k, (prior, n) in enumerate(merged):
        follows = k > 0 and 0.5 not in (prior, merged[k - 1][0])
        leads = k + 1 < len(merged) and 0.5 not in (prior, merged[k + 1][0])
        for place in range(n):
            if leads and n - place <= before:
                expected.append(place - n)
            else:
                expected.append(place if follows else NAN)
    prior = np.repeat([p for p, _ in merged], [n for _, n in merged]).astype(float)
    np.testing.assert_array_equal(number_from_reversal(prior, before), expected)
