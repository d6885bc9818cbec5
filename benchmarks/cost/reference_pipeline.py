"""What the reference preset costs at its true size, by stage, against stock parts and against the arithmetic floor.

    python -m benchmarks.cost.reference_pipeline --random-weights [--stock] [--images 8] [--masks 30]
    python -m benchmarks.cost.reference_pipeline --tiny --stock

With ``--random-weights`` the networks are those of the preset, SAM ViT-H, RelateAnything and OpenCLIP ViT-H/14, before
any training: they cost what trained ones do, and their scores mean nothing. ``--tiny`` takes the small networks of the
tests, which shows that the script runs; its figures say nothing about the preset.

The number of masks is forced. Thresholds at quantiles of what the network predicts let a fixed share of the candidate
masks through each filter, more than are wanted; both filters of overlap are off, since random masks overlap as they
please; and of those that are left, the largest ``--masks`` stay. The relation model may drop some more, as in use.

The floor is the time that the arithmetic alone would take, at the rate that a large matrix product reaches on the same
device in the same precision: 20 TFLOP for an image of 30 objects, of which 1/3 TFLOP is for each crop.

Stock parts are ``SamAutomaticMaskGenerator`` with a plain numpy dedupe, and a loop over crops with open_clip's own
transform, one image at a time, in float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.cost.segmentation import random_image, thresholds, timed
from benchmarks.shared import golden_pipeline, segmentation_oracle
from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SceneGraphExtractor
from torchmetrics_sess.encoders import OpenClipEncoder
from torchmetrics_sess.encoders.crops import bounding_boxes
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.matching.relation_similarity import minilm_relation_similarity
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.relations import RamRelationModel, RelationHead
from torchmetrics_sess.segmenters import SamSegmenter
from torchmetrics_sess.stages import Segmentation

TERA = 1e12
FLOPS = 20 * TERA
FLOPS_PER_CROP = TERA / 3
NODES = 30
NO_OVERLAP_FILTERS = {"box_nms_thresh": 1.0, "duplicate_iou_thresh": 1.0}


@dataclass
class Networks:
    """The three networks, on one device."""

    sam: Sam
    head: RelationHead
    clip: open_clip.CLIP
    preprocess: Callable[[Any], Tensor]


@dataclass
class Watched:
    """A stage that keeps the time."""

    stage: Callable[..., Any]
    device: torch.device
    seconds: list[float] = field(default_factory=list)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the stage, and wait until it is done."""
        result, seconds, _ = timed(lambda: self.stage(*arguments, **named), self.device)
        self.seconds.append(seconds)
        return result


def true_size(device: torch.device) -> Networks:
    """Return the networks of the preset with random weights."""
    torch.manual_seed(0)
    with device:
        sam, head = sam_model_registry["vit_h"](), RelationHead()
    clip, _, preprocess = open_clip.create_model_and_transforms("ViT-H-14", pretrained=None, device=device)
    return Networks(segmentation_oracle.diversify(sam, gain=4), head, clip.eval().requires_grad_(False), preprocess)


def tiny(device: torch.device) -> Networks:
    """Return the small networks of the tests."""
    preprocess = open_clip.image_transform(golden_pipeline.VISION["image_size"], is_train=False)
    sam, clip = segmentation_oracle.tiny_sam(), golden_pipeline.tiny_clip()
    return Networks(sam.to(device), golden_pipeline.tiny_relation_head().to(device), clip.to(device), preprocess)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return how many floating-point operations a second a large matrix product reaches."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = torch.randn(2, side, side, device=device, dtype=dtype).unbind()
    with full_precision(device):
        return 2 * side**3 / min(timed(lambda: a @ b, device)[1] for _ in range(5))


def ours(
    networks: Networks, settings: dict[str, Any], chunks: dict[str, int], dtype: torch.dtype
) -> SceneGraphExtractor:
    """Return the extractor."""
    device = next(networks.sam.parameters()).device
    segmenter = SamSegmenter(
        networks.sam,
        **settings,
        dtype=dtype,
        points_per_batch=chunks["points"],
        images_per_batch=chunks["images"],
    )
    encoder = OpenClipEncoder(networks.clip, networks.preprocess, crops_per_batch=chunks["crops"], dtype=dtype)
    return SceneGraphExtractor(segmenter, RamRelationModel(networks.head, dtype=dtype), encoder, device=device)


def measure(extractor: SceneGraphExtractor, images: list[Tensor], device: torch.device, repeats: int) -> dict[str, Any]:
    """Return the time per image, whole and by stage, the best of some runs, and what came out."""
    extract = partial(extractor.extract, images)
    graphs = extract()
    runs = [timed(extract, device) for _ in range(repeats)]
    stages = [Watched(stage, device) for stage in (extractor.segmenter, extractor.relation_model, extractor.encoder)]
    watched = SceneGraphExtractor(*stages, device=device)
    whole = [timed(partial(watched.extract, images), device)[1] for _ in range(repeats)]
    best = int(np.argmin(whole))
    names = ("segmenter", "relation_model", "encoder")
    by_stage = {name: stage.seconds[best] for name, stage in zip(names, stages, strict=True)}
    by_stage["importance_and_transfer"] = whole[best] - sum(by_stage.values())
    halves = graphs[::2], graphs[1::2]
    by_stage["matching"] = min(
        timed(lambda: match_graph_pairs(*halves, minilm_relation_similarity()), torch.device("cpu"))[1]
        for _ in range(repeats + 1)
    )
    return {
        "seconds_per_image": min(seconds for _, seconds, _ in runs) / len(images),
        "stages": {name: seconds / len(images) for name, seconds in by_stage.items()},
        "nodes": float(np.mean([len(graph) for graph in graphs])),
        "peak_gib": None if device.type == "cpu" else max(memory for _, _, memory in runs if memory is not None),
    }


