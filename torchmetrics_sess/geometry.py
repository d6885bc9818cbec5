"""Measurements under masks: sums and centres, for many masks at once and in bounded memory."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional

# A product needs its masks as numbers, eight times their size: so many are held at once (8 MiB), not all of them.
_CHUNK = 2**20


def mask_sums(
    masks: Bool[Tensor, "*b n h w"] | Float[Tensor, "*b n h w"], maps: Shaped[Tensor, "*#b k h w"]
) -> Float[Tensor, "*b n k"]:
    """Sum every map over the pixels of every mask.

    Args:
        masks: pixels of the objects, or how far every pixel belongs to each, ``[*b, n, h, w]``; they may overlap.
        maps: what to sum, ``[*b, k, h, w]``; leading dimensions broadcast.

    Returns:
        ``[*b, n, k]`` in float64, or in float32 on a device that has no float64.

    Examples:
        >>> import torch
        >>> masks = torch.tensor([[[True, True], [False, False]], [[False, True], [False, True]]])
        >>> mask_sums(masks, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
        tensor([[3.],
                [6.]], dtype=torch.float64)
    """
    dtype = torch.float32 if masks.device.type == "mps" else torch.float64
    pixels, weights = masks.flatten(-2), maps.flatten(-2).mT
    step = max(1, _CHUNK // max(1, pixels.shape[:-1].numel()))
    sums = torch.zeros(*pixels.shape[:-1], weights.shape[-1], dtype=dtype, device=masks.device)
    with torch.autocast(masks.device.type, enabled=False):
        for start in range(0, pixels.shape[-1], step):
            chunk = slice(start, start + step)
            sums += pixels[..., chunk].to(dtype) @ weights[..., chunk, :].to(dtype)
    return sums


def mask_centers(masks: Bool[Tensor, "*b n h w"] | Float[Tensor, "*b n h w"]) -> Float[Tensor, "*b n 2"]:
    """Return the mean (row / height, column / width) of the pixels of every mask.

    Pixels are counted from 0, so that the centre of a full mask lies half a pixel before the middle; this is what the
    published numbers were computed with. The sums are exact where the device has float64.

    Args:
        masks: pixels of the objects, or how far every pixel belongs to each, ``[*b, n, h, w]``.

    Returns:
        in [0, 1), ``[*b, n, 2]``, float64 if ``masks`` are and float32 otherwise; (0.5, 0.5) for an empty mask.

    Examples:
        >>> import torch
        >>> masks = torch.zeros(2, 4, 4, dtype=torch.bool)
        >>> masks[0, 1, 2:] = True
        >>> mask_centers(masks)
        tensor([[0.2500, 0.6250],
                [0.5000, 0.5000]])
    """
    height, width = masks.shape[-2:]
    rows = torch.arange(height, device=masks.device).view(height, 1).expand(height, width)
    columns = torch.arange(width, device=masks.device).expand(height, width)
    sums = mask_sums(masks, torch.stack([rows, columns, torch.ones_like(rows)]))
    totals, areas = sums[..., :2], sums[..., 2:]
    # Where nothing is divided by 0, no gradient is NaN either.
    centers = totals / areas.where(areas > 0, 1) / sums.new_tensor([height, width])
    return torch.where(areas > 0, centers, 0.5).to(torch.promote_types(masks.dtype, torch.float32))


def mask_boxes(masks: Bool[Tensor, "*b h w"]) -> Int64[Tensor, "*b 4"]:
    """Return (top, left, bottom, right) of every mask; bottom and right are one past its last pixel.

    An empty mask gives zeros.

    Examples:
        >>> import torch
        >>> mask = torch.zeros(5, 5, dtype=torch.bool)
        >>> mask_boxes(mask).tolist()
        [0, 0, 0, 0]
        >>> mask[1, 2] = mask[3, 3] = True
        >>> mask_boxes(mask).tolist()
        [1, 2, 4, 4]
    """
    first, last = [], []
    for axis in (-1, -2):
        # Bytes, because reductions of booleans are many times slower.
        occupied = masks.view(torch.uint8).amax(axis)
        first.append(occupied.argmax(-1))
        last.append(occupied.shape[-1] - occupied.flip(-1).argmax(-1))
    return torch.stack(first + last, -1) * occupied.amax(-1, keepdim=True)


def crisp_masks(memberships: Float[Tensor, "n h w"], height: int, width: int) -> Bool[Tensor, "n {height} {width}"]:
    """Give every pixel of an image to the object that it most belongs to.

    Args:
        memberships: how far every place belongs to each object, at any resolution, ``[n, h, w]``.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        ``[n, height, width]``; every pixel lies in exactly one mask.

    Examples:
        >>> import torch
        >>> crisp_masks(torch.tensor([[[0.9, 0.2]], [[0.1, 0.8]]]), height=1, width=4).int()
        tensor([[[1, 1, 0, 0]],
        <BLANKLINE>
                [[0, 0, 1, 1]]], dtype=torch.int32)
    """
    resized = functional.interpolate(memberships[None], (height, width), mode="bilinear", align_corners=False)[0]
    owner = resized.argmax(dim=0)
    return owner == torch.arange(len(memberships), device=memberships.device).view(-1, 1, 1)
