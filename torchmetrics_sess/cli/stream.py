"""Any number of pairs of image files, from the disk to rows of scores."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from torchmetrics_sess.cli.output import refuse, refusing
from torchmetrics_sess.images import FilePair, read_image
from torchmetrics_sess.presets.pool import Networks
from torchmetrics_sess.results import OK, Row
from torchmetrics_sess.scoring import Rescale, Scorer
from torchmetrics_sess.scoring.engine import ImagePair
from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError

Measure: TypeAlias = Callable[[list[Tensor], list[Tensor]], list[float]]
"""Compares reconstructions with their originals, ``[3, H, W]`` uint8 each: one number for every pair."""


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """Two images to compare, reconstruction first, ``[3, H, W]`` uint8 each, or the reason why they cannot be.

    Pairs of one batch that have the same original share one tensor. ``values`` is what is known of the files besides.
    """

    pair: FilePair
    images: ImagePair | None
    failure: str = ""
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


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


def find_scorer(
    preset: str,
    settings: Mapping[str, object],
    *,
    rescale: Rescale = None,
    cache: Path | None = None,
    cache_size: float | None = None,
) -> Scorer:
    """Return a scorer whose networks are still to be loaded, or end the command if there is no such thing."""
    if cache is None and cache_size is not None:
        refuse("--cache-size says how much --cache FOLDER may take: name the folder")
    with refusing(ValueError, TypeError, cache_targets="--cache", cache_size_mib="--cache-size"):
        return Scorer(
            preset, overrides=settings, rescale=rescale, cache_targets=cache or False, cache_size_mib=cache_size
        )


def load_networks(scorer: Scorer, device: torch.device) -> Networks:
    """Return the networks of a scorer, or end the command if their weights are not to be had."""
    with refusing(MissingWeightError, CorruptWeightError):
        return scorer.networks.on(device)


def open_scorer(preset: str, settings: Mapping[str, object], device: torch.device) -> Scorer:
    """Return a scorer with its networks loaded, or end the command if there is no such thing."""
    scorer = find_scorer(preset, settings)
    load_networks(scorer, device)
    return scorer


def split(pairs: Iterable[FilePair], batch_size: int) -> Iterator[list[FilePair]]:
    """Cut a list of pairs into batches of ``batch_size`` or, to keep those of one original together, up to twice that.

    More than that are cut all the same, and the original is looked at once per batch: a batch has to fit into memory.
    """
    batch: list[FilePair] = []
    for pair in pairs:
        together = pair.origin and batch and pair.origin == batch[-1].origin
        if len(batch) >= (2 * batch_size if together else batch_size):
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def load_batches(
    batches: Iterable[Sequence[FilePair]], *, workers: int, read: Callable[[str], Tensor] = read_image
) -> Iterator[list[LoadedPair]]:
    """Read the image files of pairs; see ``read_ahead``."""
    for batch in read_ahead(batches, workers=workers, read=read):
        yield _loaded(*batch)


def read_ahead(
    batches: Iterable[Sequence[FilePair]], *, workers: int, read: Callable[[str], Tensor] = read_image
) -> Iterator[tuple[Sequence[FilePair], dict[str, Tensor | str]]]:
    """Read image files in ``workers`` threads, each file of a batch once, and one batch before it is asked for.

    ``read`` does so, or raises a ``ValueError`` that says why it cannot.

    Returns:
        Every batch, and by its path every image, ``[3, H, W]`` uint8, or the reason why it cannot be read.
    """
    pool = ThreadPoolExecutor(max_workers=workers)
    waiting: deque[tuple[Sequence[FilePair], dict[str, Future[Tensor | str]]]] = deque()
    try:
        for batch in batches:
            named = (path for pair in batch if not pair.problem for path in (pair.origin, pair.recon) if path)
            waiting.append((batch, {path: pool.submit(_read, path, read) for path in dict.fromkeys(named)}))
            if len(waiting) > 1:
                yield _finished(*waiting.popleft())
        while waiting:
            yield _finished(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def score_batches(
    batches: Iterable[Sequence[LoadedPair]],
    scorer: Scorer,
    *,
    device: torch.device,
    measures: Mapping[str, Measure] | None = None,
) -> Iterator[list[Row]]:
    """Score batches of pairs, in the order given, each image of a batch going through the networks once.

    Args:
        batches: what to compare; a batch that does not fit into memory goes through the networks in parts.
        scorer: how to compare it.
        device: where its networks are to work.
        measures: what else to compare it by; the results are the ``metrics`` of a row.
    """
    load_networks(scorer, device)
    waiting: deque[list[Row]] = deque()

    def pairs() -> Iterator[list[ImagePair]]:
        for batch in batches:
            values = _measure(batch, measures or {}, device)
            # The images are left behind: the next ones need their memory.
            waiting.append([_row(loaded, extra) for loaded, extra in zip(batch, values, strict=True)])
            yield [loaded.images for loaded in batch if loaded.images is not None]

    for scores in scorer.stream(pairs(), device):
        found = iter(scores)
        yield [_with_score(row, next(found)) if row.status == OK else row for row in waiting.popleft()]


def _read(path: str, read: Callable[[str], Tensor]) -> Tensor | str:
    try:
        return read(path)
    except ValueError as error:
        return str(error)


def _finished(
    batch: Sequence[FilePair], files: Mapping[str, Future[Tensor | str]]
) -> tuple[Sequence[FilePair], dict[str, Tensor | str]]:
    return batch, {path: image.result() for path, image in files.items()}


def _loaded(batch: Sequence[FilePair], files: Mapping[str, Tensor | str]) -> list[LoadedPair]:
    return [_load(pair, files) for pair in batch]


def _load(pair: FilePair, files: Mapping[str, Tensor | str]) -> LoadedPair:
    if pair.problem:
        return LoadedPair(pair, None, pair.problem)
    origin, recon = files[pair.origin], files[pair.recon]
    if isinstance(origin, str) or isinstance(recon, str):
        return LoadedPair(pair, None, origin if isinstance(origin, str) else str(recon))
    return LoadedPair(pair, (recon, origin))


def _measure(
    batch: Sequence[LoadedPair], measures: Mapping[str, Measure], device: torch.device
) -> list[dict[str, float]]:
    compared = [loaded.images for loaded in batch if loaded.images is not None]
    if not compared or not measures:
        return [{} for _ in batch]
    preds = [recon.to(device) for recon, _ in compared]
    target = [origin.to(device) for _, origin in compared]
    columns = {name: iter(measure(preds, target)) for name, measure in measures.items()}
    return [
        {} if loaded.images is None else {name: next(column) for name, column in columns.items()} for loaded in batch
    ]


def _row(loaded: LoadedPair, values: Mapping[str, float]) -> Row:
    """Return the row of a pair, whose score is still to come if there can be one."""
    if loaded.images is None:
        return Row(loaded.pair, None, loaded.failure)
    recon, origin = loaded.images
    return Row(loaded.pair, None, OK, {**loaded.values, **values}, sizes_differ=recon.shape != origin.shape)


def _with_score(row: Row, score: float | torch.OutOfMemoryError) -> Row:
    if isinstance(score, torch.OutOfMemoryError):
        return dataclasses.replace(row, status=str(score), sizes_differ=False)
    return dataclasses.replace(row, score=score)
