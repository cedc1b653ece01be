"""What a figure shows, in numbers and words: pictures cannot be compared between versions.

Run inside the kernel of a notebook, where `tell` has each figure carry its description along.
"""

import json

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

DIGITS = 5


def tell(shell):
    """Describe each figure in the metadata of the output that shows it."""
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type(Figure, lambda figure, **_: ({}, {"figure": describe(figure)}))


def describe(figure):
    """Return titles, labels, and a summary of the data of each element, as JSON has it."""
    figure.canvas.draw()
    found = {
        "title": figure.get_suptitle(),
        "axes": [_axes(ax) for ax in figure.axes],
    }
    return json.loads(json.dumps(found))


def _axes(ax):
    legend = ax.get_legend()
    return {
        "title": ax.get_title() or ax.get_title("left"),
        "labels": [ax.get_xlabel(), ax.get_ylabel()],
        "limits": [_rounded(ax.get_xlim()), _rounded(ax.get_ylim())],
        "categories": [_categories(ax.xaxis), _categories(ax.yaxis)],
        "texts": [text.get_text() for text in ax.texts],
        "legend": [text.get_text() for text in legend.get_texts()] if legend else [],
        "lines": [_summary(line.get_xydata()) for line in ax.lines],
        "collections": [_collection(collection) for collection in ax.collections],
        "patches": [_summary(_corners(patch)) for patch in ax.patches],
        "images": [_summary(np.atleast_2d(image.get_array()).ravel()) for image in ax.images],
    }


def _corners(patch):
    """A bar or the like in the coordinates of the data."""
    return patch.get_patch_transform().transform_path(patch.get_path()).vertices


def _collection(collection):
    offsets = np.ma.getdata(collection.get_offsets())
    if len(offsets) > 1:
        return _summary(offsets)
    paths = [path.vertices for path in collection.get_paths()]
    return _summary(np.concatenate(paths) if paths else offsets)


def _categories(axis):
    if not isinstance(axis.get_major_formatter(), FixedFormatter):
        return []
    return [label.get_text() for label in axis.get_ticklabels()]


def _summary(points):
    """Number of points, and smallest, largest and mean of each coordinate."""
    values = np.asarray(points, float)
    columns = values.reshape(len(values), -1).T
    told = []
    for column in columns:
        finite = column[np.isfinite(column)]
        told.append(_rounded([finite.min(), finite.max(), finite.mean()]) if len(finite) else [])
    return {"n": len(values), "of": told}


def _rounded(numbers):
    return [float(f"{number:.{DIGITS}g}") for number in numbers]
