"""Where the time of the default preset goes, stage by stage.

    python -m benchmarks.cost.profile_lite [--cuda] [--quick]

Every stage is timed on its own, the graphics card waited for before and after. With ``--cuda`` also: how often an
update waits for the card, for 4 pairs and for 16, and what bfloat16 and ``torch.compile`` would save in the network.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor, resize

from benchmarks.shared.photographs import load_photographs
from benchmarks.shared.reporting import write_results
from torchmetrics_sess import SceneGraphExtractor, SemanticSimilarityScore
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.segmenters.dino import DinoSegmenter, squash

PAIRS, SIDE = 8, 512


class Stopwatch:
    """Adds up the seconds spent in named stages."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Count what happens inside under ``name``."""
        start = self._now()
        yield
        self.seconds[name] += self._now() - start

    def around(self, name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``stage``, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.timing(name):
                return stage(*arguments, **options)

        return timed

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuda", action="store_true", help="measure on the graphics card")
    parser.add_argument("--quick", action="store_true", help="few repetitions; nothing is written")
    arguments = parser.parse_args()
    device = torch.device("cuda" if arguments.cuda else "cpu")

    rows = stages(device, repetitions=2 if arguments.quick else 7)
    total = sum(row["seconds"] for row in rows)
    print(f"{2 * PAIRS} images of {SIDE} x {SIDE}, {PAIRS} pairs: {total:.3f} s")
    for row in rows:
        print(f"{row['stage']:>24} {1e3 * row['seconds']:9.2f} ms {row['share']:7.1%}")
    if device.type == "cuda":
        for row in on_the_card(device):
            rows.append(row)
            print(", ".join(f"{key} {value:.4g}" if key != "network" else value for key, value in row.items()))
    if not arguments.quick:
        command = ["python", "-m", "benchmarks.cost.profile_lite", *sys.argv[1:]]
        print(f"written to {write_results(f'profile_lite-{device.type}', rows, command)}")


def stages(device: torch.device, repetitions: int) -> list[dict[str, Any]]:
    """Return a line for every stage, in the order of the data."""
    preset = load_preset("lite")
    built = preset.build(device)
    known = preset.predicate_similarity(built)
    images = photographs(2 * PAIRS, device)
    runs = []
    for _ in range(1 + repetitions):
        watch = Stopwatch(device)
        timed = SceneGraphExtractor(
            watch.around("segmenter", built.segmenter),
            watch.around("relations", built.relation_model),
            watch.around("encoder", built.encoder),
            importance=built.importance,
            max_width=built.max_width,
        )
        hooks = network_hooks(built.segmenter, watch)
        with watch.timing("prepare images"):
            prepared = prepare_images(images, "preds")
        with watch.timing("extract"):
            graphs = timed.extract(prepared)
        with watch.timing("matching"):
            match_graph_pairs(graphs[:PAIRS], graphs[PAIRS:], known, preset.matching)
        for hook in hooks:
            hook.remove()
        seconds = watch.seconds
        inside = seconds["segmenter"] + seconds["relations"] + seconds["encoder"]
        runs.append(
            {
                "prepare images": seconds["prepare images"],
                "network": seconds["network"],
                "regions": seconds["segmenter"] - seconds["network"],
                "relations": seconds["relations"],
                "features": seconds["encoder"],
                "importance, transfer": seconds["extract"] - inside,
                "matching": seconds["matching"],
            }
        )
    medians = {stage: statistics.median(run[stage] for run in runs[1:]) for stage in runs[0]}
    total = sum(medians.values())
    return [{"stage": stage, "seconds": value, "share": value / total} for stage, value in medians.items()]


def network_hooks(segmenter: Any, watch: Stopwatch) -> list[Any]:
    """Time the network within the segmenter, whatever the segmenter does before and after."""
    running = []

    def begin(*_: Any) -> None:
        running.append(watch.timing("network"))
        running[-1].__enter__()

    def end(*_: Any) -> None:
        running.pop().__exit__(None, None, None)

    network = segmenter.network
    return [network.register_forward_pre_hook(begin), network.register_forward_hook(end)]


def on_the_card(device: torch.device) -> list[dict[str, Any]]:
    """Return how often an update waits for the graphics card, and what lower precision and compilation would save."""
    rows: list[dict[str, Any]] = []
    for pairs in (4, 16):
        metric = SemanticSimilarityScore().to(device)
        images = photographs(2 * pairs, device)
        metric.update(images[:pairs], images[pairs:])
        torch.cuda.set_sync_debug_mode("warn")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            metric.update(images[:pairs], images[pairs:])
        torch.cuda.set_sync_debug_mode("default")
        rows.append({"pairs": pairs, "synchronizations": sum("synchroniz" in str(each.message) for each in caught)})

    segmenter = load_preset("lite").build(device).segmenter
    if not isinstance(segmenter, DinoSegmenter):
        raise TypeError("the preset `lite` has another segmenter now")
    squares = squash([image.float() / 255 for image in photographs(16, device)], segmenter.config.image_size)
    network = segmenter.network
    compiled = torch.compile(network)
    plain = 0.0
    for name, autocast, call in (
        ("float32", False, network),
        ("bfloat16", True, network),
        ("float32, compiled", False, compiled),
        ("bfloat16, compiled", True, compiled),
    ):

        def forward(autocast: bool = autocast, call: Any = call) -> Tensor:
            with full_precision(device), torch.autocast("cuda", torch.bfloat16, enabled=autocast):
                patches: Tensor = call(squares).patches
                return patches

        forward()
        times = []
        for _ in range(10):
            torch.cuda.synchronize()
            start = time.perf_counter()
            forward()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times)
        plain = plain or seconds
        rows.append({"network": name, "seconds": seconds, "speed_up": plain / seconds})
    return rows


def photographs(count: int, device: torch.device) -> Tensor:
    """Return as many photographs as asked for, repeated if need be, ``[count, 3, 512, 512]``."""
    loaded = [resize(pil_to_tensor(image), [SIDE, SIDE]) for image in load_photographs().values()]
    return torch.stack([loaded[k % len(loaded)] for k in range(count)]).to(device)


if __name__ == "__main__":
    main()
