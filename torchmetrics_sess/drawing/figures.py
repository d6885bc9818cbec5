"""Pictures of scene graphs and of explanations.

Figures are made without pyplot: they need no display, and leave no state behind.
"""

from __future__ import annotations

import operator
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.drawing.scenes import Scene, draw_relations, draw_scene, scene_of
from torchmetrics_sess.explanation import KEPT, LOST, Explanation, describe_loss
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.stages import Image

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import ConnectionPatch
    from matplotlib.patheffects import withStroke
except ModuleNotFoundError as error:
    message = "drawing needs matplotlib: install torchmetrics-sess[plot]"
    raise ModuleNotFoundError(message, name=error.name) from error

FORMATS = (".png", ".pdf", ".svg")

# Okabe and Ito (2008): told apart by readers with any kind of colour vision.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#F0E442", "#CC79A7", "#56B4E9", "#E69F00")
_GREY = "#9A9A9A"
# A figure is read in a column of a page, at half of its width.
_WIDTH, _NARROW, _LINE, _DPI = 6.0, 4.2, 0.13, 250
_BARS = 12
# Of a score that lost less, the bars would look like more than they are.
_LEAST_HEIGHT = 0.1
# From this aspect on, images lie one above the other.
_WIDE = 2.4


class _Bar(NamedTuple):
    name: str
    lost: float
    weight: float
    colour: str = _GREY


class _Canvas(NamedTuple):
    figure: Figure
    target: Axes
    preds: Axes
    bars: Axes
    target_inches: float
    preds_inches: float


def plot_explanation(
    explanation: Explanation, *, objects: int = 6, relations: int = 0, names: Sequence[str] | None = None
) -> tuple[Figure, list[Axes]]:
    """Draw both images with their objects, how these match, and what each contributes to the loss.

    Args:
        explanation: what to draw.
        objects: how many objects to point out in colour: those that contribute most.
        relations: how many relations among these to draw in each image, the most important first.
        names: what every object of target is called, if that is known.

    Returns:
        The figure and its axes: target, preds, contributions.

    Raises:
        TypeError: if ``objects`` or ``relations`` is no whole number.
        ValueError: if one of them is negative.
    """
    objects, relations = _count("objects", objects), _count("relations", relations)
    of_objects = explanation.grouping is not None
    plan = explanation.match.plan.numpy()
    order = _order(explanation.target_contributions.numpy(), explanation.target.importance.numpy())
    colours = _colours(order[:objects].tolist())
    # One that goes mostly without a match has no partner to point to, and a lost object is nowhere.
    matched = plan.sum(0) > explanation.match.unmatched_b.numpy()
    if of_objects:
        matched &= (explanation.target_kept >= LOST).numpy()
    partners = {j: int(plan[:, j].argmax()) for j in colours if matched[j]}
    # Where several objects have one partner, it takes the colour of the one that contributes most.
    held: dict[int, list[int]] = {}
    for j, i in partners.items():
        held.setdefault(i, []).append(j)
    partner_colours = {i: colours[numbers[0]] for i, numbers in held.items()}
    labels = {j: _called(j, names) + _fate(explanation, j, partners.get(j)) for j in colours}
    # What has become of objects is known by the numbers that they have in the original, whatever its own.
    partner_labels = {i: ", ".join(map(str, sorted(numbers))) if of_objects else f"{i}" for i, numbers in held.items()}

    target = scene_of(explanation.target_image, explanation.target)
    preds = scene_of(explanation.preds_image, explanation.preds)
    sentence = textwrap.wrap(describe_loss(explanation, names), 105)
    canvas = _canvas(target, preds, len(sentence))
    target = target.pointing_out(labels, colours, canvas.target_inches)
    preds = preds.pointing_out(partner_labels, partner_colours, canvas.preds_inches, numbered=not of_objects)

    lost_target, lost_preds = (
        set((kept < LOST).nonzero().flatten().tolist()) for kept in (explanation.target_kept, explanation.preds_kept)
    )
    if of_objects:
        lost_preds -= set(held)
    for axes, scene, title, lost in (
        (canvas.target, target, "original (target)", lost_target),
        (canvas.preds, preds, "reconstruction (preds)", lost_preds),
    ):
        axes.set_title(title, fontsize=9)
        numbered = not of_objects or scene is target
        draw_scene(axes, scene, hatched=lost, numbered=numbered)
        draw_relations(axes, scene, relations)
    if not of_objects:
        for j, i in partners.items():
            width = 0.8 + 2.2 * plan[i, j] / plan.max()
            _join(canvas, target.anchors[j], preds.anchors[i], colours[j], width)
    what = "same number: the same object" if of_objects else "number, and similarity to its main match"
    _draw_contributions(canvas.bars, explanation, order, colours, f"{what};   hatched: less than half is kept")
    canvas.bars.set_title("\n".join(sentence), fontsize=7.5, loc="left")

    loss = f"{explanation.loss:.3f}".replace("-0.000", "0.000")
    canvas.figure.suptitle(f"SeSS {explanation.score:.3f}: what the loss of {loss} is made of", fontsize=11)
    _sign(canvas.figure, explanation.signature)
    return canvas.figure, [canvas.target, canvas.preds, canvas.bars]


