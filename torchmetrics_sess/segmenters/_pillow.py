"""Pillow's bilinear resize in integer arithmetic on any device: what SAM sees, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Int32, Int64, UInt8
from torch import Tensor

_FRACTION_BITS = 22


def resize_bilinear(image: UInt8[Tensor, "c h w"], size: tuple[int, int]) -> UInt8[Tensor, "c new_h new_w"]:
    """Resize an 8-bit image as ``PIL.Image.resize`` with ``BILINEAR`` does, bit for bit.

    Pillow resamples rows, then columns, with weights of 22 fractional bits, and rounds to 8 bits after each of the two
    passes. Any other arithmetic differs by one grey level in many pixels. Since version 13 the columns come first where
    the height loses more than twice as many pixels as the width; so do they here.

    Args:
        image: any number of channels, ``[c, h, w]``.
        size: the new height and width, both at least 1.

    Examples:
        >>> import torch
        >>> resize_bilinear(torch.tensor([[[0, 255]]], dtype=torch.uint8), (1, 4))
        tensor([[[  0,  64, 191, 255]]], dtype=torch.uint8)
    """
    lost_height, lost_width = image.shape[1] - size[0], image.shape[2] - size[1]
    axes = (1, 2) if lost_height > max(0, 2 * lost_width) else (2, 1)
    for axis in axes:
        image = _resize_axis(image, axis, size[axis - 1])
    return image


def _resize_axis(image: UInt8[Tensor, "c h w"], axis: int, length: int) -> UInt8[Tensor, "c new_h new_w"]:
    if image.shape[axis] == length:
        return image
    index, weight = (tensor.to(image.device, non_blocking=True) for tensor in _taps(image.shape[axis], length))
    shape = [1, 1, 1]
    shape[axis] = length
    total = torch.tensor(1 << (_FRACTION_BITS - 1), dtype=torch.int32, device=image.device)
    for tap in range(len(index)):
        total = total + image.index_select(axis, index[tap]).int() * weight[tap].view(shape)
    return (total >> _FRACTION_BITS).to(torch.uint8)


def _taps(source: int, target: int) -> tuple[Int64[Tensor, "taps target"], Int32[Tensor, "taps target"]]:
    """Return which source pixels make up each target pixel, and their fixed-point weights."""
    scale = source / target
    support = max(scale, 1.0)
    center = (np.arange(target) + 0.5) * scale
    first = np.maximum(center - support + 0.5, 0).astype(np.int64)
    index = first + np.arange(2 * math.ceil(support) + 1)[:, None]
    weight = np.maximum(1 - np.abs((index - center + 0.5) * (1 / support)), 0) * (index < source)
    weight = weight / weight.sum(axis=0) * (1 << _FRACTION_BITS)
    return torch.from_numpy(np.minimum(index, source - 1)), torch.from_numpy((weight + 0.5).astype(np.int32))
