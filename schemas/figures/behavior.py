"""Choices and reaction times.

Every function draws into the Axes it is given, best those of a figure with
`layout="constrained"`. What cannot be drawn is counted in the figure.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from schemas.figures.style import floats, fractions, head, left_out, points, say_empty, stroke

SIDE_COLOURS = {"left": "#0072B2", "right": "#D55E00"}
"""Blue and vermilion: told apart by every kind of colour vision."""

BLOCK_COLOURS = {"all": "#000000", "0.2": "#D55E00", "0.5": "#7F7F7F", "0.8": "#56B4E9"}
"""Of a block, by its prior probability of a left stimulus: reddish right, bluish left."""

BLOCK_SHIFTS = {"all": 0.0, "0.2": -1.2, "0.5": 0.0, "0.8": 1.2}
"""Percent contrast by which points are moved, so that bars of blocks do not hide each other."""

BLOCK_MARKERS = {"all": "D", "0.2": "^", "0.5": "s", "0.8": "o"}

BLOCK_NAMES = {
    "all": "all trials",
    "0.2": "block 0.2 left",
    "0.5": "block 0.5 left",
    "0.8": "block 0.8 left",
}

OUTCOME_MARKERS = {"correct": "o", "error": "x", "no-go": "+"}


def plot_reaction_times(ax: Axes, summary: pd.DataFrame, title: str = "") -> Axes:
    """Draw the median reaction time by signed contrast, with the middle half of the trials.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    summary : DataFrame
        One row a side and contrast: `side`, `contrast` (fraction), `median`, `q25`, `q75` (s).
    title : str, optional
    """
    for side, group in summary.sort_values("contrast").groupby("side"):
        sign = -1 if side == "left" else 1
        contrast = sign * 100 * fractions(group, "contrast")
        colour = SIDE_COLOURS[str(side)]
        ax.plot(contrast, group["median"], "o-", color=colour, label=f"stimulus {side}")
        ax.fill_between(contrast, group["q25"], group["q75"], color=colour, alpha=0.2, linewidth=0)
    ax.axvline(0, color="0.8", linewidth=stroke(0.8), zorder=0)
    ax.set_ylim(bottom=0)
    ax.set(
        xlabel="contrast (%), left negative",
        ylabel="reaction time (s), median and quartiles",
        title=title,
    )
    if len(summary):
        ax.legend(frameon=False, fontsize=points(8))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def plot_psychometric(
    ax: Axes, points: pd.DataFrame, curves: pd.DataFrame | None = None, title: str = ""
) -> Axes:
    """Draw the fraction of rightward choices by signed contrast, one colour a block.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    points : DataFrame
        One row a block and contrast: `psychometric_block` (`all`, `0.2`, `0.5` or `0.8`, the
        prior probability of a left stimulus), `signed_contrast` (percent, left negative),
        `n` trials, `p_right` (fraction of trials, NaN is not drawn). Error bars are the 95 %
        interval of Wilson for a binomial fraction of `n` trials. Points of biased blocks are
        moved sideways by `BLOCK_SHIFTS`.
    curves : DataFrame, optional
        Fitted curves, one row a block and contrast, drawn through: `psychometric_block`,
        `signed_contrast` (percent), `p_right` (fraction).
    title : str, optional

    Returns
    -------
    Axes
        Without trials an empty one, with its labels.
    """
    drawn = points.dropna(subset=["p_right"])
    for block, colour in BLOCK_COLOURS.items():
        group = drawn[drawn["psychometric_block"] == block].sort_values("signed_contrast")
        fraction = fractions(group, "p_right")
        if len(group):
            ax.errorbar(
                group["signed_contrast"] + BLOCK_SHIFTS[block],
                fraction,
                yerr=np.abs(_wilson(fraction, floats(group, "n")) - fraction),
                fmt=BLOCK_MARKERS[block],
                color=colour,
                markersize=stroke(4.5),
                elinewidth=stroke(0.9),
                label=f"{BLOCK_NAMES[block]} (n = {group['n'].sum():.0f})",
            )
        if curves is not None:
            curve = curves[curves["psychometric_block"] == block].sort_values("signed_contrast")
            ax.plot(curve["signed_contrast"], curve["p_right"], color=colour, linewidth=stroke(1.3))
    ax.axvline(0, color="0.8", linewidth=stroke(0.8), zorder=0)
    ax.axhline(0.5, color="0.8", linewidth=stroke(0.8), zorder=0)
    ax.set(
        xlim=(-108, 108),
        ylim=(-0.03, 1.03),
        xlabel="contrast (%), left negative",
        ylabel="rightward choices (fraction)",
    )
    head(ax, title)
    if not len(drawn):
        say_empty(ax, "no trials")
    return ax


def plot_chronometric(ax: Axes, curve: pd.DataFrame, title: str = "") -> Axes:
    """Draw the median reaction time by signed contrast, with the middle half of the trials.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    curve : DataFrame
        One row a contrast: `signed_contrast` (percent, left negative), `n` trials, `median`,
        `lower_quartile`, `upper_quartile` (s). With `psychometric_block` one line a block, in the
        colours of `plot_psychometric` and moved as there. A NaN median is not drawn.
    title : str, optional

    Returns
    -------
    Axes
        Without trials an empty one, with its labels.
    """
    drawn = curve.dropna(subset=["median"])
    if "psychometric_block" not in drawn:
        drawn = drawn.assign(psychometric_block="all")
    for block, colour in BLOCK_COLOURS.items():
        group = drawn[drawn["psychometric_block"] == block].sort_values("signed_contrast")
        if not len(group):
            continue
        median, low, high = (
            floats(group, name) for name in ("median", "lower_quartile", "upper_quartile")
        )
        ax.errorbar(
            group["signed_contrast"] + BLOCK_SHIFTS[block],
            median,
            yerr=np.vstack([median - low, high - median]),
            fmt=f"{BLOCK_MARKERS[block]}-",
            color=colour,
            markersize=stroke(4.5),
            linewidth=stroke(1.2),
            elinewidth=stroke(0.9),
            label=f"{BLOCK_NAMES[block]} (n = {group['n'].sum():.0f})",
        )
    ax.axvline(0, color="0.8", linewidth=stroke(0.8), zorder=0)
    ax.set_xlim(-108, 108)
    ax.set_ylim(bottom=0)
    ax.set(
        xlabel="contrast (%), left negative",
        ylabel="reaction time (s), median and quartiles",
    )
    head(ax, title)
    if not len(drawn):
        say_empty(ax, "no trials")
    return ax


def plot_session_reaction_times(
    ax: Axes, trials: pd.DataFrame, *, n_running: int = 21, title: str = ""
) -> Axes:
    """Draw the reaction time of each trial over a session, with its running median.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    trials : DataFrame
        One row a trial: `trial` (number, from 0), `reaction_time` (s), `side` (`left` or
        `right`, by colour), `choice` and `feedback_type` (as released, by marker: correct, error
        or, where the choice is 0, no-go), `probability_left` (fraction; blocks of 0.2 and 0.8
        are shaded). Trials whose reaction time is missing, or not above 0 s and so not on a
        logarithmic axis, are left out and counted, as are those of unknown side or outcome.
    n_running : int
        Number of trials of the running median, centred; at the ends of the session it is over
        those there are, trials that are left out not among them.
    title : str, optional

    Returns
    -------
    Axes
        Reaction time on a logarithmic axis; without trials an empty one, with its labels.
    """
    ordered = trials.sort_values("trial")
    choice, feedback = floats(ordered, "choice"), floats(ordered, "feedback_type")
    outcome = np.where(choice == 0, "no-go", np.where(feedback > 0, "correct", "error"))
    known = ~np.isnan(choice) & ~np.isnan(feedback) & (floats(ordered, "reaction_time") > 0)
    shown = ordered.assign(outcome=outcome)[known & ordered["side"].isin(list(SIDE_COLOURS))]
    ax.set_yscale("log")
    for (side, result), group in shown.groupby(["side", "outcome"]):
        ax.plot(
            floats(group, "trial"),
            floats(group, "reaction_time"),
            OUTCOME_MARKERS[result],
            color=SIDE_COLOURS[side],
            markersize=stroke(3.5 if result == "correct" else 4.5),
            markeredgewidth=0 if result == "correct" else stroke(1),
            alpha=0.75,
            rasterized=True,
            label=f"{side}, {result} (n = {len(group)})",
        )
    seconds = shown["reaction_time"].astype(float)
    median = seconds.rolling(n_running, center=True, min_periods=1).median()
    if len(shown):
        name = f"median of {n_running} trials"
        ax.plot(floats(shown, "trial"), median, color="black", linewidth=stroke(1.3), label=name)
    else:
        ax.set_ylim(0.05, 60)
    _shade_blocks(ax, ordered)
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    ax.yaxis.set_major_formatter(lambda seconds, _: f"{seconds:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="trial", ylabel="reaction time (s)")
    head(ax, title, left_out(len(trials) - len(shown), "trials"))
    if not len(shown):
        say_empty(ax, "no trials")
    return ax


def _shade_blocks(ax: Axes, trials: pd.DataFrame) -> None:
    """Shade runs of trials of a biased block over the height of the Axes."""
    prior = np.round(fractions(trials, "probability_left"), 6)
    number = floats(trials, "trial")
    first = np.flatnonzero(np.r_[True, prior[1:] != prior[:-1]]) if len(prior) else np.arange(0)
    last = np.r_[first[1:], len(prior)][: len(first)] - 1
    named = set()
    for begin, end in zip(first, last, strict=True):
        block = f"{prior[begin]:g}"
        if block not in ("0.2", "0.8"):
            continue
        ax.axvspan(
            number[begin] - 0.5,
            number[end] + 0.5,
            color=BLOCK_COLOURS[block],
            alpha=0.18,
            linewidth=0,
            zorder=0,
            label=f"_{block}" if block in named else BLOCK_NAMES[block],
        )
        named.add(block)


def _wilson(fraction: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return both ends (2, k) of the 95 % interval of a binomial fraction, after Wilson (1927)."""
    z = 1.959964
    centre = (fraction + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(fraction * (1 - fraction) / n + (z / (2 * n)) ** 2)
    return np.stack([centre - half, centre + half])
