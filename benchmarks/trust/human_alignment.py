"""Do metrics agree with people? On data sets of human judgements that you have; this repository holds none.

    python -m benchmarks.trust.human_alignment tid2013 TID2013/
    python -m benchmarks.trust.human_alignment kadid kadid10k/ --metrics sess,psnr,ssim
    python -m benchmarks.trust.human_alignment sis sis_val.csv --images coco/
    python -m benchmarks.trust.human_alignment nights nights/ --split test
    python -m benchmarks.trust.human_alignment csv pairs.csv          columns image_a,image_b,human_score

For ratings: rank correlations (SRCC, KRCC), and Pearson's after the logistic fit that is the convention of image
quality assessment (PLCC). For choices between two images: how many people choose as the metric does (2AFC). With
95 % intervals, and p-values for the difference of every two metrics, both by bootstrap over the reference images.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.shared.reporting import write_results
from benchmarks.trust.agreement import Agreement, Numbers, agreement, choice_statistics, rating_statistics
from benchmarks.trust.human_judgements import Judgements, read_kadid, read_nights, read_plain, read_sis, read_tid2013
from torchmetrics_sess.cli.progress import track
from torchmetrics_sess.comparison import (
    ImageMetric,
    IncomparableWarning,
    MissingMetricError,
    available_metrics,
    image_metrics,
)
from torchmetrics_sess.images import read_image

READERS: dict[str, Callable[[argparse.Namespace], Judgements]] = {
    "nights": lambda chosen: read_nights(chosen.path, chosen.split, chosen.min_votes),
    "sis": lambda chosen: read_sis(chosen.path, chosen.images or chosen.path.parent),
    "tid2013": lambda chosen: read_tid2013(chosen.path),
    "kadid": lambda chosen: read_kadid(chosen.path),
    "csv": lambda chosen: read_plain(chosen.path),
}


def main(arguments: Sequence[str] | None = None) -> int:
    chosen = parse(arguments)
    try:
        judgements = READERS[chosen.dataset](chosen)
        names = chosen.metrics.split(",") if chosen.metrics else available_metrics(chosen.preset)
        metrics = image_metrics(names, chosen.device, preset=chosen.preset)
        report(judgements, metrics, chosen)
    except (ValueError, MissingMetricError) as error:
        print(f"human_alignment: {error}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=READERS)
    parser.add_argument("path", type=Path, help="folder of the data set, or its CSV file")
    parser.add_argument("--images", type=Path, help="sis: folder of the COCO images; by default, that of the CSV file")
    parser.add_argument("--split", default="test", help="nights: train, val or test")
    parser.add_argument("--min-votes", type=int, default=6, help="nights: leave out triplets with fewer votes")
    parser.add_argument("--metrics", help="names, separated by commas; by default, all whose weights are here")
    parser.add_argument("--preset", default="lite", help="of sess")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--limit", type=int, help="only so many judgements, drawn at random with the seed")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write results/human_alignment-DATASET.json")
    return parser.parse_args(arguments)


def report(judgements: Judgements, metrics: Mapping[str, ImageMetric], chosen: argparse.Namespace) -> None:
    kept = draw(len(judgements.human), chosen.limit, chosen.seed)
    # The pairs of one reference lie side by side, so that it goes through the networks once.
    pairs = [(judgements.references[index], other) for index in kept for other in judgements.others[index]]
    found = measure(pairs, metrics, chosen.batch_size)
    values = {name: column.reshape(len(kept), -1) for name, column in found.items()}
    undefined = np.isnan(np.concatenate(list(values.values()), axis=1)).any(axis=1)
    if undefined.all():
        raise ValueError("there is no judgement for which every metric has a value; choose fewer metrics")
    values = {name: column[~undefined] for name, column in values.items()}
    human = np.array(judgements.human)[kept][~undefined]
    references = [judgements.references[index] for index in np.array(kept)[~undefined]]

    first = {name: column[:, 0] for name, column in values.items()}
    if judgements.choices:
        statistics = choice_statistics(first, {name: column[:, 1] for name, column in values.items()})
    else:
        statistics = rating_statistics(first, human)
    results = {
        statistic.name: agreement(statistic, human, references, resamples=chosen.resamples, seed=chosen.seed)
        for statistic in statistics
    }
    left_out = int(undefined.sum())
    show(results, len(human), len(set(references)), left_out, chosen.dataset)
    if chosen.write:
        command = ["python", "-m", "benchmarks.trust.human_alignment", *sys.argv[1:]]
        print(write_results(f"human_alignment-{chosen.dataset}", rows(results, len(human), left_out), command))


def draw(count: int, limit: int | None, seed: int) -> list[int]:
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, size=limit, replace=False).tolist())


def measure(
    pairs: Sequence[tuple[Path, Path]], metrics: Mapping[str, ImageMetric], batch_size: int
) -> dict[str, Numbers]:
    """Return what every metric says of (reference, other) pairs, the sign turned where lower is more alike."""
    values: dict[str, list[float]] = {name: [] for name in metrics}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncomparableWarning)
        for batch in batches(track(pairs, len(pairs), "comparing"), batch_size):
            images = {path: read_image(path) for pair in batch for path in pair}
            target: list[Tensor] = [images[reference] for reference, _ in batch]
            preds: list[Tensor] = [images[other] for _, other in batch]
            for name, metric in metrics.items():
                sign = 1 if metric.higher_is_better else -1
                values[name] += [sign * value for value in metric(preds, target)]
    return {name: np.array(found) for name, found in values.items()}


def batches(pairs: Iterable[tuple[Path, Path]], size: int) -> Iterator[list[tuple[Path, Path]]]:
    batch: list[tuple[Path, Path]] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def show(found: Mapping[str, Agreement], judgements: int, references: int, left_out: int, dataset: str) -> None:
    console = Console(highlight=False, markup=False)
    first = next(iter(found.values()))
    order = sorted(first.value, key=lambda name: -np.nan_to_num(first.value[name], nan=-1))
    console.print(f"{dataset}: {judgements} judgements of {references} reference images")
    if left_out:
        console.print(f"left out, because a metric has no value for them: {left_out}")
    table = Table("metric", *(f"{name} (95 %)" for name in found), box=box.SIMPLE_HEAD, pad_edge=False)
    for metric in order:
        cells = [
            f"{each.value[metric]:.3f} [{each.interval[metric][0]:.3f}, {each.interval[metric][1]:.3f}]"
            for each in found.values()
        ]
        table.add_row(metric, *cells)
    console.print(table)
    if len(order) < 2:
        return
    name = next(iter(found))
    console.print(f"p-values of the difference in {name} (paired bootstrap over reference images, not corrected)")
    table = Table("", *order, box=box.SIMPLE_HEAD)
    for metric in order:
        table.add_row(metric, *(probability(first, metric, other) for other in order))
    console.print(table)


def probability(found: Agreement, metric: str, other: str) -> str:
    if metric == other:
        return ""
    value = found.p_values.get((metric, other), found.p_values.get((other, metric), float("nan")))
    return f"{value:.3f}"


def rows(found: Mapping[str, Agreement], judgements: int, left_out: int) -> list[dict[str, Any]]:
    return [
        {
            "statistic": name,
            "metric": metric,
            "value": each.value[metric],
            "interval": list(each.interval[metric]),
            "judgements": judgements,
            "left_out": left_out,
            "p_values": {
                first if second == metric else second: value
                for (first, second), value in each.p_values.items()
                if metric in (first, second)
            },
        }
        for name, each in found.items()
        for metric in each.value
    ]


if __name__ == "__main__":
    sys.exit(main())
