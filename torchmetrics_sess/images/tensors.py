"""Images as users hand them in: checked once, and brought into the one form that the stages work on."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Shaped
from torch import Tensor

from torchmetrics_sess.stages import Image

OutOfRange: TypeAlias = Literal["raise", "clamp"]
NotFinite: TypeAlias = Literal["raise", "skip"]

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# The share of the data range by which a value may overshoot: what half precision or an interpolation leaves behind.
_TOLERANCE = 1e-3


def prepare_images(
    images: Tensor | Sequence[Tensor], name: str, data_range: tuple[float, float] = (0.0, 1.0)
) -> list[Image]:
    """Check a batch of images and bring it into the form that extraction works on.

    This is ``check_images``, then ``float_images``.

    Args:
        images: see ``check_images``.
        name: what the caller calls this argument; errors say it.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.

    Returns:
        Float32 RGB images ``[3, h, w]`` in [0, 1], on the device they came from.

    Raises:
        TypeError: see ``check_images``.
        ValueError: see ``check_images``.

    Examples:
        >>> import torch
        >>> [image] = prepare_images(torch.full((1, 1, 2, 2), 255, dtype=torch.uint8), name="preds")
        >>> image.shape, image.dtype, image.max()
        (torch.Size([3, 2, 2]), torch.float32, tensor(1.))
    """
    return float_images([image for image in check_images(images, name, data_range) if image is not None], data_range)


def check_images(
    images: Tensor | Sequence[Tensor],
    name: str,
    data_range: tuple[float, float] = (0.0, 1.0),
    *,
    out_of_range: OutOfRange = "raise",
    nan: NotFinite = "raise",
) -> list[Tensor | None]:
    """Check a batch of images, which takes no memory.

    The device is waited for once per call, however many images there are.

    Args:
        images: ``[N, 3, H, W]`` or, for greyscale, ``[N, 1, H, W]``; or a list of ``[3, H, W]``, ``[1, H, W]`` or
            ``[H, W]`` tensors whose sizes may differ. Either uint8, or floating point within ``data_range``.
        name: what the caller calls this argument; errors say it.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        out_of_range: what values beyond ``data_range`` are: an error, or ``"clamp"`` for its nearer end.
        nan: what images with NaN or infinite values are: an error, or ``"skip"`` for None in their place.

    Returns:
        The images, each ``[3, h, w]`` or ``[1, h, w]``, for ``float_images``. They share memory with the input, but
        for those beyond a range of [0, 1], if only by the thousandth that is no error, which are clamped.

    Raises:
        TypeError: if ``images`` is not made of tensors, or their dtype is neither uint8 nor floating point.
        ValueError: if the batch is empty; a shape is not an image's; the images lie on several devices; a value is
            NaN, infinite or outside ``data_range`` by more than a thousandth of its span; or ``data_range`` is not two
            finite numbers, lowest first.
    """
    low, high = data_range
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"`data_range` must be two finite numbers, the lower first, got {data_range}")
    batches = _batches(images, name)
    slack = _TOLERANCE * (high - low)
    checked: list[Tensor | None] = [image for batch in batches for image in batch]
    # Images are counted as the caller does: along the first dimension of a tensor, or along the list.
    for index, (smallest, largest) in _extremes(batches).items():
        if nan == "skip" and not (math.isfinite(smallest) and math.isfinite(largest)):
            checked[index] = None
            continue
        if math.isnan(smallest):
            raise ValueError(f"`{name}` must be finite, got NaN in image {index}")
        if math.isinf(smallest) or math.isinf(largest):
            raise ValueError(f"`{name}` must be finite, got infinite values in image {index}")
        if out_of_range == "raise" and (smallest < low - slack or largest > high + slack):
            raise ValueError(
                f"`{name}` must lie in `data_range` [{low:g}, {high:g}], got values from {smallest:g} to {largest:g} "
                f"in image {index}; pass the range of your images as `data_range`, clamp them, or pass uint8"
            )
        # Other ranges are clamped as they are converted.
        image = checked[index]
        if image is not None and (low, high) == (0, 1) and (smallest < 0 or largest > 1):
            checked[index] = image.clamp(0, 1)
    return checked


def float_images(images: Sequence[Tensor], data_range: tuple[float, float] = (0.0, 1.0)) -> list[Image]:
    """Convert images that ``check_images`` has returned to float32 RGB in [0, 1].

    What needs no conversion shares memory with the input, so the result must not be written to.

    Examples:
        >>> import torch
        >>> [image] = float_images([torch.full((1, 2, 2), -1.0)], data_range=(-1.0, 1.0))
        >>> image.shape, image.max()
        (torch.Size([3, 2, 2]), tensor(0.))
    """
    return [_as_float(image, *data_range).expand(3, -1, -1) for image in images]


def _as_float(image: Tensor, low: float, high: float) -> Tensor:
    if image.dtype == torch.uint8:
        return image.float() / 255
    image = image.float()
    return image if (low, high) == (0, 1) else ((image - low) / (high - low)).clamp(0, 1)


def check_pair(preds: Sequence[object], target: Sequence[object]) -> None:
    """Check that there is one target for every prediction; their sizes may differ.

    Raises:
        ValueError: if the numbers of images differ.

    Examples:
        >>> import torch
        >>> check_pair([torch.zeros(3, 8, 8)], [torch.zeros(3, 16, 16)])
    """
    if len(preds) != len(target):
        raise ValueError(
            f"`preds` and `target` must hold equally many images, because each is compared with its counterpart; "
            f"got {len(preds)} and {len(target)}"
        )


def _batches(images: object, name: str) -> list[Shaped[Tensor, "b c h w"]]:
    """Return the images as batches of one size each: one for a tensor, one per image for a list."""
    if isinstance(images, Tensor):
        if images.ndim != 4:
            raise ValueError(
                f"`{name}` must be [N, 3, H, W], or [N, 1, H, W] for greyscale, got shape {list(images.shape)}; "
                f"add a batch dimension to a single image with `image[None]`"
            )
        batches = {name: images}
    elif isinstance(images, list | tuple):
        batches = {f"{name}[{i}]": _as_batch(image, f"{name}[{i}]") for i, image in enumerate(images)}
    else:
        raise TypeError(f"`{name}` must be a tensor [N, 3, H, W] or a list of tensors, got {type(images).__name__}")

    if not batches or any(len(batch) == 0 for batch in batches.values()):
        raise ValueError(f"`{name}` must hold at least one image, got an empty batch")
    for where, batch in batches.items():
        _check_form(batch, where)
    devices = sorted({str(batch.device) for batch in batches.values()})
    if len(devices) > 1:
        raise ValueError(f"`{name}` must lie on one device, got images on {', '.join(devices)}")
    return [batch.detach() for batch in batches.values()]


def _as_batch(image: object, where: str) -> Tensor:
    if not isinstance(image, Tensor):
        raise TypeError(f"`{where}` must be a tensor [3, H, W], [1, H, W] or [H, W], got {type(image).__name__}")
    if image.ndim not in (2, 3):
        raise ValueError(f"`{where}` must be [3, H, W], [1, H, W] or [H, W], got shape {list(image.shape)}")
    return image[None] if image.ndim == 3 else image[None, None]


def _check_form(batch: Tensor, where: str) -> None:
    channels, height, width = batch.shape[1:]
    if channels not in (1, 3):
        raise ValueError(f"`{where}` must have 3 channels (RGB) or 1 (greyscale), got {channels}, channels first")
    if height == 0 or width == 0:
        raise ValueError(f"`{where}` must not be empty, got {height} x {width} pixels")
    if batch.dtype != torch.uint8 and batch.dtype not in _FLOATING:
        raise TypeError(f"`{where}` must be uint8, float16, bfloat16, float32 or float64, got {batch.dtype}")


def _extremes(batches: Sequence[Tensor]) -> dict[int, tuple[float, float]]:
    """Return the lowest and highest value of floating-point images by their index; bytes cannot be out of range."""
    first = itertools.accumulate(map(len, batches), initial=0)
    floating = [(start, batch) for start, batch in zip(first, batches, strict=False) if batch.dtype != torch.uint8]
    if not floating:
        return {}
    # NaN passes through both extremes, and all of them are fetched together.
    extremes = [torch.stack(torch.aminmax(batch.flatten(1), dim=1)).float() for _, batch in floating]
    lowest, highest = torch.cat(extremes, dim=1).tolist()
    indices = [start + offset for start, batch in floating for offset in range(len(batch))]
    return dict(zip(indices, zip(lowest, highest, strict=True), strict=True))
