"""Any number of image pairs through the networks, in memory that does not grow with their number."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from torchmetrics_sess.cli.output import refuse, refusing
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import FilePair, prepare_images, read_image
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.pool import Networks
from torchmetrics_sess.rows import OK, Row
from torchmetrics_sess.scoring import Scorer
from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError

# What goes through the networks at once is cut short for large photographs, to about 1.6 GB as float32.
_PIXELS_AT_ONCE = 1 << 27

Measure: TypeAlias = Callable[[list[Tensor], list[Tensor]], list[float]]
"""Compares reconstructions with their originals, ``[3, H, W]`` uint8 each: one number for every pair."""


@dataclass(frozen=True, slots=True)
class LoadedPair:
    """Two images to compare, original first, ``[3, H, W]`` uint8 each, or the reason why they cannot be.

    Pairs of one batch that have the same original share one tensor.
    """

    pair: FilePair
    images: tuple[Tensor, Tensor] | None
    failure: str = ""


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


def find_scorer(preset: str, settings: dict[str, object]) -> Scorer:
    """Return a scorer whose networks are still to be loaded, or end the command if there is no such thing."""
    with refusing(ValueError, TypeError):
        return Scorer(preset, overrides=settings)


def load_networks(scorer: Scorer, device: torch.device) -> Networks:
    """Return the networks of a scorer, or end the command if their weights are not to be had."""
    with refusing(MissingWeightError, CorruptWeightError):
        return scorer.networks.on(device)


def open_scorer(preset: str, settings: dict[str, object], device: torch.device) -> Scorer:
    """Return a scorer with its networks loaded, or end the command if there is no such thing."""
    scorer = find_scorer(preset, settings)
    load_networks(scorer, device)
    return scorer


def split(pairs: Iterable[FilePair], batch_size: int) -> Iterator[list[FilePair]]:
    """Cut a list of pairs into batches of ``batch_size`` or, to keep those of one original together, a few more."""
    batch: list[FilePair] = []
    for pair in pairs:
        if len(batch) >= batch_size and not (pair.origin and pair.origin == batch[-1].origin):
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


def load_batches(batches: Iterable[Sequence[FilePair]], *, workers: int) -> Iterator[list[LoadedPair]]:
    """Read image files in ``workers`` threads, each file of a batch once, and one batch before it is asked for."""
    pool = ThreadPoolExecutor(max_workers=workers)
    waiting: deque[tuple[Sequence[FilePair], dict[str, Future[Tensor | str]]]] = deque()
    try:
        for batch in batches:
            paths = dict.fromkeys(path for pair in batch if not pair.problem for path in (pair.origin, pair.recon))
            waiting.append((batch, {path: pool.submit(_read, path) for path in paths}))
            if len(waiting) > 1:
                yield _loaded(*waiting.popleft())
        while waiting:
            yield _loaded(*waiting.popleft())
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
    networks = load_networks(scorer, device)
    extract = _Extraction(networks, device)
    # While one batch is matched on the processor, the next goes through the networks.
    with ThreadPoolExecutor(max_workers=1) as matcher:
        matching: Future[list[Row]] | None = None
        for batch in batches:
            graphs = extract(batch)
            values = _measure(batch, measures or {}, device)
            # The images are left behind: the next ones need their memory.
            extracted = [_with_graphs(loaded, graphs, extra) for loaded, extra in zip(batch, values, strict=True)]
            before, matching = matching, matcher.submit(_match, extracted, networks, scorer)
            if before is not None:
                yield before.result()
        if matching is not None:
            yield matching.result()


class _Extraction:
    """Extracts the scene graphs of images, in parts that fit into memory.

    What does not fit is halved, and later parts with it.
    """

    def __init__(self, networks: Networks, device: torch.device) -> None:
        self._extractor = networks.extractor
        self._device = device
        self._at_once: int | None = None

    def __call__(self, batch: Sequence[LoadedPair]) -> dict[int, SceneGraph | str]:
        """Return the graph of every image, or why there is none, by the identity of its tensor."""
        images = list({id(image): image for loaded in batch for image in loaded.images or ()}.values())
        graphs: list[SceneGraph | str] = []
        while len(graphs) < len(images):
            part = self._part(images[len(graphs) :])
            try:
                # Bytes travel to the device, a quarter of what floats would be.
                on_device = [image.to(self._device, non_blocking=True) for image in part]
                graphs += self._extractor.extract(prepare_images(on_device, "images"))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    height, width = part[0].shape[1:]
                    graphs.append(f"{self._device} has not enough memory for an image of {width} x {height} pixels")
                self._at_once = max(1, len(part) // 2)
        return {id(image): graph for image, graph in zip(images, graphs, strict=True)}

    def _part(self, images: Sequence[Tensor]) -> list[Tensor]:
        part: list[Tensor] = []
        pixels = 0
        for image in images[: self._at_once]:
            pixels += image[0].numel()
            if part and pixels > _PIXELS_AT_ONCE:
                break
            part.append(image)
        return part


def _read(path: str) -> Tensor | str:
    try:
        return read_image(path)
    except ValueError as error:
        return str(error)


def _loaded(batch: Sequence[FilePair], files: Mapping[str, Future[Tensor | str]]) -> list[LoadedPair]:
    return [_load(pair, files) for pair in batch]


def _load(pair: FilePair, files: Mapping[str, Future[Tensor | str]]) -> LoadedPair:
    if pair.problem:
        return LoadedPair(pair, None, pair.problem)
    origin, recon = files[pair.origin].result(), files[pair.recon].result()
    if isinstance(origin, str) or isinstance(recon, str):
        return LoadedPair(pair, None, origin if isinstance(origin, str) else str(recon))
    return LoadedPair(pair, (origin, recon))


def _measure(
    batch: Sequence[LoadedPair], measures: Mapping[str, Measure], device: torch.device
) -> list[dict[str, float]]:
    compared = [loaded.images for loaded in batch if loaded.images is not None]
    if not compared or not measures:
        return [{} for _ in batch]
    target = [origin.to(device) for origin, _ in compared]
    preds = [recon.to(device) for _, recon in compared]
    columns = {name: iter(measure(preds, target)) for name, measure in measures.items()}
    return [
        {} if loaded.images is None else {name: next(column) for name, column in columns.items()} for loaded in batch
    ]


def _with_graphs(
    loaded: LoadedPair, graphs: Mapping[int, SceneGraph | str], values: Mapping[str, float]
) -> tuple[Row, tuple[SceneGraph, SceneGraph] | None]:
    """Return the row of a pair and the graphs that its score is still to come from, if there can be one."""
    if loaded.images is None:
        return Row(loaded.pair, None, loaded.failure), None
    origin, recon = (graphs[id(image)] for image in loaded.images)
    if isinstance(origin, str) or isinstance(recon, str):
        return Row(loaded.pair, None, origin if isinstance(origin, str) else str(recon), values), None
    sizes_differ = loaded.images[0].shape != loaded.images[1].shape
    return Row(loaded.pair, None, OK, values, sizes_differ), (origin, recon)


def _match(
    extracted: Sequence[tuple[Row, tuple[SceneGraph, SceneGraph] | None]], networks: Networks, scorer: Scorer
) -> list[Row]:
    origins = [graphs[0] for _, graphs in extracted if graphs]
    recons = [graphs[1] for _, graphs in extracted if graphs]
    results = iter(match_graph_pairs(recons, origins, networks.relation_similarity, scorer.matching))
    return [dataclasses.replace(row, score=next(results).score) if graphs else row for row, graphs in extracted]
