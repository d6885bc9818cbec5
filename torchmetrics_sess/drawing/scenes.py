"""One image and its scene graph, drawn on matplotlib axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.relations.vocabulary import PREDICATES
from torchmetrics_sess.stages import Image

try:
    from contourpy import contour_generator
    from matplotlib.axes import Axes
    from matplotlib.colors import to_rgb
    from matplotlib.patches import FancyArrowPatch, PathPatch
    from matplotlib.path import Path
    from matplotlib.patheffects import withStroke
except ModuleNotFoundError as error:
    message = "drawing needs matplotlib: install torchmetrics-sess[plot]"
    raise ModuleNotFoundError(message, name=error.name) from error

# Pixels on the longer side of an image that is shown: at most, and at least, because masks of few have no shape.
_MOST, _FEWEST = 800, 256
_ANCHOR_PIXELS = 192
_POINTS_PER_INCH = 72
_LABEL_SIZE, _LABEL_HEIGHT, _CHARACTER_WIDTH = 8.0, 13.0, 5.2
_BEND = 0.2
_HATCH = "////"


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn of one image, at the size that it is shown in.

    Args:
        graph: the scene graph.
        pixels: of the image, ``[h, w, 3]``.
        outlines: of every object; None where its mask is empty, so that only its number is drawn.
        anchors: where the number of every object goes, (x, y) in pixels, ``[n, 2]``.
        labels: what stands at the anchor of the objects that are pointed out.
        colours: of these objects.
    """

    graph: SceneGraph
    pixels: NDArray[np.float32]
    outlines: list[Path | None]
    anchors: NDArray[np.float64]
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    colours: Mapping[int, str] = dataclasses.field(default_factory=dict)

    @property
    def aspect(self) -> float:
        """Width by height."""
        height, width = self.pixels.shape[:2]
        return float(width / height)

    def pointing_out(self, labels: Mapping[int, str], colours: Mapping[int, str], inches: float) -> Scene:
        """Return the scene with some objects pointed out, their labels side by side where they would overlap.

        Args:
            labels: by object, the most important one first.
            colours: by object.
            inches: how wide the image will be.
        """
        height, width = self.pixels.shape[:2]
        pixels_per_point = width / (inches * _POINTS_PER_INCH)
        anchors = self.anchors.copy()
        taken: list[tuple[float, float, float]] = []
        for number, label in labels.items():
            half = pixels_per_point * _half_width(label)
            step = pixels_per_point * _LABEL_HEIGHT
            x, y = anchors[number]
            x = min(max(x, half), width - half) if width > 2 * half else width / 2
            # Above, below, farther above, ...: the nearest place that is free and in the picture, if there is any.
            places = [y + step * shift / 2 for shift in sorted(range(-12, 13), key=abs)]
            free = [
                place
                for place in places
                if step / 2 <= place <= height - step / 2
                and all(abs(x - a) >= half + w or abs(place - b) >= step for a, b, w in taken)
            ]
            anchors[number] = x, free[0] if free else y
            taken.append((*anchors[number], half))
        return dataclasses.replace(self, anchors=anchors, labels=labels, colours=colours)


def scene_of(image: Image, graph: SceneGraph) -> Scene:
    """Bring an image and its scene graph to the size that they are shown in.

    Raises:
        ValueError: if the graph has no masks.
    """
    if graph.masks is None:
        raise ValueError("`graph` must have masks to be drawn: extract it with `masks=True`")
    longer = max(image.shape[-2:])
    scale = min(max(longer, _FEWEST), _MOST) / longer
    height, width = (max(1, round(side * scale)) for side in image.shape[-2:])
    how: dict[str, Any] = {"mode": "nearest-exact"} if scale > 1 else {"mode": "bilinear", "antialias": True}
    pixels = functional.interpolate(image[None], (height, width), **how)[0].clamp(0, 1)
    masks = _resize_masks(graph.masks, height, width)
    return Scene(
        graph=graph,
        pixels=pixels.permute(1, 2, 0).numpy(),
        outlines=[_outline(mask) for mask in masks],
        anchors=np.array([_anchor(mask, center) for mask, center in zip(masks, graph.centers.tolist(), strict=True)]),
    )


