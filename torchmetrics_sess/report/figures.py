"""Pictures of scene graphs and of explanations.

Figures are made without pyplot: they need no display, and leave no state behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.nn import functional

from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.relations.vocabulary import PREDICATES
from torchmetrics_sess.stages import Image

try:
    from contourpy import contour_generator
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.patches import ConnectionPatch, FancyArrowPatch, Patch, PathPatch
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke
except ModuleNotFoundError as error:
    message = "drawing needs matplotlib: install torchmetrics-sess[plot]"
    raise ModuleNotFoundError(message, name=error.name) from error

if TYPE_CHECKING:
    from torchmetrics_sess.explanation import Explanation

# Okabe and Ito (2008): told apart by readers with any kind of colour vision.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#F0E442", "#CC79A7", "#56B4E9", "#E69F00")
GREY = "#9A9A9A"
FORMATS = (".png", ".pdf", ".svg")

_WIDTH = 10.0
_PIXELS = 800
_ANCHOR_PIXELS = 192
_BARS = 16
_HATCH = "////"


@dataclass(frozen=True, eq=False)
class _Scene:
    """What is drawn of one image: its pixels and masks at the size they are shown, and where each object's number goes.

    An object whose mask is empty is drawn as its number alone, at its centre.
    """

    pixels: NDArray[np.float32]
    outlines: list[Path | None]
    anchors: NDArray[np.float64]
    graph: SceneGraph


def plot_explanation(explanation: Explanation, *, objects: int = 6, relations: int = 4) -> tuple[Figure, list[Axes]]:
    """Draw both images with their objects, how these match, and what each contributes to the loss.

    Args:
        explanation: what to draw.
        objects: how many objects to point out in colour: those that contribute most.
        relations: how many relations among these to draw in each image, the most important first.

    Returns:
        The figure and its axes: target, preds, contributions.
    """
    target = _scene(explanation.target_image, explanation.target)
    preds = _scene(explanation.preds_image, explanation.preds)
    plan, similarity = explanation.match.plan.numpy(), explanation.match.similarity.numpy()
    lost = _lost(explanation)

    order = _order(explanation.target_contributions.numpy(), explanation.target.importance.numpy())
    chosen = dict(zip(order[:objects].tolist(), cycle(COLOURS), strict=False))
    partner = {j: int(plan[:, j].argmax()) for j in range(len(target.graph)) if plan[:, j].any()}
    partner_colours = {partner[j]: colour for j, colour in reversed(chosen.items()) if j in partner}

    figure, left, right, bars = _canvas(target.pixels, preds.pixels)
    kept = {j: f"{similarity[partner[j], j]:.2f}" for j in chosen if j in partner}
    _draw_scene(left, target, chosen, hatched=lost[1], notes=kept)
    _draw_scene(right, preds, partner_colours, hatched=lost[0], notes={})
    _draw_relations(left, target, chosen, relations)
    _draw_relations(right, preds, partner_colours, relations)
    heaviest = plan.max()
    for j, colour in chosen.items():
        if j in partner:
            width = 0.8 + 3.2 * plan[partner[j], j] / heaviest
            _join(figure, (left, target.anchors[j]), (right, preds.anchors[partner[j]]), colour, width)
    _draw_contributions(bars, explanation, order, chosen)

    left.set_title("target", fontsize=10)
    right.set_title("preds", fontsize=10)
    figure.suptitle(
        f"SeSS {explanation.score:.3f}: a loss of {abs(explanation.loss):.3f}, and where it comes from", fontsize=12
    )
    figure.supxlabel(explanation.signature, fontsize=4.5, color="#666666", parse_math=False)
    return figure, [left, right, bars]


def plot_scene_graph(image: Image, graph: SceneGraph, *, objects: int = 7, relations: int = 8) -> tuple[Figure, Axes]:
    """Draw an image with its objects, how much each matters, and how they relate.

    Args:
        image: what ``graph`` was extracted from, ``[3, H, W]`` in [0, 1].
        graph: with masks.
        objects: how many objects to point out in colour: the most important ones.
        relations: how many relations among these to draw, the most important first.

    Returns:
        The figure and its axes.
    """
    scene = _scene(image, graph)
    order = np.argsort(-graph.importance.numpy(), kind="stable")
    chosen = dict(zip(order[:objects].tolist(), cycle(COLOURS), strict=False))
    height, width = scene.pixels.shape[:2]
    figure = Figure((7.0, float(np.clip(7.0 * height / width, 2.0, 9.0)) + 0.4), layout="constrained")
    axes = figure.subplots()
    _draw_scene(axes, scene, chosen, hatched=set(), notes={j: f"{graph.importance[j]:.2f}" for j in chosen})
    _draw_relations(axes, scene, chosen, relations)
    return figure, axes


def save_figure(figure: Figure, path: str | FilePath) -> None:
    """Write a figure in the format that the extension of ``path`` names; equal figures give equal files.

    Raises:
        ValueError: for an extension other than those of :data:`FORMATS`.
    """
    extension = FilePath(path).suffix.lower()
    if extension not in FORMATS:
        raise ValueError(f"`path` must end in one of {', '.join(FORMATS)}, got {path}")
    dates: dict[str, Any] = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with rc_context({"svg.hashsalt": "torchmetrics-sess"}):
        figure.savefig(path, dpi=150, metadata=dates.get(extension), format=extension[1:])


def _scene(image: Image, graph: SceneGraph) -> _Scene:
    if graph.masks is None:
        raise ValueError("`graph` must have masks to be drawn: extract it with `masks=True`")
    height, width = image.shape[-2:]
    scale = min(1.0, _PIXELS / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    masks = functional.interpolate(graph.masks[None].float(), size, mode="nearest-exact")[0].bool().numpy()
    return _Scene(
        pixels=pixels.permute(1, 2, 0).numpy(),
        outlines=[_outline(mask) for mask in masks],
        anchors=np.array([_anchor(mask, center) for mask, center in zip(masks, graph.centers.numpy(), strict=True)]),
        graph=graph,
    )


def _outline(mask: NDArray[np.bool_]) -> Path | None:
    """Trace the border of a mask, holes included, in pixels."""
    # Objects that touch the border of the image have an outline there too.
    lines: Any = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    if not lines:
        return None
    return Path.make_compound_path(*(Path(line - 1, closed=True) for line in lines))


def _anchor(mask: NDArray[np.bool_], center: NDArray[Any]) -> tuple[float, float]:
    """Return the (x, y) of a pixel well inside a mask: its mean may lie outside."""
    from scipy.ndimage import distance_transform_edt

    height, width = mask.shape
    step = max(1, max(height, width) // _ANCHOR_PIXELS)
    coarse = mask[step // 2 :: step, step // 2 :: step]
    if not coarse.any():
        return float(center[1]) * width, float(center[0]) * height
    depth = distance_transform_edt(np.pad(coarse, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column * step + step // 2), float(row * step + step // 2)


def _order(contributions: NDArray[np.float64], importance: NDArray[Any]) -> NDArray[np.int64]:
    """Sort objects by contribution, most first, and by importance where that tells nothing."""
    return np.lexsort((-importance, -contributions.round(4)))


def _lost(explanation: Explanation) -> tuple[set[int], set[int]]:
    """Return the objects of preds and of target of which less than half is found in the other image."""
    plan, similarity = explanation.match.plan, explanation.match.similarity
    lost = []
    for axis, unmatched in ((1, explanation.match.unmatched_a), (0, explanation.match.unmatched_b)):
        found = (plan * similarity).sum(axis)
        lost.append(set((found < 0.5 * (plan.sum(axis) + unmatched)).nonzero().flatten().tolist()))
    return lost[0], lost[1]


def _canvas(target: NDArray[Any], preds: NDArray[Any]) -> tuple[Figure, Axes, Axes, Axes]:
    aspects = [pixels.shape[1] / pixels.shape[0] for pixels in (target, preds)]
    height = float(np.clip(_WIDTH / sum(aspects), 1.2, 5.5))
    figure = Figure((_WIDTH, height + 2.9), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(height, 1.6), width_ratios=aspects)
    return (
        figure,
        figure.add_subplot(grid[0, 0]),
        figure.add_subplot(grid[0, 1]),
        figure.add_subplot(grid[1, :]),
    )


def _draw_scene(
    axes: Axes, scene: _Scene, colours: Mapping[int, str], *, hatched: Iterable[int], notes: Mapping[int, str]
) -> None:
    axes.imshow(scene.pixels, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for number, outline in enumerate(scene.outlines):
        colour = colours.get(number)
        if outline is not None:
            hatch = _HATCH if number in hatched and colour else None
            if colour:
                axes.add_patch(PathPatch(outline, facecolor=(*to_rgb(colour), 0.15), edgecolor="none", zorder=2))
            axes.add_patch(
                PathPatch(
                    outline,
                    facecolor="none",
                    edgecolor=colour or "white",
                    linewidth=1.8 if colour else 0.5,
                    alpha=1.0 if colour else 0.7,
                    hatch=hatch,
                    zorder=3 if colour else 2,
                    path_effects=[withStroke(linewidth=2.8 if colour else 1.0, foreground="black")]
                    if hatch is None
                    else None,
                )
            )
        x, y = scene.anchors[number]
        if colour:
            note = notes.get(number)
            _label(axes, x, y, f"{number} · {note}" if note else f"{number}", colour)
        else:
            axes.text(
                x,
                y,
                f"{number}",
                fontsize=5.5,
                color="white",
                ha="center",
                va="center",
                zorder=4,
                path_effects=[withStroke(linewidth=1.2, foreground="black")],
            )


def _label(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.2", "facecolor": colour, "edgecolor": "black", "linewidth": 0.5}
    axes.text(x, y, text, fontsize=8, color=_readable_on(colour), ha="center", va="center", zorder=9, bbox=box)


def _readable_on(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "white"


def _draw_relations(axes: Axes, scene: _Scene, among: Mapping[int, str], count: int) -> None:
    graph = scene.graph
    triplets = [
        (graph.confidence[s, o].item() * (graph.importance[s] + graph.importance[o]).item(), s, predicate, o)
        for s, predicate, o in graph.triplets()
        if s in among and o in among
    ]
    shown: set[frozenset[int]] = set()
    for _, subject, predicate, obj in sorted(triplets, reverse=True):
        if len(shown) == count:
            break
        # Of two objects that relate both ways, one arrow is enough.
        if frozenset((subject, obj)) in shown:
            continue
        shown.add(frozenset((subject, obj)))
        start, end = scene.anchors[subject], scene.anchors[obj]
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                connectionstyle="arc3,rad=0.2",
                arrowstyle="-|>",
                mutation_scale=9,
                color="white",
                linewidth=1.2,
                shrinkA=12,
                shrinkB=12,
                zorder=6,
                path_effects=[withStroke(linewidth=2.6, foreground="black")],
            )
        )
        dx, dy = end - start
        middle = (start + end) / 2 + 0.1 * np.array([dy, -dx])
        axes.text(
            *middle,
            PREDICATES[predicate],
            fontsize=6.5,
            style="italic",
            color="white",
            ha="center",
            va="center",
            zorder=7,
            path_effects=[withStroke(linewidth=1.8, foreground="black")],
        )


def _join(
    figure: Figure,
    start: tuple[Axes, NDArray[np.float64]],
    end: tuple[Axes, NDArray[np.float64]],
    colour: str,
    width: float,
) -> None:
    (axes_a, a), (axes_b, b) = start, end
    line = ConnectionPatch(
        tuple(a),
        tuple(b),
        "data",
        "data",
        axesA=axes_a,
        axesB=axes_b,
        color=colour,
        linewidth=width,
        alpha=0.85,
        path_effects=[withStroke(linewidth=width + 1, foreground="black", alpha=0.5)],
    )
    line.set_in_layout(False)
    figure.add_artist(line)


def _draw_contributions(
    axes: Axes, explanation: Explanation, order: Sequence[int] | NDArray[np.int64], colours: Mapping[int, str]
) -> None:
    target = explanation.target_contributions.numpy()
    extra = explanation.preds_contributions.numpy()
    bars = [(f"{j}", target[j], colours.get(int(j), GREY)) for j in order[:_BARS]]
    if len(order) > _BARS:
        bars.append((f"{len(order) - _BARS} others", target[order[_BARS:]].sum(), GREY))
    if extra.any():
        bars.append(("only in\npreds", extra.sum(), GREY))
    bars.append(("whole\nimage", explanation.image_contribution, "#4D4D4D"))
    positions = np.arange(len(bars))
    heights = np.array([height for _, height, _ in bars])
    drawn = axes.bar(
        positions, heights, color=[colour for *_, colour in bars], edgecolor="black", linewidth=0.5, width=0.8
    )
    axes.bar_label(drawn, [f"{abs(height):.3f}" for height in heights], fontsize=6.5, padding=1)
    axes.set_xticks(positions, [label for label, *_ in bars], fontsize=7.5)
    axes.set_ylabel("lost by it", fontsize=8)
    axes.set_xlabel("object of target", fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(-0.6, len(bars) - 0.4)
    axes.set_ylim(0, max(1.18 * heights.max(), 0.01))
    axes.spines[["top", "right"]].set_visible(False)
