"""Splits of groups: by hand, and what must hold of any split."""

import hashlib
import itertools

import numpy as np
import pytest

from schemas.maths.splits import assign_groups

HALVES = {"exploration": 0.5, "confirmation": 0.5}


def totals(sizes, part, n_parts):
    return np.bincount(part, weights=sizes, minlength=n_parts)


def test_values_worked_out_here():
    """Halves of 16 are 8: 7 leaves 1 of one, 4 and 3 leave 1 of the other; 2 goes to either."""
    last = set()
    for seed in range(9):
        part = assign_groups("abcd", [7, 4, 3, 2], HALVES, seed)
        assert part[0] != part[1] == part[2]
        last.add(part[3] == part[0])
        assert sorted(totals([7, 4, 3, 2], part, 2)) == [7, 9]
    assert last == {True, False}


def test_three_parts():
    """Of 10: lacks are 7, 2 and 1; 4 leaves 3, 2, 1; 3 leaves 0, 2, 1; 2 and 1 fill the others."""
    part = assign_groups("abcd", [4, 3, 2, 1], {"train": 0.7, "test": 0.2, "validation": 0.1}, 0)
    assert part.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("seed", range(20))
def test_no_part_exceeds_its_share_by_the_largest_group(seed):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 17, 139)
    names = [f"mouse {k}" for k in range(139)]
    fractions = dict(zip("abcd", rng.dirichlet(np.ones(4)), strict=True))
    found = totals(sizes, assign_groups(names, sizes, fractions, seed), 4)
    shares = sizes.sum() * np.array(list(fractions.values()))
    assert (found - shares < sizes.max()).all()
    halves = totals(sizes, assign_groups(names, sizes, HALVES, seed), 2)
    assert abs(halves[0] - halves[1]) <= 1  # there are groups of one


def test_two_parts_are_as_balanced_as_the_best_of_all_splits_of_equal_groups():
    names, sizes = [f"m{k}" for k in range(9)], [3] * 9
    best = min(
        abs(sum(s if bit else -s for s, bit in zip(sizes, bits, strict=True)))
        for bits in itertools.product((0, 1), repeat=9)
    )
    found = totals(sizes, assign_groups(names, sizes, HALVES, 0), 2)
    assert abs(found[0] - found[1]) == best == 3


def test_the_order_of_rows_changes_nothing_and_the_seed_does():
    names = [f"mouse {k}" for k in range(60)]
    sizes = [1 + k % 5 for k in range(60)]
    first = dict(zip(names, assign_groups(names, sizes, HALVES, 0), strict=True))
    order = np.random.default_rng(1).permutation(60)
    mixed = [names[k] for k in order]
    again = assign_groups(mixed, [sizes[k] for k in order], HALVES, 0)
    assert dict(zip(mixed, again, strict=True)) == first
    other = dict(zip(names, assign_groups(names, sizes, HALVES, 1), strict=True))
    assert other != first


def test_the_split_is_the_same_on_every_machine():
    """What somebody published must not change with a version: pairs in the order of sha256."""

    def digest(*words):
        return hashlib.sha256("\n".join(words).encode()).hexdigest()

    names = [f"m{k}" for k in range(12)]
    part = dict(zip(names, assign_groups(names, [1] * 12, HALVES, 7), strict=True))
    ordered = sorted(names, key=lambda name: digest("7", name))
    for one, other in zip(ordered[::2], ordered[1::2], strict=True):
        first = digest("7", one, "exploration") < digest("7", one, "confirmation")
        assert (part[one], part[other]) == ((0, 1) if first else (1, 0))
    assert "".join(str(part[name]) for name in names) == "111110000010"
