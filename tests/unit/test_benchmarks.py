"""Ratios of benchmarks: what is compared with what, and what fails."""

import pytest

from tests.benchmarks import check, table


def test_the_ratio_is_that_of_the_slowest_server_to_the_limit():
    row = table.Row("x", {"ours, PostgreSQL": 1.0, "ours, MySQL": 3.0, "loop": 9.0, "limit": 2.0})
    assert row.ratio == pytest.approx(1.5)


def test_rows_of_two_servers_become_one():
    first = table.Row("x", {"ours, PostgreSQL": 1.0, "pandas cold": 4.0})
    second = table.Row("x", {"ours, MySQL": 2.0, "pandas cold": 5.0})
    (row,) = table.merged([first, second])
    assert row.seconds == {"ours, PostgreSQL": 1.0, "ours, MySQL": 2.0, "pandas cold": 4.0}
    assert row.ratio == pytest.approx(0.5)


def test_a_ratio_fails_beyond_half_more_and_when_it_is_not_measured():
    lines, n_failed = check.compare({"a": 1.49, "b": 1.6}, {"a": 1.0, "b": 1.0, "c": 1.0})
    assert n_failed == 2
    assert lines[0].startswith("ok     a")
    assert "FAILED b: ratio 1.60, stored 1.00, +60%" in lines[1]
    assert lines[2] == "FAILED c: not measured"