def draw_scene(axes: Axes, scene: Scene, *, hatched: Collection[int] = (), numbered: bool = True) -> None:
    """Draw an image and its objects: outlined, the wider the more important, and numbered.

    Args:
        axes: where to draw.
        scene: what to draw.
        hatched: the objects to be hatched.
        numbered: whether those that are not pointed out have their number written on them too.
    """
    axes.imshow(scene.pixels, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    importance = (scene.graph.importance / scene.graph.importance.max()).tolist()
    for number, outline in enumerate(scene.outlines):
        colour = scene.colours.get(number)
        if outline is not None:
            _draw_outline(axes, outline, colour, importance[number], hatched=number in hatched)
        if colour is None and numbered:
            _write(axes, scene.anchors[number], f"{number}", size=5.5)
        elif colour is not None:
            _draw_label(axes, scene.anchors[number], scene.labels[number], colour)


def draw_relations(axes: Axes, scene: Scene, count: int) -> None:
    """Draw how the objects that are pointed out relate: the ``count`` relations that weigh most.

    A relation weighs its confidence times the importance of both objects. Of two objects that relate both ways, one
    arrow is enough.
    """
    graph = scene.graph
    importance, confidence = graph.importance.tolist(), graph.confidence.tolist()
    candidates = [
        (confidence[subject][obj] * (importance[subject] + importance[obj]), subject, predicate, obj)
        for subject, predicate, obj in graph.triplets()
        if subject in scene.labels and obj in scene.labels
    ]
    shown: set[frozenset[int]] = set()
    for _, subject, predicate, obj in sorted(candidates, reverse=True):
        if len(shown) < count and frozenset((subject, obj)) not in shown:
            shown.add(frozenset((subject, obj)))
            _draw_arrow(axes, scene, subject, PREDICATES[predicate], obj)


def _resize_masks(masks: Tensor, height: int, width: int) -> NDArray[np.bool_]:
    rows, columns = (
        ((np.arange(size) + 0.5) * full / size).astype(np.int64)
        for size, full in zip((height, width), masks.shape[1:], strict=True)
    )
    resized: NDArray[np.bool_] = masks.numpy()[:, rows[:, None], columns]
    return resized


def _outline(mask: NDArray[np.bool_]) -> Path | None:
    """Trace the border of a mask, holes included, in pixels."""
    # Objects that touch the border of the image have an outline there too.
    lines: Any = contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    if not lines:
        return None
    return Path.make_compound_path(*(Path(line - 1, closed=True) for line in lines))


def _anchor(mask: NDArray[np.bool_], center: tuple[float, float] | list[float]) -> tuple[float, float]:
    """Return the (x, y) of the pixel farthest inside a mask: its mean may lie outside."""
    from scipy.ndimage import distance_transform_edt

    height, width = mask.shape
    step = max(1, max(height, width) // _ANCHOR_PIXELS)
    coarse = mask[step // 2 :: step, step // 2 :: step]
    if not coarse.any():
        return center[1] * width - 0.5, center[0] * height - 0.5
    depth = distance_transform_edt(np.pad(coarse, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column * step + step // 2), float(row * step + step // 2)


def _draw_outline(axes: Axes, outline: Path, colour: str | None, importance: float, *, hatched: bool) -> None:
    width = 1.0 + 1.6 * importance if colour else 0.5
    fill = (*to_rgb(colour), 0.15) if colour else "none"
    edge = colour or (1.0, 1.0, 1.0, 0.7)
    if hatched:
        # Drawn by itself, because a halo would widen its lines too.
        faint = (1.0, 1.0, 1.0, 0.6 if colour else 0.35)
        axes.add_patch(PathPatch(outline, facecolor="none", edgecolor=faint, linewidth=0, hatch=_HATCH, zorder=4))
    halo = [withStroke(linewidth=width + (1.0 if colour else 0.5), foreground="black")]
    axes.add_patch(
        PathPatch(
            outline, facecolor=fill, edgecolor=edge, linewidth=width, path_effects=halo, zorder=3 if colour else 2
        )
    )


def _write(axes: Axes, place: NDArray[np.float64], text: str, *, size: float, style: str = "normal") -> None:
    halo = [withStroke(linewidth=1.6, foreground="black")]
    axes.text(
        float(place[0]),
        float(place[1]),
        text,
        fontsize=size,
        style=style,
        color="white",
        ha="center",
        va="center",
        zorder=7,
        clip_on=True,
        path_effects=halo,
    )


def _draw_label(axes: Axes, place: NDArray[np.float64], text: str, colour: str) -> None:
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("`axes` must belong to a figure")
    # On the figure, not on the axes: the lines between axes lie there, and labels go on top of them.
    figure.text(
        float(place[0]),
        float(place[1]),
        text,
        transform=axes.transData,
        fontsize=_LABEL_SIZE,
        color=_readable_on(colour),
        ha="center",
        va="center",
        zorder=9,
        in_layout=False,
        bbox={"boxstyle": "round,pad=0.2", "facecolor": colour, "edgecolor": "black", "linewidth": 0.5},
    )


def _readable_on(colour: str) -> str:
    red, green, blue = to_rgb(colour)
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.45 else "white"


def _half_width(label: str) -> float:
    return (_CHARACTER_WIDTH * len(label) + 4) / 2


def _draw_arrow(axes: Axes, scene: Scene, subject: int, predicate: str, obj: int) -> None:
    start, end = scene.anchors[subject], scene.anchors[obj]
    # Where rows count downwards, an arc bends to the other side.
    sideways = _BEND * np.array([start[1] - end[1], end[0] - start[0]])
    control = (start + end) / 2 + sideways
    axes.add_patch(
        FancyArrowPatch(
            tuple(start),
            tuple(end),
            connectionstyle=f"arc3,rad={_BEND}",
            arrowstyle="-|>",
            mutation_scale=9,
            color="white",
            linewidth=1.1,
            shrinkA=_reach(scene.labels[subject], control - start),
            shrinkB=_reach(scene.labels[obj], control - end),
            zorder=6,
            path_effects=[withStroke(linewidth=2.4, foreground="black")],
        )
    )
    _write(axes, (start + end) / 2 + sideways / 2, predicate, size=6.5, style="italic")


def _reach(label: str, direction: NDArray[np.float64]) -> float:
    """Return how far a label extends from its centre in a direction, in points."""
    length = max(math.hypot(*direction), 1e-9)
    across, down = (max(abs(float(part)) / length, 1e-9) for part in direction)
    return 1.5 + min(_half_width(label) / across, _LABEL_HEIGHT / 2 / down)