def plot_scene_graph(
    image: Image,
    graph: SceneGraph,
    *,
    signature: str = "",
    objects: int = 7,
    relations: int = 8,
    names: Sequence[str] | None = None,
    chosen: Sequence[int] | None = None,
    points: Sequence[tuple[float, float]] = (),
) -> tuple[Figure, Axes]:
    """Draw an image with its objects, how much each matters, and how they relate.

    Args:
        image: what ``graph`` was extracted from, ``[3, H, W]`` in [0, 1].
        graph: with masks.
        signature: what to write beneath, such as the signature of the preset.
        objects: how many objects to point out in colour: the most important ones.
        relations: how many relations among these to draw, the most important first.
        names: what every object is called, if that is known.
        chosen: the objects to point out, in place of the most important ones.
        points: where to draw a cross, (x, y) in pixels of ``image``.

    Returns:
        The figure and its axes.

    Raises:
        TypeError: if ``objects`` or ``relations`` is no whole number.
        ValueError: if one of them is negative, or the graph has no masks.
    """
    objects, relations = _count("objects", objects), _count("relations", relations)
    importance = graph.importance.tolist()
    order = sorted(range(len(graph)), key=lambda number: -importance[number])
    colours = _colours(order[:objects] if chosen is None else chosen)
    scene = scene_of(image, graph)
    width = _NARROW if scene.aspect < _WIDE else _WIDTH
    height = float(np.clip(width / scene.aspect, 1.0, 6.0))
    figure = Figure((width, height + 0.75), layout="constrained", dpi=_DPI)
    axes = figure.subplots()
    labels = {number: f"{_called(number, names)} · {importance[number]:.2f}" for number in colours}
    rows, columns = image.shape[-2:]
    shares = [((x + 0.5) / columns, (y + 0.5) / rows) for x, y in points]
    scene = scene.pointing_out(labels, colours, min(width, height * scene.aspect), points=shares)
    draw_scene(axes, scene)
    draw_relations(axes, scene, relations)
    what = "number" if names is None else "number, name"
    axes.set_title(f"{what} · importance;   wider outline: more important", fontsize=7)
    _sign(figure, signature)
    return figure, axes


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format that the extension of ``path`` names; equal figures give equal files.

    Raises:
        ValueError: for an extension other than those of ``FORMATS``.
    """
    extension = Path(path).suffix.lower()
    if extension not in FORMATS:
        raise ValueError(f"`path` must end in one of {', '.join(FORMATS)}, got {path}")
    dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    # Publishers refuse fonts of type 3.
    with rc_context({"svg.hashsalt": "torchmetrics-sess", "pdf.fonttype": 42}):
        figure.savefig(path, dpi=_DPI, metadata=dates.get(extension), format=extension[1:])


def lay_out(figure: Figure) -> None:
    """Let everything in a figure stay where it is now: to find that out takes longer than to write the figure."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def _count(name: str, value: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be a whole number, got {value!r}") from None
    if count < 0:
        raise ValueError(f"`{name}` must be at least 0, got {count}")
    return count


def _called(number: int, names: Sequence[str] | None) -> str:
    return f"{number}" if names is None else f"{number} {names[number]}"


def _colours(numbers: Sequence[int]) -> dict[int, str]:
    """Colour objects by their number, as far as there are colours, so that they keep theirs in other pictures."""
    colours: dict[int, str] = {}
    for number in sorted(numbers):
        free = [colour for colour in _COLOURS if colour not in colours.values()] or list(_COLOURS)
        first = _COLOURS[number % len(_COLOURS)]
        colours[number] = first if first in free else free[0]
    return {number: colours[number] for number in numbers}


def _fate(explanation: Explanation, number: int, partner: int | None) -> str:
    """Say what becomes of an object of target, for its label."""
    if explanation.grouping is None:
        return "" if partner is None else f" · {explanation.match.similarity[partner, number]:.2f}"
    kept = float(explanation.target_kept[number])
    return " · lost" if kept < LOST else " · kept" if kept >= KEPT else f" · {100 * kept:.0f} %"


