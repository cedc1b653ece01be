"""What is stored in the notebooks, and that a difference is noticed. No server."""

import base64
import copy
import re

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from tests.support import drawn, notebooks

OF_A_MACHINE = re.compile(r"/(?:tmp|home|root|Users|work)/|0x[0-9a-f]{6,}")
LIMIT = 300_000  # (byte)


@pytest.fixture(params=notebooks.paths(), ids=lambda path: path.stem)
def stored(request):
    return notebooks.read(request.param)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- what is stored -----------------------------------------------------------------------------


def test_there_is_one_for_each_example_of_the_deck_and_seven_more():
    names = [path.stem for path in notebooks.paths()]
    assert [name[:3] for name in names] == [f"{number:02d}_" for number in range(1, 18)]
    assert {names[0], names[9], names[10]} == {
        "01_search_sessions",
        "10_reaction_times",
        "11_regions_and_behaviour",
    }


def test_it_was_run_from_top_to_bottom_and_says_nothing_on_the_way(stored):
    assert [cell.execution_count for cell in code(stored)] == list(range(1, len(code(stored)) + 1))
    outputs = [output for cell in code(stored) for output in cell.outputs]
    assert outputs
    assert {output.output_type for output in outputs} <= {"execute_result", "display_data"}


def test_it_opens_the_demo_first_and_ends_with_what_to_try_next(stored):
    first, *_, last = stored.cells
    assert re.match(r"# \d+\. \w", first.source)
    assert "The deck" in first.source or first.source.startswith(("# 11.", "# 17."))
    assert "connection.connect(demo=True)" in code(stored)[0].source
    assert last.source.startswith("## To try next")


def test_it_keeps_nothing_of_the_machine_it_was_run_on(stored):
    for cell in code(stored):
        assert cell.metadata == {}
        for output in cell.outputs:
            text = str({k: v for k, v in output.data.items() if k != "image/png"})
            assert not OF_A_MACHINE.search(text), text
    assert set(stored.metadata) == {"kernelspec", "language_info"}


def test_it_only_reads_and_leaves_computing_to_the_tables(stored):
    source = "\n".join(cell.source for cell in code(stored))
    assert not re.search(r"\.(insert1?|update1|delete|drop|populate)\(|\bmaths\b", source)


def test_it_is_small_and_its_pictures_say_what_they_show(stored, request):
    path = request.node.callspec.params["stored"]
    assert path.stat().st_size < LIMIT
    for cell in code(stored):
        for output in cell.outputs:
            if "image/png" in output.data:
                assert output.metadata["figure"]["axes"]
    for picture in notebooks.pictures(stored):
        assert picture.startswith(b"\x89PNG")


# --- what is compared ---------------------------------------------------------------------------


def a_notebook():
    cell = nbformat.v4.new_code_cell("table")
    table = pd.DataFrame({"rate": [1.25, 2.5]})
    cell.outputs = [
        nbformat.v4.new_output(
            "execute_result", {"text/plain": str(table), "text/html": table.to_html()}
        ),
        nbformat.v4.new_output("display_data", a_picture(), metadata={"figure": a_figure()}),
    ]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), cell])


def a_picture(content=b"\x89PNG"):
    return {"text/plain": "<Figure>", "image/png": base64.b64encode(content).decode()}


def a_figure(height=3.0, label="rate (Hz)"):
    figure, ax = plt.subplots()
    ax.plot([0, 1, 2], [1, 2, height])
    ax.bar([0, 1], [1, height])
    ax.scatter([1, 2], [np.nan, height])
    ax.fill_between([0, 1], [0, 0], [1, height])
    ax.set_ylabel(label)
    described = drawn.describe(figure)
    plt.close(figure)
    return described


def test_what_is_stored_is_no_difference_nor_are_other_pixels():
    stored = a_notebook()
    shown = copy.deepcopy(stored)
    assert notebooks.differences(stored, shown) == []
    shown.cells[1].outputs[1].data = a_picture(b"\x89PNG of another version")
    shown.cells[1].outputs[1].metadata = {"figure": a_figure(3.0001)}
    assert notebooks.differences(stored, shown) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda o: o[0].data.update({"text/plain": "   rate\n0  1.25\n1  2.51"}), "2.51"),
        (
            lambda o: o[0].data.update({"text/html": o[0].data["text/html"].replace("2.50", "3")}),
            "table",
        ),
        (lambda o: o.pop(0), "shows"),
        (lambda o: o.pop(1), "shows"),
        (lambda o: o[1].data.pop("image/png"), "figure"),
        (lambda o: o[1].metadata.update(figure=a_figure(3.1)), "figure"),
        (lambda o: o[1].metadata.update(figure=a_figure(label="count")), "count"),
        (lambda o: o.append(nbformat.v4.new_output("stream", text="2")), "stdout"),
        (lambda o: o.append(nbformat.v4.new_output("stream", name="stderr", text="w")), "stderr"),
    ],
)
def test_a_difference_is_reported(change, told):
    stored, shown = a_notebook(), a_notebook()
    change(shown.cells[1].outputs)
    (found,) = notebooks.differences(stored, shown)
    assert found.startswith("cell 1 shows")
    assert told in found


def test_a_figure_is_described_by_its_data():
    (ax,) = a_figure()["axes"]
    assert ax["labels"] == ["", "rate (Hz)"]
    assert ax["lines"] == [{"n": 3, "of": [[0.0, 2.0, 1.0], [1.0, 3.0, 2.0]]}]
    assert [patch["of"][1][:2] for patch in ax["patches"]] == [[0.0, 1.0], [0.0, 3.0]]
    points, band = ax["collections"]
    assert points == {"n": 2, "of": [[1.0, 2.0, 1.5], [3.0, 3.0, 3.0]]}
    assert band["of"][1][:2] == [0.0, 3.0]
