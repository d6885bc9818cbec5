"""How long the batched segmenter takes for an image, against Segment Anything's own mask generator on the same weights.

    python -m benchmarks.cost.segmentation [--model tiny|vit_b|vit_l|vit_h] [--points-per-side 32] [--images 4] [--cuda]

All models but ``tiny`` have random weights, and thresholds at quantiles of what these predict, so that a fixed share of
the masks passes each filter. The stock generator is followed by a plain numpy dedupe. Both run in the same process, on
the same image; the batched segmenter may get more images at once. With ``--cuda`` both run on the GPU, the batched one
warmed up, and bfloat16 is measured too.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam
from segment_anything.utils.amg import build_point_grid, calculate_stability_score
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.shared import segmentation_oracle
from benchmarks.shared.reporting import write_results
from torchmetrics_sess.segmenters.sam import SamSegmenter
from torchmetrics_sess.stages import Segmentation

SIZE = (480, 640)
GOOD, STABLE = 0.3, 0.5  # the shares of masks that pass the predicted IoU, and then the stability score


def random_image(seed: int) -> NDArray[np.uint8]:
    """Return smooth blobs of colour with some grain."""
    generator = torch.Generator().manual_seed(seed)
    blobs = torch.rand(1, 3, 6, 8, generator=generator)
    grain = torch.randn(3, *SIZE, generator=generator)
    image = interpolate(blobs, SIZE, mode="bicubic")[0] + 0.05 * grain
    return np.asarray((image.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy())


@torch.no_grad()
def thresholds(sam: Sam, image: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the settings with which ``GOOD`` and ``STABLE`` of the masks pass."""
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    points = predictor.transform.apply_coords(build_point_grid(6) * np.array(image.shape[1::-1]), image.shape[:2])
    coordinates = torch.as_tensor(points, device=sam.device)[:, None]
    labels = torch.ones(coordinates.shape[:2], dtype=torch.int, device=sam.device)
    logits, predicted, _ = predictor.predict_torch(coordinates, labels, return_logits=True)
    least = predicted.quantile(1 - GOOD)
    stability = calculate_stability_score(logits[predicted > least][None], sam.mask_threshold, 1.0)
    # Masks of random weights reach from edge to edge, so that no box tells one from another.
    return {
        "pred_iou_thresh": max(1e-6, float(least)),
        "stability_score_thresh": float(stability.quantile(1 - STABLE)),
        "box_nms_thresh": 1.0,
    }


def timed(call: Callable[[], Any], device: torch.device) -> tuple[Any, float, float | None]:
    """Return what a call gives, how many seconds it takes, and the most GPU memory in use meanwhile, in GiB."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    result = call()
    if device.type == "cuda":
        torch.cuda.synchronize()
        return result, time.perf_counter() - start, torch.cuda.max_memory_allocated() / 2**30
    return result, time.perf_counter() - start, None


def agreement(expected: segmentation_oracle.StockResult, got: Segmentation) -> dict[str, Any]:
    """Say how far the masks and tokens of one image are from the stock generator's."""
    masks = got.masks[0].cpu().numpy()
    if len(masks) != len(expected.masks) or got.tokens is None:
        return {"masks": len(masks)}
    return {
        "masks": len(masks),
        "different_pixels": int(sum((a ^ b).sum() for a, b in zip(expected.masks, masks, strict=True))),
        "lowest_iou": min(segmentation_oracle.iou(a, b) for a, b in zip(expected.masks, masks, strict=True)),
        "largest_token_difference": float((expected.tokens - got.tokens[0]).abs().max()),
    }


def row(
    segmenter: str, dtype: torch.dtype, seconds: float, stock_seconds: float, peak_gib: float | None
) -> dict[str, Any]:
    """Return one line of the table, after printing it."""
    name = str(dtype).removeprefix("torch.")
    memory = "-" if peak_gib is None else f"{peak_gib:.2f}"
    share = seconds / stock_seconds
    print(f"{segmenter:<7} {name:<8} {seconds:8.3f} {1 / seconds:8.3f} {share:8.3f} {memory:>8}", flush=True)
    return {
        "segmenter": segmenter,
        "dtype": name,
        "seconds_per_image": seconds,
        "images_per_second": 1 / seconds,
        "share_of_stock": share,
        "peak_gib": peak_gib,
    }


def main() -> None:
    """Print the table and write it to ``results/segmentation-<model>-<device>.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", choices=["tiny", "vit_b", "vit_l", "vit_h"], default="vit_b")
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--points-per-batch", type=int, default=64, help="of the batched segmenter")
    parser.add_argument("--images", type=int, default=1, help="how many images the batched segmenter gets at once")
    parser.add_argument("--cuda", action="store_true", help="run on the GPU, in bfloat16 too")
    arguments = parser.parse_args()

    device = torch.device("cuda" if arguments.cuda else "cpu")
    arrays = [random_image(seed) for seed in range(arguments.images)]
    if arguments.model == "tiny":
        sam = segmentation_oracle.tiny_sam().to(device)
        settings: dict[str, Any] = {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.5, "box_nms_thresh": 0.7}
    else:
        torch.manual_seed(0)
        sam = segmentation_oracle.diversify(sam_model_registry[arguments.model](), gain=4).to(device)
        settings = thresholds(sam, arrays[0])
    images: list[Tensor] = [torch.from_numpy(array).to(device).permute(2, 0, 1) / 255 for array in arrays]
    side = arguments.points_per_side

    # One image is enough for the stock generator: it takes them one by one.
    stock, stock_seconds, stock_memory = timed(
        lambda: segmentation_oracle.segment(sam, arrays[0], points_per_side=side, **settings), device
    )
    title = f"{arguments.model} on {device}, {side}x{side} points, {SIZE[1]}x{SIZE[0]} pixels"
    print(f"{title}; stock finds {stock.generated} masks, of which {len(stock.masks)} are distinct")
    print(f"{'':<16} {'s/image':>8} {'images/s':>8} {'of stock':>8} {'peak GiB':>8}")
    rows = [row("stock", torch.float32, stock_seconds, stock_seconds, stock_memory)]
    for dtype in [torch.float32, torch.bfloat16] if arguments.cuda else [torch.float32]:
        segmenter = SamSegmenter(
            sam, points_per_side=side, points_per_batch=arguments.points_per_batch, **settings, dtype=dtype
        )
        call = partial(segmenter, images)
        if arguments.cuda:
            call()
        segmentations, seconds, memory = timed(call, device)
        agrees = agreement(stock, segmentations[0])
        rows.append(row("batched", dtype, seconds / len(images), stock_seconds, memory) | agrees)
        print("    " + ", ".join(f"{name.replace('_', ' ')} {value:.7g}" for name, value in agrees.items()))

    options = {"model": arguments.model, "points-per-side": side, "images": len(images)}
    command = [
        "python",
        "-m",
        "benchmarks.cost.segmentation",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    command += [f"--points-per-batch={arguments.points_per_batch}", *(["--cuda"] if arguments.cuda else [])]
    print(f"written to {write_results(f'segmentation-{arguments.model}-{device}', rows, command)}")


if __name__ == "__main__":
    main()
