"""One image and its scene graph, drawn on matplotlib axes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
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
_NUMBER_SIZE, _PREDICATE_SIZE, _CROSS_SIZE = 5.5, 6.5, 14.0
# Width of a character and height of a line, by the size of the letters.
_CHARACTER, _LINE = 0.65, 1.2
# Where a predicate may stand along its arrow: in the middle, if that is free.
_ALONG = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74)
_BEND = 0.2
_HATCH = "////"


class _Box(NamedTuple):
    """Where something is written: its centre, and half of its width and height, in pixels."""

    x: float
    y: float
    half_width: float
    half_height: float

    def is_free(self, taken: Iterable[_Box]) -> bool:
        return all(
            abs(self.x - other.x) >= self.half_width + other.half_width
            or abs(self.y - other.y) >= self.half_height + other.half_height
            for other in taken
        )


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
        points: where somebody has pointed, (x, y) in pixels.
        taken: where something is written.
        pixels_per_point: how large a typographic point will be.
    """

    graph: SceneGraph
    pixels: NDArray[np.float32]
    outlines: list[Path | None]
    anchors: NDArray[np.float64]
    labels: Mapping[int, str] = dataclasses.field(default_factory=dict)
    colours: Mapping[int, str] = dataclasses.field(default_factory=dict)
    points: Sequence[tuple[float, float]] = ()
    taken: Sequence[_Box] = ()
    pixels_per_point: float = 1.0

    @property
    def aspect(self) -> float:
        """Width by height."""
        height, width = self.pixels.shape[:2]
        return float(width / height)

    def pointing_out(
        self,
        labels: Mapping[int, str],
        colours: Mapping[int, str],
        inches: float,
        *,
        points: Sequence[tuple[float, float]] = (),
        numbered: bool = True,
    ) -> Scene:
        """Return the scene with some objects pointed out, their labels where they cover nothing that is written.

        Args:
            labels: by object, the most important one first.
            colours: by object.
            inches: how wide the image will be.
            points: where somebody has pointed, as shares of width and height.
            numbered: whether the objects that are not pointed out have their numbers written on them.
        """
        height, width = self.pixels.shape[:2]
        pixels_per_point = width / (inches * _POINTS_PER_INCH)
        crosses = [(x * width - 0.5, y * height - 0.5) for x, y in points]
        arm = pixels_per_point * (_CROSS_SIZE / 2 + 1)
        taken = [_Box(x, y, arm, arm) for x, y in crosses]
        numbers = [
            _box(place, f"{number}", _NUMBER_SIZE, pixels_per_point)
            for number, place in enumerate(self.anchors)
            if numbered and number not in labels
        ]
        anchors = self.anchors.copy()
        for number, label in labels.items():
            box = _nearest_free(anchors[number], label, pixels_per_point, (width, height), taken, numbers)
            anchors[number] = box[:2]
            taken.append(box)
        return dataclasses.replace(
            self,
            anchors=anchors,
            labels=labels,
            colours=colours,
            points=crosses,
            taken=[*taken, *numbers],
            pixels_per_point=pixels_per_point,
        )


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
            _write(axes, scene.anchors[number], f"{number}", size=_NUMBER_SIZE)
        elif colour is not None:
            _draw_label(axes, scene.anchors[number], scene.labels[number], colour)
    for point in scene.points:
        _draw_cross(axes, point)


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
    taken = list(scene.taken)
    for _, subject, predicate, obj in sorted(candidates, reverse=True):
        if len(shown) < count and frozenset((subject, obj)) not in shown:
            shown.add(frozenset((subject, obj)))
            taken.append(_draw_arrow(axes, scene, subject, PREDICATES[predicate], obj, taken))


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


def _figure_of(axes: Axes) -> Figure:
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("`axes` must belong to a figure")
    return figure


def _draw_cross(axes: Axes, point: tuple[float, float]) -> None:
    # On the figure, as labels are: nothing covers it, even where no place was left beside it.
    edge = [withStroke(linewidth=4, foreground="black")]
    cross = Line2D(
        *([value] for value in point),
        transform=axes.transData,
        marker="+",
        markersize=_CROSS_SIZE,
        markeredgewidth=2,
        color="white",
        path_effects=edge,
        zorder=20,
    )
    cross.set_in_layout(False)
    _figure_of(axes).add_artist(cross)


def _draw_label(axes: Axes, place: NDArray[np.float64], text: str, colour: str) -> None:
    # On the figure, not on the axes: the lines between axes lie there, and labels go on top of them.
    _figure_of(axes).text(
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


def _box(place: NDArray[np.float64], text: str, size: float, pixels_per_point: float) -> _Box:
    half_width, half_height = len(text) * _CHARACTER * size / 2, _LINE * size / 2
    return _Box(float(place[0]), float(place[1]), pixels_per_point * half_width, pixels_per_point * half_height)


def _nearest_free(
    place: NDArray[np.float64],
    label: str,
    pixels_per_point: float,
    size: tuple[int, int],
    taken: Sequence[_Box],
    numbers: Sequence[_Box],
) -> _Box:
    """Return where a label goes: as near to its place as it covers nothing, and no number if that is not far."""
    width, height = size
    half, step = pixels_per_point * _half_width(label), pixels_per_point * _LABEL_HEIGHT
    # Across only as far as the label still touches its place.
    moves = [(0.5 * across * half, 0.5 * down * step) for across in range(-2, 3) for down in range(-12, 13)]
    boxes = []
    for right, down in sorted(moves, key=lambda move: (math.hypot(*move), move)):
        x, y = float(place[0]) + right, float(place[1]) + down
        x = min(max(x, half), width - half) if width > 2 * half else width / 2
        boxes.append((math.hypot(right, down), _Box(x, y, half, step / 2)))
    free = [(far, box) for far, box in boxes if step / 2 <= box.y <= height - step / 2 and box.is_free(taken)]
    near = [box for far, box in free if far <= step and box.is_free(numbers)]
    return next(iter([*near, *(box for _, box in free)]), boxes[0][1])


def _draw_arrow(axes: Axes, scene: Scene, subject: int, predicate: str, obj: int, taken: Sequence[_Box]) -> _Box:
    """Draw a relation, and return where its predicate stands: where it covers nothing, if there is such a place."""
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
    along = [(1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end for t in _ALONG]
    centred = [_box(place, predicate, _PREDICATE_SIZE, scene.pixels_per_point) for place in along]
    # Beside the arrow, where there is no room on it.
    gap = _PREDICATE_SIZE * scene.pixels_per_point
    shifts = [side * (centred[0].half_width + far * gap) for far in (0.5, 1.5, 2.5) for side in (1, -1)]
    beside = [box._replace(x=box.x + shift) for shift in shifts for box in centred]
    boxes = [*centred, *beside]
    box = next((box for box in boxes if box.is_free(taken)), boxes[0])
    _write(axes, np.array(box[:2]), predicate, size=_PREDICATE_SIZE, style="italic")
    return box


def _reach(label: str, direction: NDArray[np.float64]) -> float:
    """Return how far a label extends from its centre in a direction, in points."""
    length = max(math.hypot(*direction), 1e-9)
    across, down = (max(abs(float(part)) / length, 1e-9) for part in direction)
    return 1.5 + min(_half_width(label) / across, _LABEL_HEIGHT / 2 / down)
