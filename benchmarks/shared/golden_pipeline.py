"""The recorded run of the released code: its images and numbers, and the small networks that it ran with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.shared.segmentation_oracle import tiny_sam
from torchmetrics_sess.encoders import OpenClipEncoder
from torchmetrics_sess.relations import RelationHead
from torchmetrics_sess.segmenters import SamSegmenter

DATA = Path(__file__).parents[2] / "tests" / "data"
CASES = range(8)
SIDES = [f"{case}/{side}" for case in CASES for side in "ab"]

VISION = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
EMBEDDING = 32


@cache
def recorded() -> dict[str, NDArray[Any]]:
    """Return all arrays of the recording, masks unpacked."""
    with np.load(DATA / "pipeline_dev.npz") as arrays:
        golden = dict(arrays)
    for side in SIDES:
        width = golden[f"{side}/image"].shape[1]
        golden[f"{side}/masks"] = np.unpackbits(golden[f"{side}/masks"], axis=-1, count=width).astype(bool)
    return golden


def image(side: str) -> Tensor:
    """Return an image, uint8 ``[3, h, w]``."""
    return torch.from_numpy(recorded()[f"{side}/image"]).permute(2, 0, 1)


def relation_similarity() -> Tensor:
    """Return how alike two predicates are."""
    return torch.from_numpy(recorded()["relation_similarity"])


def tiny_segmenter(**settings: Any) -> SamSegmenter:
    """Return the small SAM with the settings of the recording."""
    points, predicted_iou, stability, nms = recorded()["amg"].tolist()
    recording = {
        "points_per_side": int(points),
        "pred_iou_thresh": predicted_iou,
        "stability_score_thresh": stability,
        "box_nms_thresh": nms,
    }
    return SamSegmenter(tiny_sam(), **(recording | settings))


def tiny_relation_head() -> RelationHead:
    """Return the small RelateAnything."""
    return RelationHead.from_checkpoint(DATA / "tiny_ram.pth", num_attention_heads=4)


def tiny_clip() -> open_clip.CLIP:
    """Return the small OpenCLIP, whose text tower is random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(embed_dim=EMBEDDING, vision_cfg=VISION, text_cfg=TEXT)
    model.load_state_dict(torch.load(DATA / "tiny_clip_visual.pth", weights_only=True), strict=False)
    return model.eval()


def tiny_encoder() -> OpenClipEncoder:
    """Return the small OpenCLIP as an encoder."""
    return OpenClipEncoder(
        tiny_clip(),
        open_clip.image_transform(VISION["image_size"], is_train=False),
        tokenizer=open_clip.SimpleTokenizer(context_length=TEXT["context_length"]),
    )
