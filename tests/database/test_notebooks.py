"""Notebooks on the demo of each server: they show what is stored in them."""

import pytest

from tests.support import notebooks


@pytest.fixture(scope="module")
def kernel(demo):
    with notebooks.kernel(demo.environment) as client:
        yield client


@pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_stored(kernel, path):
    stored = notebooks.read(path)
    found = notebooks.differences(stored, notebooks.run(kernel, stored))
    assert not found, "\n".join([*found, "If that is right: `make notebooks` stores it."])
