"""How long do 500 trials of `sess tune` take on 2000 pairs, after their scene graphs were extracted?

    python -m benchmarks.cost.tuning [--quick] [--preset lite] [--trials 500] [--threads 2]

The graphs are those of the demo's photographs and of what its distortions make of them, each against each. A trial
changes all settings at once, importance among them, as those of the optimiser do.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time

import numpy as np
import torch
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.shared.reporting import write_results
from torchmetrics_sess.cli.distortions import distortions
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.judgements import VARIABLE, RatingTarget, Trials
from torchmetrics_sess.judgements.graphs import weigh
from torchmetrics_sess.judgements.tuning import default_settings
from torchmetrics_sess.photographs import NAMES
from torchmetrics_sess.presets import load_preset

PAIRS, TRIALS = 2000, 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--quick", action="store_true", help="4 trials on the pairs of one photograph; nothing is written"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    preset = load_preset(chosen.preset)
    extractor = preset.build("cpu")

    names = NAMES[:1] if chosen.quick else NAMES
    changes = list(distortions().items())[: 3 if chosen.quick else None]
    images = {f"{name}, {change}": pil_to_tensor(apply(name)) for name in names for change, apply in changes}
    start = time.perf_counter()
    weighed = weigh(prepare_images(list(images.values()), "images"), extractor, preset.importance)
    extraction = (time.perf_counter() - start) / len(images)
    graphs = dict(zip(images, weighed, strict=True))
    every = itertools.cycle(itertools.product(graphs, graphs))
    pairs = list(itertools.islice(every, 9 if chosen.quick else PAIRS))
    similarity = preset.predicate_similarity(extractor)
    trials = Trials(graphs, pairs, similarity, preset.matching, preset.importance)

    generator = np.random.default_rng(0)
    target = RatingTarget(range(len(pairs)), generator.random(len(pairs)), [original for _, original in pairs])
    varied = default_settings(trials, target)
    trials.scores({})
    durations = []
    busy = time.process_time()
    for _ in range(4 if chosen.quick else chosen.trials):
        settings = {name: VARIABLE[name].value(generator.uniform(*VARIABLE[name].bounds)) for name in varied}
        start = time.perf_counter()
        scores = trials.scores(settings)
        target.value(scores, np.arange(len(pairs)), 1.0)
        durations.append(time.perf_counter() - start)
    busy = time.process_time() - busy
    row = {
        "preset": preset.signature(),
        "pairs": len(pairs),
        "trials": len(durations),
        "varied": varied,
        "seconds": sum(durations),
        "seconds per trial": float(np.mean(durations)),
        "slowest trial": max(durations),
        "processor seconds per trial": busy / len(durations),
        "extraction of an image": extraction,
    }
    whole, each = sum(durations), float(np.mean(durations))
    print(
        f"{len(pairs)} pairs, {len(durations)} trials: {whole:.1f} s, {each:.3f} s a trial, "
        f"at most {max(durations):.3f}"
    )
    print(f"{busy / len(durations):.3f} s of processor time a trial, which other work on the machine does not change")
    print(f"{TRIALS} trials: {TRIALS * each / 60:.1f} minutes; before, {extraction:.2f} s to extract each image")
    if not chosen.quick:
        print(write_results("tuning-cpu", [row], ["python", "-m", "benchmarks.cost.tuning", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
