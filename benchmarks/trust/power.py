"""How wide are the intervals of a study? Simulated, by how many pairs are judged and by how many people.

    python -m benchmarks.trust.power [--quick]

Every original has six reconstructions, whose meaning falls in even steps; originals differ in how hard they are, a
rater errs by .8 steps of the scale, and a metric knows the truth up to an error of its own, half of which belongs to
the original. Printed for every size: the width of the 95 % interval of SRCC, and of the difference between that metric
and one with an error 1.5 times as large, both by bootstrap over originals, the mean of some studies.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from numpy.typing import NDArray

from benchmarks.shared.reporting import write_results
from torchmetrics_sess.comparison import rank_correlation
from torchmetrics_sess.judgements.agreement import interval_of, resamples_of

RECONS = 6
RATER, ORIGINAL, METRIC = 0.8, 0.5, 0.6


def study(originals: int, raters: int, seed: int) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Return mean ratings, and the values of a better and a worse metric."""
    generator = np.random.default_rng(seed)
    truth = np.linspace(1.2, 4.8, RECONS) + ORIGINAL * generator.standard_normal((originals, 1))
    single = truth[..., None] + RATER * generator.standard_normal((originals, RECONS, raters))
    ratings = single.round().clip(1, 5).mean(-1)
    error = generator.standard_normal((originals, 1)) + generator.standard_normal((originals, RECONS))
    other = generator.standard_normal((originals, 1)) + generator.standard_normal((originals, RECONS))
    metrics = [truth + METRIC * error / 2**0.5, truth + 1.5 * METRIC * other / 2**0.5]
    return ratings.ravel(), [metric.ravel() for metric in metrics]


def widths(originals: int, raters: int, studies: int, resamples: int) -> dict[str, float]:
    """Return the mean SRCC, and the mean widths of its interval and of that of the difference."""
    found = []
    names = np.repeat(np.arange(originals), RECONS).tolist()
    for seed in range(studies):
        ratings, (better, worse) = study(originals, raters, seed)
        drawn = np.array(
            [
                [rank_correlation(metric[chosen], ratings[chosen]) for metric in (better, worse)]
                for chosen in resamples_of(names, resamples, seed)
            ]
        )
        own, difference = interval_of(drawn[:, 0]), interval_of(drawn[:, 0] - drawn[:, 1])
        found.append([rank_correlation(better, ratings), own[1] - own[0], difference[1] - difference[0]])
    srcc, own_width, difference_width = np.mean(found, axis=0).tolist()
    return {"srcc": srcc, "width": own_width, "width of a difference": difference_width}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few studies; nothing is written")
    chosen = parser.parse_args()
    sizes = (10, 50) if chosen.quick else (5, 10, 25, 50, 100)
    rows = []
    print(f"{'pairs':>6}{'raters':>8}{'SRCC':>8}{'width':>8}{'width of a difference':>24}")
    for originals in sizes:
        for raters in (1, 5, 20):
            row = widths(originals, raters, *((2, 50) if chosen.quick else (8, 150)))
            rows.append({"pairs": originals * RECONS, "originals": originals, "raters": raters, **row})
            cells = (row["srcc"], row["width"], row["width of a difference"])
            print(f"{originals * RECONS:>6}{raters:>8}{cells[0]:>8.2f}{cells[1]:>8.2f}{cells[2]:>24.2f}")
    if not chosen.quick:
        print(write_results("power", rows, ["python", "-m", "benchmarks.trust.power", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
