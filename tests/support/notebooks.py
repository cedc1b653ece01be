"""Notebooks: run in a kernel, compared with what is stored, or stored anew.

`python -m tests.support.notebooks` fills the demo, where it is not filled, runs all notebooks on
it and writes what they show into their files.
"""

import base64
import math
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
TIMEOUT = 300  # (s) for a cell
TOLERANCE = 1e-3  # of the numbers that summarise a figure

PREPARE = "from tests.support import drawn\n\ndrawn.tell(get_ipython())"

# A kernel takes seconds to start: all notebooks share one, and none sees the names of another.
FORGET = "from matplotlib import pyplot\n\npyplot.close('all')\nget_ipython().reset(True)"


def paths():
    """The notebooks in their order."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path):
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


@contextmanager
def kernel(environment):
    """Start a kernel in which notebooks can be run one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            _lines(),
            timeout=TIMEOUT,
            record_timing=False,
            resources={"metadata": {"path": str(FOLDER)}},
            extra_arguments=["--log-level=ERROR"],
        )
        own = {"IPYTHONDIR": folder, "PYTHONPATH": str(ROOT)}
        with client.setup_kernel(env={**environment, **own}):
            _execute(client, _lines(PREPARE))
            yield client


def run(client, notebook):
    """Return a notebook with what it shows when it is run.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell fails; says which and why.
    """
    _execute(client, _lines(FORGET))
    made = nbformat.from_dict(notebook)
    for cell in made.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.metadata = [], {}
    _execute(client, made)
    return _plain(made)


def _lines(*sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return nbformat.v4.new_notebook(cells=cells)


def _execute(client, notebook):
    client.nb = notebook
    client.reset_execution_trackers()
    for index, cell in enumerate(notebook.cells):
        client.execute_cell(cell, index)


def _plain(notebook):
    """Leave out of a notebook what differs between machines and runs."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    number = 0
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        number += 1
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number
    return notebook


# --- what differs -------------------------------------------------------------------------------


def differences(stored, shown):
    """Say where a notebook shows something else than what is stored: a line each."""
    pairs = zip(stored.cells, shown.cells, strict=True)
    code = [(one, other) for one, other in pairs if one.cell_type == "code"]
    told = []
    for number, (one, other) in enumerate(code, 1):
        found, expected = ([_reported(output) for output in c.outputs] for c in (other, one))
        if [set(f) for f in found] != [set(e) for e in expected]:
            told.append(f"cell {number} shows {found}, stored is {expected}")
            continue
        for f, e in zip(found, expected, strict=True):
            told += [
                f"cell {number} shows {kind} {f[kind]}, stored is {e[kind]}"
                for kind in f
                if not _alike(f[kind], e[kind])
            ]
    return told


def _reported(output):
    """What an output tells, by kind: texts, cells of tables, the figure in numbers."""
    if output.output_type == "stream":
        return {output.name: output.text}
    data = dict(output.data)
    told = {"text": data.pop("text/plain")}
    if "text/html" in data:
        told["table"] = cells(data.pop("text/html"))
    if data.pop("image/png", None):
        told["figure"] = output.metadata["figure"]
    return told | data


class _Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []
        self._inside = False

    def handle_starttag(self, tag, attrs):  # noqa: ARG002  (the parser's signature)
        if tag in ("td", "th"):
            self._inside = True
            self.found.append("")

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.found[-1] += data


def cells(html):
    """Texts of the cells of a table."""
    parser = _Cells()
    parser.feed(html)
    return parser.found


def _alike(found, expected):
    """Compare exactly, but the numbers of figures, which are rounded, nearly."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(
            _alike(found[key], expected[key]) for key in expected
        )
    if isinstance(expected, list) and isinstance(found, list):
        return len(found) == len(expected) and all(map(_alike, found, expected))
    if isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=TOLERANCE, abs_tol=1e-9)
    return found == expected


def pictures(notebook):
    """The pictures that a notebook shows, as PNG."""
    return [
        base64.b64decode(output.data["image/png"])
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def main(chosen):
    """Store what notebooks show: those whose names begin so, or all."""
    subprocess.run([sys.executable, "-m", "populate", "demo"], check=True, cwd=ROOT)
    with kernel(os.environ) as client:
        for path in paths():
            if not chosen or path.name.startswith(tuple(chosen)):
                nbformat.write(run(client, read(path)), path)
                sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
