"""What the loss costs and what its gradient does: time and memory beside ``update()``, and ascents from bad images.

    python -m benchmarks.cost.loss [--cuda] [--quick] [--only cost ascent]

Forward and backward of 8 pairs of 336 pixels against the metric's ``update()`` with the same pairs; how much memory
each takes at most; how large the gradient is; and gradient ascent on the pixels: 50 steps from a JPEG of quality 5, and
20 of Adam from noise and from another photograph, with what measures say of it that were not climbed.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import FIGURES, write_results
from torchmetrics_sess import SemanticSimilarityLoss, SemanticSimilarityScore, semantic_similarity_score

SIDE, PAIRS = 336, 8
POLYAK_STEPS, ADAM_STEPS = 50, 20
UPDATE, LOSS = "update", "loss: forward and backward"
TASKS = ((UPDATE, 8), (LOSS, 8), (LOSS, 1))
GOAL, PLAIN = "the goal", "1 - SeSS"
# What makes the loss fall where the score hardly rises: see docs/loss.md.
WAYS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "1 - SeSS, exponent 1, width .2": {"matching.exponent": 1.0, "matching.probability_width": 0.2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true", help="measure on the graphics card")
    parser.add_argument("--quick", action="store_true", help="2 pairs, 3 steps; nothing is written")
    parser.add_argument("--repetitions", type=int, default=3, help="of what is timed")
    parser.add_argument("--only", nargs="+", choices=["cost", "ascent"], default=["cost", "ascent"])
    arguments = parser.parse_args()
    device = torch.device("cuda" if arguments.cuda else "cpu")
    command = ["python", "-m", "benchmarks.cost.loss", *sys.argv[1:]]
    pairs = 2 if arguments.quick else PAIRS
    if "cost" in arguments.only:
        rows = measure_cost(device.type, pairs, 1 if arguments.quick else arguments.repetitions)
        show(rows)
        if not arguments.quick:
            print(write_results(f"loss-{device.type}", rows, command))
    if "ascent" in arguments.only:
        names = [name for name in starts() if name != GOAL]
        with ProcessPoolExecutor(len(names) + 1, mp_context=multiprocessing.get_context("spawn")) as processes:
            sizes = processes.submit(slopes, device.type)
            ends = [processes.submit(climb, device.type, name, 3 if arguments.quick else None) for name in names]
            show(sizes.result())
            ascents = [end.result()[0] for end in ends]
        show([{name: value for name, value in row.items() if name != "losses"} for row in ascents])
        if not arguments.quick:
            draw(ascents, {name: end.result()[1] for name, end in zip(names, ends, strict=True)})
            print(write_results("loss-ascent", [*ascents, *sizes.result()], command))


def show(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=150).print(table)


def photographs(count: int, device: torch.device) -> Tensor:
    images = [image.resize((SIDE, SIDE)) for image in load_photographs().values()]
    return torch.stack([pil_to_tensor(images[k % len(images)]) for k in range(count)]).to(device)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def measure_cost(device: str, pairs: int, repetitions: int) -> list[dict[str, Any]]:
    """Return time and memory of the metric and of the loss, each in a process of its own, as their peaks have to be."""
    rows: list[dict[str, Any]] = []
    for task, batch_size in TASKS:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            seconds, memory = process.submit(cost, device, task, batch_size, pairs, repetitions).result()
        first = rows[0]["seconds"] if rows else seconds
        row = {"what": task, "batch_size": batch_size, "pairs": pairs, "seconds": seconds, "/ update": seconds / first}
        rows.append({**row, "peak MiB": memory})
        print(*rows[-1].values(), flush=True)
    return rows


def cost(device: str, task: str, batch_size: int, pairs: int, repetitions: int) -> tuple[float, float]:
    """Return the seconds that a task takes, and by how many MiB it raises the most memory that was ever taken.

    On a processor these are seconds of its time, which other processes on the machine do not change.
    """
    place = torch.device(device)
    target = photographs(pairs + 1, place)
    preds, target = target[1:].float() / 255, target[:-1]
    metric = SemanticSimilarityScore(batch_size=batch_size).to(place)
    loss = SemanticSimilarityLoss(batch_size=batch_size)

    def run(count: int) -> None:
        if task == UPDATE:
            metric.update(preds[:count], target[:count])
        else:
            loss(preds[:count].clone().requires_grad_(), target[:count]).backward()

    # Networks, and what libraries and compilers keep, are not what is asked for.
    metric.update(preds[:1], target[:1])
    small = {"segmenter.image_size": 56, "segmenter.seeds_per_side": 4}
    SemanticSimilarityLoss(overrides=small)(preds[:1].clone().requires_grad_(), target[:1]).backward()
    before = memory_held(place)
    seconds = []
    for _ in range(repetitions):
        start = now(place)
        run(pairs)
        seconds.append(now(place) - start)
    return statistics.median(seconds), (most_memory(place) - before) / 2**20


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def memory_held(device: torch.device) -> int:
    """Return how many bytes are taken now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def most_memory(device: torch.device) -> int:
    """Return the most bytes ever taken."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def starts() -> dict[str, Image.Image]:
    """Return what ascents start from, after the photograph that all of them lead to."""
    images = {name: image.resize((SIDE, SIDE)) for name, image in load_photographs().items()}
    noise = (256 * torch.rand(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))).byte()
    return {
        GOAL: images["chelsea"],
        "JPEG 5": jpeg(images["chelsea"], 5),
        "noise": Image.fromarray(noise.numpy()),
        "another photograph": images["coffee"],
    }


def climb(device: str, name: str, steps: int | None) -> tuple[dict[str, Any], Image.Image]:
    """Return where an ascent led, and its picture."""
    images = {start: pil_to_tensor(image)[None].to(device) for start, image in starts().items()}
    target, before = images[GOAL], images[name] / 255
    loss = SemanticSimilarityLoss(cache_targets=True)
    if name == "JPEG 5":
        after, losses = polyak(loss, before, target, steps or POLYAK_STEPS)
    else:
        after, losses = adam(loss, before, target, steps or ADAM_STEPS)
    row = {
        "from": name,
        "SeSS before": sess(before, target),
        "SeSS after": sess(after, target),
        "lite-0.1 before": sess(before, target, "lite-0.1"),
        "lite-0.1 after": sess(after, target, "lite-0.1"),
        "PSNR before": psnr(before, target),
        "PSNR after": psnr(after, target),
        "falls at every step": losses == sorted(losses, reverse=True),
        "losses": losses,
    }
    return row, Image.fromarray((after[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def slopes(device: str) -> list[dict[str, Any]]:
    """Return how large the gradient by the pixels is, for several losses and images."""
    images = {name: pil_to_tensor(image)[None].to(device) for name, image in starts().items()}
    rows: list[dict[str, Any]] = []
    for way, overrides in WAYS.items():
        loss = SemanticSimilarityLoss(overrides=overrides, cache_targets=True)
        row: dict[str, Any] = {"gradient of": way}
        for name, image in images.items():
            if name != GOAL:
                pixels = (image / 255).requires_grad_()
                [slope] = torch.autograd.grad(loss(pixels, images[GOAL]), pixels)
                row[name] = slope.norm().item()
        rows.append(row)
        if way == PLAIN:
            scores = {name: sess(image / 255, images[GOAL]) for name, image in images.items() if name != GOAL}
            rows.append({"gradient of": "-log SeSS", **{name: row[name] / score for name, score in scores.items()}})
    return rows


def sess(image: Tensor, target: Tensor, preset: str = "lite") -> float:
    return semantic_similarity_score(image, target, preset).item()


def psnr(image: Tensor, target: Tensor) -> float:
    return peak_signal_noise_ratio(image, target / 255, data_range=1.0).item()


def polyak(loss: SemanticSimilarityLoss, image: Tensor, target: Tensor, steps: int) -> tuple[Tensor, list[float]]:
    """Descend by steps that would each take a twentieth off the loss if it were linear."""
    losses = []
    for _ in range(steps):
        image = image.detach().requires_grad_()
        value = loss(image, target)
        [slope] = torch.autograd.grad(value, image)
        losses.append(value.item())
        image = (image - 0.05 * value * slope / slope.square().sum()).clamp(0, 1)
    return image.detach(), losses


def adam(loss: SemanticSimilarityLoss, image: Tensor, target: Tensor, steps: int) -> tuple[Tensor, list[float]]:
    """Descend by Adam, which forgets how large gradients are."""
    image = image.clone().requires_grad_()
    optimizer = torch.optim.Adam([image], 0.02)
    losses = []
    for _ in range(steps):
        value = loss(image, target)
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        with torch.no_grad():
            image.clamp_(0, 1)
    return image.detach(), losses


def draw(rows: Sequence[dict[str, Any]], pictures: dict[str, Image.Image]) -> None:
    """Draw where ascents led."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 8}):
        figure = Figure(figsize=(8.4, 2.7), layout="constrained")
        panels = figure.subplots(1, 1 + len(rows))
        panels[0].imshow(starts()[GOAL])
        panels[0].set_title("the goal\n\n", fontsize=8)
        for panel, row in zip(panels[1:], rows, strict=True):
            panel.imshow(pictures[row["from"]])
            panel.set_title(
                f"from {row['from']}\nSeSS {row['SeSS before']:.3f} to {row['SeSS after']:.3f}\n"
                f"lite-0.1: {row['lite-0.1 before']:.2f} to {row['lite-0.1 after']:.2f}",
                fontsize=8,
            )
        for panel in panels:
            panel.set_axis_off()
    FIGURES.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURES / "loss-ascent.png", dpi=130, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