def _order(contributions: NDArray[np.float64], importance: NDArray[Any]) -> NDArray[np.int64]:
    """Sort objects by contribution, most first, and by importance where that tells nothing."""
    order: NDArray[np.int64] = np.lexsort((-importance, -contributions.round(4)))
    return order


def _canvas(target: Scene, preds: Scene, lines: int) -> _Canvas:
    """Lay out two images side by side or, if they are very wide, one above the other; and text and bars beneath."""
    beneath = 2.5 + _LINE * lines
    if min(target.aspect, preds.aspect) > _WIDE:
        heights = [float(np.clip(_WIDTH / scene.aspect, 0.8, 2.6)) for scene in (target, preds)]
        figure = Figure((_WIDTH, sum(heights) + beneath + 0.2), layout="constrained", dpi=_DPI)
        upper, lower, bars = figure.subplots(3, 1, height_ratios=(*heights, 1.2))
        return _Canvas(figure, upper, lower, bars, _WIDTH, _WIDTH)
    # Neither image gets less than a fourth of the width.
    share = float(np.clip(target.aspect / (target.aspect + preds.aspect), 0.25, 0.75))
    widths = _WIDTH * share, _WIDTH * (1 - share)
    height = float(np.clip(max(widths[0] / target.aspect, widths[1] / preds.aspect), 0.8, 3.6))
    figure = Figure((_WIDTH, height + beneath), layout="constrained", dpi=_DPI)
    grid = figure.add_gridspec(2, 2, height_ratios=(height, 1.2), width_ratios=widths)
    left, right = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    left.set_anchor("E")
    right.set_anchor("W")
    inches = [min(width, height * scene.aspect) for width, scene in zip(widths, (target, preds), strict=True)]
    return _Canvas(figure, left, right, figure.add_subplot(grid[1, :]), *inches)


def _join(canvas: _Canvas, start: NDArray[np.float64], end: NDArray[np.float64], colour: str, width: float) -> None:
    line = ConnectionPatch(
        tuple(start),
        tuple(end),
        "data",
        "data",
        axesA=canvas.target,
        axesB=canvas.preds,
        color=colour,
        linewidth=width,
        zorder=5,
        path_effects=[withStroke(linewidth=width + 0.8, foreground="black")],
    )
    line.set_in_layout(False)
    canvas.figure.add_artist(line)


def _draw_contributions(
    axes: Axes, explanation: Explanation, order: NDArray[np.int64], colours: dict[int, str], note: str
) -> None:
    """Draw what the loss of every object takes off the score as a bar, and write its share of the score beneath."""
    lost, weights = explanation.target_contributions.numpy(), explanation.target_weights.numpy()
    extra = explanation.preds_weights.sum().item()
    bars = [_Bar(f"{j}", lost[j], weights[j], colours.get(j, _GREY)) for j in order[:_BARS].tolist()]
    rest = order[_BARS:]
    if len(rest) > 0:
        bars.append(_Bar(f"{len(rest)}\nmore", lost[rest].sum(), weights[rest].sum()))
    if extra > 0:
        bars.append(_Bar("only in\npreds", explanation.preds_contributions.sum().item(), extra))
    if explanation.whole_image_weight > 0:
        bars.append(_Bar("whole\nimage", explanation.image_contribution, explanation.whole_image_weight))

    places = range(len(bars))
    highest = max(_LEAST_HEIGHT, *(bar.lost for bar in bars))
    axes.bar(places, [bar.lost for bar in bars], color=[bar.colour for bar in bars], width=0.8)
    for place, bar in zip(places, bars, strict=True):
        costs = f"{bar.lost:.3f}".replace("-0.000", "0.000")
        axes.text(place, max(bar.lost, 0) + 0.02 * highest, costs, fontsize=6.5, ha="center", va="bottom")
    axes.set_xticks(places, [f"{bar.name}\n{100 * bar.weight:.0f} %" for bar in bars], fontsize=6.5)
    axes.set_xlim(-0.6, max(len(bars), 8) - 0.4)
    axes.set_ylim(0, 1.15 * highest)
    axes.set_ylabel("taken off the score", fontsize=8)
    unit = "object" if explanation.grouping is not None else "piece"
    axes.set_xlabel(f"{unit} of the original, and how much of the score rests on it\n{note}", fontsize=7.5)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _sign(figure: Figure, signature: str) -> None:
    # Broken where a setting ends, not within one.
    lines = textwrap.fill(signature.replace("|", "| ").replace(",", ", "), int(25 * figure.get_figwidth()))
    figure.supxlabel(lines.replace("| ", "|").replace(", ", ","), fontsize=4.5, alpha=0.7, parse_math=False)