@torch.no_grad()
def measure_stock(
    networks: Networks, settings: dict[str, Any], array: NDArray[np.uint8], device: torch.device
) -> dict[str, Any]:
    """Return the time of one image through stock parts."""

    def embed(masks: Tensor) -> Tensor:
        boxes = bounding_boxes(masks).tolist()
        features = []
        for crop in [array, *(array[top:bottom, left:right] for top, left, bottom, right in boxes)]:
            pixels = networks.preprocess(PillowImage.fromarray(crop))[None].to(device)
            features.append(normalize(networks.clip.encode_image(pixels), dim=-1))
        return torch.cat(features)

    embed(torch.ones(1, *array.shape[:2], dtype=torch.bool))
    stock, segmenting, memory = timed(lambda: segmentation_oracle.segment(networks.sam, array, **settings), device)
    masks = torch.from_numpy(np.stack(stock.masks))
    segmentation = Segmentation(
        masks[None].to(device),
        torch.ones(1, len(masks), dtype=torch.bool, device=device),
        stock.tokens[None].to(device),
    )
    [relations], relating, _ = timed(lambda: RamRelationModel(networks.head)([segmentation]), device)
    kept = masks[relations.valid[0].cpu()]
    _, embedding, more_memory = timed(lambda: embed(kept), device)
    return {
        "seconds_per_image": segmenting + relating + embedding,
        "stages": {"segmenter": segmenting, "relation_model": relating, "encoder": embedding},
        "nodes": float(len(kept)),
        "peak_gib": None if memory is None else max(memory, more_memory or 0),
    }


def report(
    name: str, dtype: torch.dtype, figures: dict[str, Any], rate: float | None, stock: float | None
) -> dict[str, Any]:
    """Return one line of the table, after printing it."""
    seconds, precision = figures["seconds_per_image"], str(dtype).removeprefix("torch.")
    floor = None if rate is None else (FLOPS + (figures["nodes"] - NODES) * FLOPS_PER_CROP) / rate
    row = {
        "pipeline": name,
        "dtype": precision,
        **figures,
        "images_per_second": 1 / seconds,
        "times_stock": None if stock is None else stock / seconds,
        "matmul_tflops": None if rate is None else rate / TERA,
        "times_floor": None if floor is None else seconds / floor,
    }
    cells = [row["times_stock"], row["times_floor"], row["peak_gib"]]
    shown = " ".join(f"{'-' if cell is None else format(cell, '.2f'):>8}" for cell in cells)
    print(f"{name:<6} {precision:<9} {figures['nodes']:6.1f} {seconds:9.3f} {1 / seconds:9.2f} {shown}")
    for stage, share in figures["stages"].items():
        print(f"    {stage:<24} {share:9.4f} s")
    return row


def main() -> None:
    """Print the table and write it to ``results/reference_pipeline-<device>.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    networks_of = parser.add_mutually_exclusive_group(required=True)
    networks_of.add_argument("--random-weights", action="store_true", help="the networks of the preset, untrained")
    networks_of.add_argument("--tiny", action="store_true", help="the small networks of the tests")
    parser.add_argument("--stock", action="store_true", help="time stock parts too, on one image")
    parser.add_argument("--images", type=int, default=8, help="how many images are extracted at once")
    parser.add_argument("--masks", type=int, default=NODES, help="how many masks every image has")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--points-per-batch", type=int, default=64)
    parser.add_argument("--images-per-batch", type=int, default=4)
    parser.add_argument("--crops-per-batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    start = time.perf_counter()
    networks = tiny(device) if arguments.tiny else true_size(device)
    arrays = [random_image(seed) for seed in range(arguments.images)]
    images = [torch.from_numpy(array).to(device).permute(2, 0, 1).float() / 255 for array in arrays]
    found = [thresholds(networks.sam, array) for array in arrays]
    # The lowest of each, so that enough masks pass in every image.
    settings = {name: min(each[name] for each in found) for name in ("pred_iou_thresh", "stability_score_thresh")}
    settings |= NO_OVERLAP_FILTERS | {"points_per_side": arguments.points_per_side, "max_masks": arguments.masks}
    print(f"{'tiny' if arguments.tiny else 'true size, random weights'}, on {device}, ready after", end=" ")
    print(f"{time.perf_counter() - start:.0f} s; {len(images)} images of {arrays[0].shape[1]}x{arrays[0].shape[0]}")

    print(f"{'':<16} {'nodes':>6} {'s/image':>9} {'images/s':>9} {'x stock':>8} {'x floor':>8} {'peak GiB':>8}")
    rows, stock = [], None
    if arguments.stock:
        figures = measure_stock(networks, settings, arrays[0], device)
        stock = figures["seconds_per_image"]
        rate = None if arguments.tiny else matmul_rate(device, torch.float32)
        rows.append(report("stock", torch.float32, figures, rate, None))
    chunks = {
        "points": arguments.points_per_batch,
        "images": arguments.images_per_batch,
        "crops": arguments.crops_per_batch,
    }
    for dtype in (torch.float32, torch.bfloat16):
        figures = measure(ours(networks, settings, chunks, dtype), images, device, arguments.repeats)
        rate = None if arguments.tiny else matmul_rate(device, dtype)
        rows.append(report("ours", dtype, figures, rate, stock))

    command = ["python", "-m", "benchmarks.cost.reference_pipeline"]
    for name, value in vars(arguments).items():
        if value is not False:
            command += [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")]
    name = f"reference_pipeline-{'tiny-' if arguments.tiny else ''}{device.type}"
    print(f"written to {write_results(name, rows, command)}")


if __name__ == "__main__":
    main()
