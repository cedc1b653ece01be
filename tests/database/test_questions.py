"""The twelve questions of the benchmark: our answers beside those of pandas and DuckDB."""

import pandas as pd
import pytest

from tests.benchmarks import ask, questions


@pytest.fixture(scope="module")
def exported(_populated, tmp_path_factory):
    _populated.connect()
    folder = tmp_path_factory.mktemp("files")
    questions.export(folder)
    return folder


@pytest.mark.parametrize("question", questions.QUESTIONS, ids=lambda question: question.name)
def test_all_give_the_same_rows(question, exported, populated):
    ours = question.ours()
    assert len(ours)
    for theirs in (
        question.pandas(questions.Files(exported)),
        ask.Duck(exported).ask(question.duckdb),
    ):
        shared = [name for name in ours if name in theirs]
        assert set(question.order) <= set(shared)
        assert question.name != "all columns of good units" or len(shared) == ours.shape[1]
        expected, found = (_sorted(table[shared], question.order) for table in (theirs, ours))
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)


def _sorted(table, order):
    table = table.sort_values(list(order)) if order else table
    return table.astype(object).where(table.notna(), None).reset_index(drop=True)
