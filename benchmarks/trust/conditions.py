"""The conditions in which people named objects (Geirhos et al., NeurIPS 2018), made from any photograph."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.ndimage import gaussian_filter

SIDE = 224
TABLE = Path(__file__).with_name("recognition.csv")


class Condition(NamedTuple):
    """One kind and degree of damage, and how many people saw through it.

    Args:
        kind: of damage.
        name: of its degree.
        accuracy: share of objects that people named, of 16 kinds: chance is 1/16.
    """

    kind: str
    name: str
    accuracy: float


def load_conditions(table: Path = TABLE) -> list[Condition]:
    """Return what people recognised, by condition."""
    with table.open(newline="") as file:
        return [Condition(row["kind"], row["condition"], float(row["accuracy"])) for row in csv.DictReader(file)]


def square(image: Image.Image) -> Image.Image:
    """Cut a photograph square, and resize it to what people were shown."""
    return ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.LANCZOS)


def mean_amplitude(images: Sequence[Image.Image]) -> NDArray[np.float64]:
    """Return the mean amplitude spectrum of the grey values of squares."""
    mean: NDArray[np.float64] = np.mean([np.abs(np.fft.fft2(grey(image))) for image in images], axis=0)
    return mean


def grey(image: Image.Image) -> NDArray[np.float64]:
    """Return grey values in [0, 1]."""
    values: NDArray[np.float64] = np.asarray(image) / 255 @ np.array([0.2125, 0.7154, 0.0721])
    return values


def show(image: Image.Image, kind: str, name: str, amplitude: NDArray[np.float64], seed: int = 0) -> Image.Image:
    """Return what people were shown of a square.

    Args:
        image: from :func:`square`.
        kind: of damage.
        name: of its degree.
        amplitude: from :func:`mean_amplitude`, over all photographs.
        seed: of the noise.

    Raises:
        ValueError: for an unknown kind.
    """
    g = grey(image)
    if kind == "colour":
        return image if name == "cr" else _image(g)
    if kind == "contrast":
        contrast = int(name.removeprefix("c")) / 100
        return _image((1 - contrast) / 2 + contrast * g)
    if kind == "low-pass":
        return _image(gaussian_filter(g, float(name), mode="constant", cval=0.4423))
    if kind == "uniform-noise":
        width = float(name)
        return _image((1 - 0.3) / 2 + 0.3 * g + np.random.default_rng(seed).uniform(-width, width, g.shape))
    if kind == "power-equalisation":
        if name == "0":
            return _image(g)
        return _image(np.fft.ifft2(amplitude * np.exp(1j * np.angle(np.fft.fft2(g)))).real)
    if kind == "rotation":
        return _image(np.rot90(g, int(name) // 90))
    raise ValueError(f"`kind` must be one of those in {TABLE.name}, got {kind!r}")


def _image(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray((255 * values).round().clip(0, 255).astype(np.uint8)).convert("RGB")
