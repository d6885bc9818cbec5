"""Does `sess tune` find settings that were planted? Ratings simulated from known settings of the metric, plus noise.

    python -m benchmarks.trust.planted FOLDER [--half report] [--preset lite] [--trials 300] [--noise 0.5]

FOLDER holds photographs with objects that people drew, as for ``benchmarks.trust.robustness``; ten hard distortions of
each are rated. Printed: Spearman's correlation with the ratings on originals that were held out, of the settings to
start from, of those that were fitted, and of the planted ones themselves; and the gain on ratings that are noise.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from torchvision.transforms.functional import pil_to_tensor

from benchmarks.shared.reporting import write_results
from benchmarks.trust.hard_distortions import hard_distortions, load_drawn
from benchmarks.trust.robustness import half
from torchmetrics_sess.comparison import rank_correlation
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.judgements import Gain, RatingTarget, Trials, tune
from torchmetrics_sess.judgements.graphs import WeighedGraph, weigh
from torchmetrics_sess.judgements.trials import Settings
from torchmetrics_sess.presets import load_preset

PLANTED: Settings = {
    "matching.theta": 0.5,
    "matching.probability_center": 0.7,
    "matching.slack": 0.5,
    "matching.balance": "mean",
    "importance.threshold": 0.0,
    "importance.focus": 0.5,
}
FOLDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=["tune", "report"], help="only every other photograph, by name")
    parser.add_argument("--preset", default="lite")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.5, help="standard deviation, in steps of the scale")
    chosen = parser.parse_args()
    preset = load_preset(chosen.preset)
    extractor = preset.build("cpu")
    changes = dict(itertools.islice(hard_distortions().items(), 10))
    graphs: dict[str, WeighedGraph] = {}
    pairs: list[tuple[str, str]] = []
    for index, (name, scene) in enumerate(half(load_drawn(chosen.folder), chosen.half).items()):
        images = [scene.image, *(change(scene.image, index) for change in changes.values())]
        tensors = prepare_images([pil_to_tensor(image) for image in images], "images")
        names = [name, *(f"{name}, {change}" for change in changes)]
        graphs |= dict(zip(names, weigh(tensors, extractor, preset.importance), strict=True))
        pairs += [(changed, name) for changed in names[1:]]
    trials = Trials(graphs, pairs, preset.predicate_similarity(extractor), preset.matching, preset.importance)

    originals = [original for _, original in pairs]
    generator = np.random.default_rng(0)
    truth = trials.scores(PLANTED)
    steps = 1 + 4 * np.argsort(np.argsort(truth)) / (len(truth) - 1)
    ratings = steps + chosen.noise * generator.standard_normal(len(truth))
    found = tune(trials, RatingTarget(range(len(pairs)), ratings, originals), budget=chosen.trials, folds=FOLDS)
    noise = RatingTarget(range(len(pairs)), generator.permutation(ratings), originals)
    nothing = tune(trials, noise, budget=min(chosen.trials, 100), folds=FOLDS)
    row = {
        "preset": preset.signature(),
        "pairs": len(pairs),
        "trials": found.trials,
        "before": found.gain.before,
        "fitted": found.gain.after,
        "planted": own(truth, ratings, originals),
        "interval of the gain": list(found.gain.interval),
        "interval of the gain on noise": list(nothing.gain.interval),
        "settings": dict(found.settings),
    }
    print(f"{len(pairs)} pairs of {len(set(originals))} originals; SRCC on originals held out, mean of {FOLDS} folds")
    print(
        f"before {row['before']:.3f}, fitted {row['fitted']:.3f}, the planted settings themselves {row['planted']:.3f}"
    )
    print(f"gain {shown(found.gain)}; on noise {shown(nothing.gain)}")
    command = ["python", "-m", "benchmarks.trust.planted", *sys.argv[1:]]
    print(write_results("planted", [row], command))


def own(scores: np.ndarray, ratings: np.ndarray, originals: list[str]) -> float:
    """Return the agreement of the planted settings, on the folds of ``tune``."""
    names = sorted(set(originals))
    dealt = np.random.default_rng(0).permutation(len(names)) % FOLDS
    fold_of = dict(zip(names, dealt.tolist(), strict=True))
    fold = np.array([fold_of[original] for original in originals])
    return float(np.mean([rank_correlation(scores[fold == k], ratings[fold == k]) for k in range(FOLDS)]))


def shown(gain: Gain) -> str:
    return f"{gain.value:+.3f} [{gain.interval[0]:+.3f}, {gain.interval[1]:+.3f}]"


if __name__ == "__main__":
    main()
