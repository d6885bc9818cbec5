"""Any number of image pairs through the networks, in memory that does not grow with their number."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from torchmetrics_sess.cli.output import refuse, refusing
from torchmetrics_sess.image_files import FilePair, read_image
from torchmetrics_sess.scoring import Scorer
from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError

# A batch of large photographs is cut short, so that it stays within about 2 GB as float32.
_PIXELS_AT_ONCE = 1 << 27


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """Two images to compare, ``[3, H, W]`` uint8 each, or the reason why they cannot be."""

    name: str
    images: tuple[Tensor, Tensor] | None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a pair: a score, or the reason why there is none."""

    name: str
    score: float | None
    failure: str | None = None
    sizes_differ: bool = False


def open_device(name: str) -> torch.device:
    """Return the device called ``name``, or end the command if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    # Builds without support for a device raise AssertionError.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        refuse(f"there is no device {name!r} here: {reason}")
    return device


def open_scorer(preset: str, settings: dict[str, object], device: torch.device) -> Scorer:
    """Return a scorer with its networks loaded, or end the command if there is no such thing."""
    with refusing(ValueError, TypeError):
        scorer = Scorer(preset, overrides=settings)
    with refusing(MissingWeightError, CorruptWeightError):
        scorer.networks.on(device)
    return scorer


def load_pairs(pairs: Iterable[FilePair], *, ahead: int) -> Iterator[LoadedPair]:
    """Read image files in order, ``ahead`` pairs before they are asked for, in threads beside the networks."""
    pool = ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1))
    waiting: deque[Future[LoadedPair]] = deque()
    try:
        for pair in pairs:
            waiting.append(pool.submit(_load, pair))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def score_pairs(
    pairs: Iterable[LoadedPair], scorer: Scorer, *, device: torch.device, batch_size: int
) -> Iterator[Outcome]:
    """Score pairs, in the order given."""
    for batch in _batches(pairs, batch_size):
        images = [pair.images for pair in batch if pair.images is not None]
        try:
            # Bytes travel to the device, a quarter of what floats would be.
            recons = [recon.to(device, non_blocking=True) for _, recon in images]
            origins = [origin.to(device, non_blocking=True) for origin, _ in images]
            scores = iter(scorer(recons, origins, device) if images else [])
        except torch.OutOfMemoryError:
            refuse(f"{device} has not enough memory for {len(images)} pairs at once; pass a smaller --batch-size")
        for pair in batch:
            if pair.images is None:
                yield Outcome(pair.name, None, pair.failure)
            else:
                origin, recon = pair.images
                yield Outcome(pair.name, next(scores), sizes_differ=origin.shape != recon.shape)


def _load(pair: FilePair) -> LoadedPair:
    try:
        return LoadedPair(pair.name, (read_image(pair.origin), read_image(pair.recon)))
    except ValueError as error:
        return LoadedPair(pair.name, None, str(error))


def _batches(pairs: Iterable[LoadedPair], batch_size: int) -> Iterator[list[LoadedPair]]:
    batch: list[LoadedPair] = []
    pixels = 0
    for pair in pairs:
        size = sum(image[0].numel() for image in pair.images or ())
        if batch and (len(batch) == batch_size or pixels + size > _PIXELS_AT_ONCE):
            yield batch
            batch, pixels = [], 0
        batch.append(pair)
        pixels += size
    if batch:
        yield batch
