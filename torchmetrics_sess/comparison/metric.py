"""A measure of how alike two images are, applied pair by pair."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from torchmetrics_sess.images import check_pair, prepare_images
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.stages import Image

Compare: TypeAlias = Callable[[list[Image], list[Image]], list[float]]


class IncomparableWarning(UserWarning):
    """A metric has no value for some pair of images."""


class ImageMetric:
    """Compares images pair by pair.

    Args:
        name: what users call it.
        compare: gives the values of pairs of images on the device, float32 in [0, 1].
        device: where it works.
        higher_is_better: whether a greater value means that two images are more alike.
        same_size: whether the images of a pair must have the same size.
        smallest: the least height and width of an image, in pixels.
    """

    def __init__(
        self,
        name: str,
        compare: Compare,
        device: torch.device,
        *,
        higher_is_better: bool = True,
        same_size: bool = False,
        smallest: int = 1,
    ) -> None:
        self.name = name
        self.higher_is_better = higher_is_better
        self.same_size = same_size
        self.smallest = smallest
        self._compare = compare
        self._device = device
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"ImageMetric({self.name!r})"

    def __call__(self, preds: Sequence[Tensor], target: Sequence[Tensor]) -> list[float]:
        """Return the value of every pair, in order.

        Args:
            preds: images ``[3, H, W]`` of any sizes, uint8, or floating point in [0, 1].
            target: as many images.

        Returns:
            A number per pair; NaN, with one warning per metric and reason, where the metric is not defined.

        Raises:
            ValueError: for images of a wrong shape or range, or if there are not as many of each.
            TypeError: for images of a wrong type.
        """
        images = [image.to(self._device) for image in prepare_images(list(preds), "preds")]
        references = [image.to(self._device) for image in prepare_images(list(target), "target")]
        check_pair(images, references)
        pairs = []
        for index, (image, reference) in enumerate(zip(images, references, strict=True)):
            reason = self._why_not(image, reference)
            if reason is None:
                pairs.append(index)
            elif reason not in self._warned:
                self._warned.add(reason)
                warnings.warn(f"{self.name} compares {reason}; other pairs get NaN", IncomparableWarning, stacklevel=2)
        values = [math.nan] * len(images)
        if pairs:
            with full_precision(self._device):
                found = self._compare([images[index] for index in pairs], [references[index] for index in pairs])
            for index, value in zip(pairs, found, strict=True):
                values[index] = value
        return values

    def _why_not(self, image: Image, reference: Image) -> str | None:
        if self.same_size and image.shape != reference.shape:
            return "images of one size"
        if min(*image.shape[1:], *reference.shape[1:]) < self.smallest:
            return f"images of at least {self.smallest} x {self.smallest} pixels"
        return None
