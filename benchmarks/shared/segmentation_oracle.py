"""Segment Anything's own mask generator, then plain numpy: what the batched segmenter is checked and timed against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.utils.amg import build_point_grid
from torch import Tensor, nn
from torch.nn.functional import interpolate

Mask: TypeAlias = NDArray[np.bool_]

TINY_WEIGHTS = Path(__file__).parents[2] / "tests" / "data" / "tiny_sam.pth"


@dataclass(frozen=True, eq=False)
class StockResult:
    """Masks in order, their tokens, and how many there were before the dedupe."""

    masks: list[Mask]
    tokens: Tensor
    generated: int


def segment(
    sam: Sam,
    image: NDArray[np.uint8],
    duplicate_iou_thresh: float = 0.8,
    max_masks: int = 512,
    **settings: Any,
) -> StockResult:
    """Generate masks as ``segment_anything`` does, sort them by area, drop near duplicates.

    Args:
        sam: the model.
        image: RGB, ``[h, w, 3]``.
        duplicate_iou_thresh: IoU above which the smaller mask goes.
        max_masks: how many stay.
        settings: those of :class:`segment_anything.SamAutomaticMaskGenerator`.
    """
    hidden: list[Tensor] = []
    predicted: list[Tensor] = []
    hooks = [
        sam.mask_decoder.transformer.register_forward_hook(lambda *call: hidden.append(call[-1][0])),
        sam.mask_decoder.register_forward_hook(lambda *call: predicted.append(call[-1][1])),
    ]
    try:
        records = SamAutomaticMaskGenerator(sam, **settings).generate(image)
    finally:
        for hook in hooks:
            hook.remove()
    tokens, predicted_iou = torch.cat(hidden)[:, 2:5], torch.cat(predicted)
    points = build_point_grid(settings["points_per_side"]) * np.array(image.shape[1::-1])

    records.sort(key=lambda record: record["area"], reverse=True)
    masks: list[Mask] = []
    kept_tokens = []
    for record in records:
        mask = record["segmentation"]
        if len(masks) < max_masks and all(iou(mask, kept) <= duplicate_iou_thresh for kept in masks):
            masks.append(mask)
            prompt = int(np.abs(points - record["point_coords"][0]).sum(axis=1).argmin())
            slot = int((predicted_iou[prompt] - record["predicted_iou"]).abs().argmin())
            kept_tokens.append(tokens[prompt, slot])
    return StockResult(masks, torch.stack(kept_tokens) if masks else tokens[:0, 0], len(records))


def iou(a: Mask, b: Mask) -> float:
    """Return the pixel IoU of two masks; 0 if both are empty."""
    return float((a & b).sum() / max(1, (a | b).sum()))


def diversify(sam: Sam, gain: float) -> Sam:
    """Enlarge random weights so that masks differ between places and between prompts; return the model, frozen."""
    position = sam.requires_grad_(False).image_encoder.pos_embed
    coarse = torch.randn(1, position.shape[3], 8, 8)
    position.copy_(interpolate(coarse, position.shape[1:3], mode="bicubic").permute(0, 2, 3, 1))
    for name, weight in sam.mask_decoder.named_parameters():
        if weight.ndim > 1 and not name.startswith(("iou_token", "mask_tokens")):
            weight *= gain
    return sam.eval()


def tiny_sam() -> Sam:
    """Return the small model that was trained for the tests."""
    sam = tiny_architecture()
    sam.load_state_dict(torch.load(TINY_WEIGHTS, weights_only=True))
    return sam.eval()


def tiny_architecture() -> Sam:
    """Return that model before training."""
    return Sam(
        ImageEncoderViT(
            depth=2,
            embed_dim=32,
            img_size=256,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=2,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(1,),
            window_size=7,
            out_chans=64,
        ),
        PromptEncoder(embed_dim=64, image_embedding_size=(16, 16), input_image_size=(256, 256), mask_in_chans=16),
        MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=64, mlp_dim=128, num_heads=4),
            transformer_dim=64,
            iou_head_depth=3,
            iou_head_hidden_dim=64,
        ),
    )
