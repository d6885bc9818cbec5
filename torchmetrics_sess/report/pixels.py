"""PSNR and SSIM of pairs whose results file does not have them."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from math import isnan

import numpy as np
import torch

from torchmetrics_sess.results import Row

NAMES = ("psnr", "ssim")


def is_measured(row: Row) -> bool:
    """Say whether a row has both."""
    return all(name in row.metrics for name in NAMES)


def choose_unmeasured(positions: Sequence[int], limit: int) -> list[int]:
    """Return ``positions``, or ``limit`` of them, chosen at random but always the same."""
    if len(positions) <= limit:
        return list(positions)
    return sorted(np.random.default_rng(0).choice(positions, limit, replace=False).tolist())


def measure(rows: Sequence[Row], device: torch.device) -> Iterator[Row]:
    """Return rows with PSNR and SSIM, if their images are there and of the same size, else as they are."""
    from torchmetrics_sess.comparison import IncomparableWarning, image_metrics
    from torchmetrics_sess.images import read_image

    metrics = image_metrics(NAMES, device)
    for row in rows:
        try:
            images, references = [read_image(row.pair.recon)], [read_image(row.pair.origin)]
        except ValueError:
            yield row
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IncomparableWarning)
            values = {name: metric(images, references)[0] for name, metric in metrics.items()}
        found = {name: value for name, value in values.items() if not isnan(value)}
        yield dataclasses.replace(row, metrics={**found, **row.metrics})
