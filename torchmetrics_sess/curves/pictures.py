"""What a rate looks like: an original, what each codec makes of it at that rate, and what of its meaning is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.curves.curve import AXES, Curve, title_of
from torchmetrics_sess.explanation import Explanation, explain_pairs
from torchmetrics_sess.images import read_image
from torchmetrics_sess.results import Row
from torchmetrics_sess.scoring import Scorer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Pixels on the longer side of a picture.
_SHOWN = 512
# Of what is lost, this much on an area as large as the image is drawn in full colour.
_FULL = 0.5


@dataclass(frozen=True)
class Look:
    """A codec at the point that is nearest to a rate.

    Args:
        codec: its name.
        point: the point.
        rate: where the image lies.
        values: what metrics say of it.
    """

    codec: str
    point: str
    rate: float
    values: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Comparison:
    """An original beside what several codecs make of it at about the same rate.

    Args:
        name: of the original.
        axis: what the rates are.
        original: its pixels, ``[h, w, 3]`` uint8.
        looks: the codecs.
        pictures: their reconstructions, as many.
        lost: where meaning is lost, ``[h, w]`` each, as a share of the score per area of the image.
    """

    name: str
    axis: str
    original: np.ndarray
    looks: Sequence[Look]
    pictures: Sequence[np.ndarray]
    lost: Sequence[np.ndarray]


def choose(curves: Sequence[Curve], rate: float | None, count: int) -> dict[str, list[Look]]:
    """Choose images to show, and for each the point of every curve where it comes nearest to a rate.

    Args:
        curves: with images, the same ones.
        rate: what to come near to; by default, the lowest rate that all curves reach.
        count: how many images: the one that loses most at that rate, the one that loses as much as half of the others
            do, and those evenly between.

    Returns:
        The looks of every image, by its name.
    """
    if not curves or count == 0:
        return {}
    logarithmic = AXES[curves[0].axis].logarithmic
    target = max(float(curve.rates[0]) for curve in curves) if rate is None else rate
    looks: dict[str, list[Look]] = {}
    for index, name in enumerate(curves[0].images):
        for curve in curves:
            x = curve.x[:, index]
            distance = np.abs(np.log(x / target)) if logarithmic else np.abs(x - target)
            place = int(distance.argmin())
            values = {metric: float(column[place, index]) for metric, column in curve.metrics.items()}
            looks.setdefault(name, []).append(Look(curve.name, curve.points[place], float(x[place]), values))
    order = sorted(looks, key=lambda name: sum(look.values["sess"] for look in looks[name]))
    places = np.linspace(0, (len(order) - 1) / 2, min(count, (len(order) + 1) // 2)).round().astype(int)
    return {order[place]: looks[order[place]] for place in places.tolist()}


def compare(name: str, looks: Sequence[Look], rows: Sequence[Row], scorer: Scorer, device: torch.device) -> Comparison:
    """Look at an image, and at what codecs make of it.

    Args:
        name: of the original.
        looks: which points of which codecs.
        rows: all pairs, where the files are named.
        scorer: explains what is lost.
        device: where its networks work.

    Raises:
        ValueError: if a file cannot be read any more.
    """
    files = {(*Path(row.pair.recon_folder).parts[-2:], row.pair.name): row.pair for row in rows}
    pairs = [files[look.codec, look.point, name] for look in looks]
    axis = next(axis for axis in AXES if any(axis in row.metrics for row in rows))
    original, recons = read_image(pairs[0].origin), [read_image(pair.recon) for pair in pairs]
    explained = explain_pairs(scorer, recons, original, device)
    lost = [_shrunk(lost_density(each)[None].float())[0].numpy() for each in explained]
    return Comparison(name, axis, _pixels(original), looks, list(map(_pixels, recons)), lost)


def lost_density(explanation: Explanation) -> Tensor:
    """Return where in the original meaning is lost, ``[h, w]``: the share of the score, per area of the image.

    Its mean is what the objects of the original contribute to the loss.
    """
    masks = explanation.target.masks
    if masks is None:
        raise ValueError("the explanation must have masks")
    weights = masks.double().flatten(1)
    share = explanation.target_contributions / weights.sum(1).clamp_min(1e-9)
    density: Tensor = (share @ weights).reshape(masks.shape[1:]) * masks[0].numel()
    return density


def plot_comparison(comparison: Comparison, *, dark: bool = False) -> Figure:
    """Draw a comparison, 7 inches wide: a column for every codec, the reconstruction above what is lost.

    Args:
        comparison: what to draw.
        dark: whether for a dark ground.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    ground, text = ("#14171C", "#E6E9EE") if dark else ("#FFFFFF", "#1A1F28")
    style: dict[Any, Any] = {
        "figure.facecolor": ground,
        "savefig.facecolor": ground,
        "text.color": text,
        "font.size": 7,
    }
    columns = 1 + len(comparison.looks)
    height, width = comparison.original.shape[:2]
    with rc_context({**style, "font.size": 7, "text.parse_math": False}):
        figure = Figure((7.0, 2 * 7.0 / columns * height / width + 0.5), layout="constrained")
        panels = figure.subplots(2, columns, squeeze=False)
        for axes in panels.flatten():
            axes.set_axis_off()
        panels[0, 0].imshow(comparison.original)
        panels[0, 0].set_title(f"original\n{_short(comparison.name)}", fontsize=7, color=text)
        for column, (look, picture, lost) in enumerate(
            zip(comparison.looks, comparison.pictures, comparison.lost, strict=True), 1
        ):
            panels[0, column].imshow(picture)
            panels[0, column].set_title(_caption(look, comparison.axis), fontsize=7, color=text)
            panels[1, column].imshow(overlay(comparison.original, lost))
        panels[1, 0].text(
            0.5, 0.5, "what of the\noriginal's meaning\nis lost, in red", ha="center", va="center", fontsize=7
        )
    return figure


def overlay(original: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Lay what is lost over an original in grey, in red; ``[h, w, 3]`` in [0, 1]."""
    grey = (original.astype(np.float64) @ [0.299, 0.587, 0.114])[..., None] / 255
    pale = np.repeat(0.35 + 0.6 * grey, 3, axis=2)
    share = np.clip(lost / _FULL, 0, 1)[..., None] ** 0.6
    return np.asarray(pale * (1 - 0.85 * share) + np.array([0.84, 0.1, 0.05]) * 0.85 * share)


def rate_of(look: Look, axis: str) -> str:
    """Say at which point a look is, and where that lies."""
    return f"{look.point}: {look.rate:.3g} {AXES[axis].unit}"


def values_of(look: Look) -> str:
    """Say what SeSS and the first other metric make of a look."""
    values = [f"SeSS {look.values['sess']:.3f}"]
    values += [f"{title_of(name)} {value:.3g}" for name, value in look.values.items() if name != "sess"][:1]
    return ", ".join(values)


def _caption(look: Look, axis: str) -> str:
    return f"{_short(look.codec)} {rate_of(look, axis)}\n{values_of(look)}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"


def _pixels(image: Tensor) -> np.ndarray:
    shrunk = _shrunk(image.float() / 255)
    return (255 * shrunk.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()


def _shrunk(image: Tensor) -> Tensor:
    scale = min(1.0, _SHOWN / max(image.shape[1:]))
    size = [max(1, round(side * scale)) for side in image.shape[1:]]
    return functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
