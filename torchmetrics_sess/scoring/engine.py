"""Batches of image pairs to matched scene graphs, in memory that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.cache import GraphCache
from torchmetrics_sess.extractor import SceneGraphExtractor, to_device
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import float_images
from torchmetrics_sess.matching import MatchingConfig, MatchResult, load_kernel, match_graph_pairs

# What goes through the networks at once is cut short for large photographs, to about 1.6 GB as float32.
_PIXELS_AT_ONCE = 1 << 27
# After so many passes in a row that were cut short and fitted, twice as many images are tried.
_PASSES_BEFORE_GROWTH = 16

ImagePair: TypeAlias = tuple[Tensor, Tensor]
"""A reconstruction and its original, as ``torchmetrics_sess.images.check_images`` returns them."""

Graph: TypeAlias = SceneGraph | torch.OutOfMemoryError
Match: TypeAlias = MatchResult | torch.OutOfMemoryError
"""What became of an image or a pair: an error is the reason why there is nothing else."""


class Room:
    """How many images go through the networks at once: as many as asked for, until they do not fit.

    Then half as many do, and after a while twice as many again, as ``torch.amp.GradScaler`` finds its scale.
    """

    def __init__(self) -> None:
        self._limit: int | None = None
        self._fitted = 0

    def first(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Return the images to begin with: at least one."""
        part: list[Tensor] = []
        pixels = 0
        for image in images[: self._limit]:
            pixels += image[0].numel()
            if part and pixels > _PIXELS_AT_ONCE:
                break
            part.append(image)
        return part

    def fitted(self, count: int) -> None:
        """Take note that so many images found their place."""
        self._fitted += count == self._limit
        if self._limit and self._fitted == _PASSES_BEFORE_GROWTH:
            self._limit, self._fitted = 2 * self._limit, 0

    def overflowed(self, count: int) -> None:
        """Take note that so many images did not."""
        # One that is too large by itself says nothing about the others.
        self._limit, self._fitted = count // 2 or None, 0


class Extraction:
    """Extracts the scene graphs of pairs, each image of a batch once, in passes that fit into memory.

    Args:
        extractor: makes the graphs.
        data_range: lowest and highest value of floating-point images.
        room: what is known about the memory.
        cache: where graphs of originals are kept, if anywhere.
        recipe: everything that these depend on besides the image; see ``GraphCache.keys``.
        device: where images go before they meet an extractor without a device of its own; by default, they stay.
    """

    def __init__(
        self,
        extractor: SceneGraphExtractor,
        data_range: tuple[float, float],
        room: Room,
        cache: GraphCache | None = None,
        recipe: str = "",
        device: torch.device | None = None,
    ) -> None:
        self._extractor = extractor
        self._device = extractor.device or device
        self._data_range = data_range
        self._room = room
        self._cache = cache
        self._recipe = recipe

    def __call__(self, pairs: Sequence[ImagePair]) -> list[tuple[Graph, Graph]]:
        """Return the graphs of every pair, in order."""
        targets = self._labels([target for _, target in pairs])
        labels = [(_identity(preds), label) for (preds, _), label in zip(pairs, targets, strict=True)]
        images = {
            label: image
            for names, pair in zip(labels, pairs, strict=True)
            for label, image in zip(names, pair, strict=True)
        }
        graphs = self._graphs(images, targets)
        return [(graphs[preds], graphs[target]) for preds, target in labels]

    def originals(self, targets: Sequence[Tensor]) -> list[Graph]:
        """Return the graphs of originals alone, in order: those that are kept, and for the rest new ones."""
        labels = self._labels(targets)
        graphs = self._graphs(dict(zip(labels, targets, strict=True)), labels)
        return [graphs[label] for label in labels]

    def _graphs(self, images: Mapping[str, Tensor], originals: Sequence[str]) -> dict[str, Graph]:
        """Return the graphs of images by label: those of originals that are kept, and for the rest new ones."""
        graphs: dict[str, Graph] = dict(self._cache.find(originals)) if self._cache else {}
        wanted = {label: image for label, image in images.items() if label not in graphs}
        extracted = dict(zip(wanted, self._extract(list(wanted.values())), strict=True))
        if self._cache:
            new = {label: extracted.get(label) for label in originals}
            self._cache.keep({label: graph for label, graph in new.items() if isinstance(graph, SceneGraph)})
        return graphs | extracted

    def _labels(self, targets: Sequence[Tensor]) -> list[str]:
        """Return what tells originals apart: with a cache, what they hold."""
        if self._cache is None:
            return [_identity(target) for target in targets]
        distinct = {_identity(target): target for target in targets}
        keys = dict(zip(distinct, self._cache.keys(list(distinct.values()), self._recipe), strict=True))
        return [keys[_identity(target)] for target in targets]

    def _extract(self, images: Sequence[Tensor]) -> list[Graph]:
        graphs: list[Graph] = []
        while len(graphs) < len(images):
            part = self._room.first(images[len(graphs) :])
            try:
                graphs += self._pass(part)
                self._room.fitted(len(part))
            except torch.OutOfMemoryError:
                self._room.overflowed(len(part))
                if len(part) == 1:
                    graphs.append(self._too_large(part[0]))
            # The next pass starts out here, where nothing holds on to what the failed one had on the device.
        return graphs

    def _pass(self, images: Sequence[Tensor]) -> list[SceneGraph]:
        # Bytes travel to the device, a quarter of what floats would be.
        on_device = images if self._device is None else to_device(images, self._device)
        return self._extractor.extract(float_images(on_device, self._data_range))

    def _too_large(self, image: Tensor) -> torch.OutOfMemoryError:
        height, width = image.shape[1:]
        device = self._device or image.device
        return torch.OutOfMemoryError(f"{device} has not enough memory for an image of {width} x {height} pixels")


def _identity(image: Tensor) -> str:
    """Name the memory that an image is in: checked anew, it is another tensor, but the same image."""
    return f"{image.device} {image.data_ptr()} {image.dtype} {list(image.shape)} {image.stride()}"


def match_batches(
    batches: Iterable[Sequence[ImagePair]],
    extract: Extraction,
    relation_similarity: Float[Tensor, "p p"],
    matching: MatchingConfig,
) -> Iterator[list[Match]]:
    """Match the pairs of one batch after the other; while one is matched, the next goes through the networks.

    Args:
        batches: pairs of images; a batch may be empty.
        extract: makes their scene graphs.
        relation_similarity: how alike two predicates are, ``[p, p]``.
        matching: the settings of matching.
    """
    with ThreadPoolExecutor(max_workers=1) as matcher:
        # The first images of a process go through the networks while the compiled kernel is loaded.
        matcher.submit(load_kernel)
        waiting: Future[list[Match]] | None = None
        for batch in batches:
            graphs = extract(batch)
            before, waiting = waiting, matcher.submit(_match, graphs, relation_similarity, matching)
            if before is not None:
                yield before.result()
        if waiting is not None:
            yield waiting.result()


def _match(graphs: Sequence[tuple[Graph, Graph]], relation_similarity: Tensor, matching: MatchingConfig) -> list[Match]:
    whole = [(a, b) for a, b in graphs if isinstance(a, SceneGraph) and isinstance(b, SceneGraph)]
    results = iter(match_graph_pairs([a for a, _ in whole], [b for _, b in whole], relation_similarity, matching))
    return [
        # The original is at fault first: it is so for all its reconstructions.
        b if isinstance(b, Exception) else a if isinstance(a, Exception) else next(results)
        for a, b in graphs
    ]
