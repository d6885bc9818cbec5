"""Crops of one image, resized and normalised on the device as torchvision does to a PIL image on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from torchmetrics_sess.geometry import mask_boxes
from torchmetrics_sess.stages import Image

# Steps that make a PIL image RGB, or a tensor, as releases of open_clip name them: images here are both already.
_CONVERSIONS = ("MaybeConvertMode", "_convert_to_rgb", "MaybeToTensor", "ToTensor")


def bounding_boxes(masks: Bool[Tensor, "*batch h w"]) -> Int64[Tensor, "*batch 4"]:
    """Return (top, left, bottom, right) of every mask; bottom and right are one past its last pixel.

    An empty mask gives the box of the whole image.

    Examples:
        >>> import torch
        >>> mask = torch.zeros(5, 5, dtype=torch.bool)
        >>> mask[1, 2] = mask[3, 3] = True
        >>> bounding_boxes(mask).tolist()
        [1, 2, 4, 4]
    """
    top, left, bottom, right = mask_boxes(masks).unbind(-1)
    height, width = masks.shape[-2:]
    empty = bottom == 0
    return torch.stack([top, left, bottom + empty * height, right + empty * width], -1)


@dataclass(frozen=True)
class CropTransform:
    """Resize, centre crop and normalise many crops of an image at once.

    PIL resizes in two passes over 8-bit pixels, first along the rows, then along the columns. Each pass is a product
    with the filter's weights. As these are taken over the whole image, and are zero outside the crop, crops of any
    sizes go through together; and only what the centre crop keeps is ever computed.

    Results are those of PIL to one of 256 levels. Pillow 13 begins with the columns where a crop is tall, which changes
    a few levels there; the order here is always that of the releases before, so that no score depends on Pillow.

    Args:
        resize: what the short side becomes, or (height, width) where the aspect is not kept.
        size: (height, width) of the centre crop.
        interpolation: ``"bicubic"`` or ``"bilinear"``, antialiased.
        mean: per channel, subtracted from pixels in [0, 1].
        std: per channel, divided by.

    Raises:
        ValueError: if the centre crop is larger than what it is taken from, or the interpolation is another one.

    Examples:
        >>> import torch
        >>> transform = CropTransform(8, (8, 8), "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        >>> transform(torch.rand(3, 20, 30), torch.tensor([[0, 0, 20, 30], [4, 4, 5, 25]])).shape
        torch.Size([2, 3, 8, 8])
    """

    resize: int | tuple[int, int]
    size: tuple[int, int]
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        height, width = (self.resize, self.resize) if isinstance(self.resize, int) else self.resize
        if self.size[0] > height or self.size[1] > width:
            raise ValueError(f"`size` {self.size} of the centre crop must fit into `resize` {(height, width)}")
        if self.interpolation not in _FILTERS:
            raise ValueError(f"`interpolation` must be one of {sorted(_FILTERS)}, got {self.interpolation!r}")

    @classmethod
    def from_torchvision(cls, transform: Any) -> CropTransform:
        """Read the settings off a torchvision transform such as open_clip's ``preprocess``.

        Args:
            transform: a ``Compose`` of ``Resize``, ``CenterCrop`` (which may be absent) and ``Normalize``, with the
                usual conversions to RGB and to a tensor.

        Raises:
            ValueError: if it has another step, or a setting that is not supported.
        """
        steps = {getattr(step, "__name__", type(step).__name__): step for step in getattr(transform, "transforms", ())}
        if not {"Resize", "Normalize"} <= steps.keys() <= {"Resize", "CenterCrop", "Normalize", *_CONVERSIONS}:
            raise ValueError(f"`preprocess` must be a Compose of Resize, CenterCrop and Normalize, got {transform}")
        resize, normalize = steps["Resize"], steps["Normalize"]
        side = resize.size if isinstance(resize.size, int) or len(resize.size) == 2 else resize.size[0]
        size = steps["CenterCrop"].size if "CenterCrop" in steps else side
        if isinstance(size, int) or resize.max_size is not None:
            raise ValueError(f"`preprocess` must give images of one size whatever their aspect, got {transform}")
        return cls(
            resize=side if isinstance(side, int) else tuple(side),
            size=tuple(size),
            interpolation=resize.interpolation.value,
            mean=tuple(normalize.mean),
            std=tuple(normalize.std),
        )

    def __call__(self, image: Image, boxes: Int64[Tensor, "n 4"]) -> Float[Tensor, "n 3 height width"]:
        """Return the crops of ``image`` at ``boxes`` (top, left, bottom, right), ready for the network.

        Args:
            image: RGB in [0, 1].
            boxes: half-open and not empty.
        """
        first, last = boxes[:, :2], boxes[:, 2:]
        length = last - first
        if isinstance(self.resize, int):
            resized = self.resize * length // length.amin(1, keepdim=True)
        else:
            resized = length.new_tensor(self.resize).expand_as(length)
        # As torchvision rounds: halves to even.
        margin = ((resized - length.new_tensor(self.size)) / 2).round().long()

        with torch.autocast(image.device.type, enabled=False):
            rows, columns = (
                self._weights(first[:, axis], length[:, axis], resized[:, axis], margin[:, axis], axis, extent)
                for axis, extent in enumerate(image.shape[1:])
            )
            pixels = _to_8_bit(image.float() * 255)
            pixels = _to_8_bit(torch.einsum("chw,nxw->nhcx", pixels, columns))
            pixels = _to_8_bit(torch.einsum("nyh,nhcx->ncyx", rows, pixels))
        mean, std = (pixels.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels / 255 - mean) / std

    def _weights(
        self,
        first: Int64[Tensor, " n"],
        length: Int64[Tensor, " n"],
        resized: Int64[Tensor, " n"],
        margin: Int64[Tensor, " n"],
        axis: int,
        extent: int,
    ) -> Float[Tensor, "n output extent"]:
        """Return how much each pixel of the image weighs in each pixel of the result, along one axis."""
        first, length, resized, margin = (value[:, None, None] for value in (first, length, resized, margin))
        output = margin + torch.arange(self.size[axis], device=first.device)[:, None]
        pixel = torch.arange(extent, device=first.device)
        # Distance between the centres of both, in pixels of the image: exact up to the division.
        distance = ((2 * output + 1) * length - (2 * (pixel - first) + 1) * resized).float() / (2 * resized)
        weights = _FILTERS[self.interpolation](distance.abs() / (length.float() / resized).clamp(min=1))
        weights = weights * ((pixel >= first) & (pixel < first + length))
        return weights / weights.sum(-1, keepdim=True)


def _to_8_bit(values: Tensor) -> Tensor:
    """Round to what 8 bits can hold, halves up."""
    return (values + 0.5).floor().clamp(0, 255)


def _bilinear(x: Tensor) -> Tensor:
    return (1 - x).clamp(min=0)


def _bicubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -0.5, at distances ``x >= 0``."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


_FILTERS: dict[str, Callable[[Tensor], Tensor]] = {"bicubic": _bicubic, "bilinear": _bilinear}
