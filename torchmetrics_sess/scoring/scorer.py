"""Pairs of images in, scores out: what the metric, the function and the commands have in common."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor

from torchmetrics_sess.__about__ import __version__
from torchmetrics_sess.cache import CacheInfo, GraphCache
from torchmetrics_sess.config import describe
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import NotFinite, OutOfRange, check_images, check_pair
from torchmetrics_sess.matching import MatchingConfig, MatchResult
from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.presets.pool import GivenNetworks, Networks, NetworkSource, PooledNetworks
from torchmetrics_sess.scoring.engine import Extraction, ImagePair, Room, match_batches
from torchmetrics_sess.scoring.fingerprint import computing_dtypes, fingerprint

Images: TypeAlias = Tensor | Sequence[Tensor]
Reduction: TypeAlias = Literal["mean", "sum", "none"] | None
Rescale: TypeAlias = Literal["baseline"] | None


class Scorer:
    """Everything that decides a score, and the steps from images to scores.

    It holds no networks, but knows where to find them; copies and pickles are small.

    Args:
        preset: name of a preset, path of a YAML file, or a preset.
        overrides: settings of the preset to change, by dotted name, such as ``{"matching.iterations": 3}``.
        extractor: a ready-made extractor in place of the preset's.
        relation_similarity: how alike two predicates are, ``[p, p]``, in place of the preset's.
        matching: settings of matching beside ``extractor``, by default the published ones. Beside a preset it is
            deprecated: use ``overrides``.
        data_range: lowest and highest value of floating-point images; uint8 is always 0 to 255.
        out_of_range: what floating-point values beyond ``data_range`` are: ``"raise"`` for an error, or ``"clamp"`` for
            its nearer end.
        nan: what images with NaN or infinite values are: ``"raise"`` for an error, or ``"skip"`` to leave their pairs
            out, with a warning.
        batch_size: how many pairs of images go through the networks at once; by default, all of a call.
        rescale: ``"baseline"`` for ``(score - b) / (1 - b)``, at least 0 and at most 1, with ``b`` the preset's
            baseline, which is what unrelated images score on average.
        cache_targets: whether and where to keep the scene graphs of targets: ``True`` for memory, or a folder.
        cache_size_mib: how much they may take, in MiB; by default, 512 in memory and 10240 in a folder.

    Raises:
        ValueError: for an unknown preset or setting, a setting out of range, arguments that exclude each other, or a
            folder that cannot be written to.
        TypeError: for a setting of a wrong type.
    """

    def __init__(
        self,
        preset: str | Path | Preset = "lite",
        *,
        overrides: Mapping[str, Any] | None = None,
        extractor: SceneGraphExtractor | None = None,
        relation_similarity: Float[Tensor, "p p"] | None = None,
        matching: MatchingConfig | None = None,
        data_range: Sequence[float | int] = (0.0, 1.0),
        out_of_range: OutOfRange = "raise",
        nan: NotFinite = "raise",
        batch_size: int | None = None,
        rescale: Rescale = None,
        cache_targets: bool | str | Path = False,
        cache_size_mib: float | int | None = None,
    ) -> None:
        self.data_range = _data_range(data_range)
        if out_of_range not in ("raise", "clamp"):
            raise ValueError(f"`out_of_range` must be 'raise' or 'clamp', got {out_of_range!r}")
        if nan not in ("raise", "skip"):
            raise ValueError(f"`nan` must be 'raise' or 'skip', got {nan!r}")
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1 or None, got {batch_size}")
        self.out_of_range: OutOfRange = out_of_range
        self.nan: NotFinite = nan
        self.batch_size = batch_size
        self.relation_similarity = relation_similarity
        self.preset: Preset | None = None
        self.networks: NetworkSource
        if extractor is None:
            self.preset = _preset(preset, overrides, matching)
            self.matching = self.preset.matching
            self.networks = PooledNetworks(self.preset)
        else:
            if preset != "lite" or overrides:
                raise ValueError("`extractor` takes the place of a preset: pass no `preset` or `overrides` beside it")
            if relation_similarity is None:
                raise ValueError(
                    "`extractor` needs `relation_similarity` beside it: the similarity of every two predicates, [p, p]"
                )
            if not isinstance(cache_targets, bool):
                raise ValueError(
                    "`cache_targets` must be True or False beside `extractor`: nothing tells whether the files in a "
                    "folder are of the same networks"
                )
            self.matching = matching or MatchingConfig()
            self.networks = GivenNetworks(Networks(extractor, relation_similarity))
        self.baseline = None if rescale is None else self._baseline(rescale, own="baseline" in (overrides or {}))
        self.cache = None if cache_targets is False else GraphCache(cache_targets, cache_size_mib)
        self._room = Room()
        self._skipped_some = False

    def __call__(self, preds: Images, target: Images, device: torch.device | str | None = None) -> list[float]:
        """Return the score of every pair, in order; of those that are skipped, there is none.

        Args:
            preds: ``[N, 3, H, W]``, or a list of ``[3, H, W]``; see ``torchmetrics_sess.images.check_images``.
            target: as many images.
            device: where the networks of a preset are to work, or where images go before they meet an extractor that
                was handed in; by default, where ``preds`` are.

        Raises:
            ValueError: for images of a wrong shape or range, or if there are not as many of each.
            TypeError: for images of a wrong type.
        """
        pairs = list(self.pairs(preds, target).values())
        if len(pairs) < len(preds):
            self._warn_of_skipped(len(preds) - len(pairs), len(preds))
        size = self.batch_size or max(1, len(pairs))
        batches = (pairs[start : start + size] for start in range(0, len(pairs), size))
        scores: list[float] = []
        for batch in self.stream(batches, torch.device(device or device_of(preds))):
            for score in batch:
                if isinstance(score, torch.OutOfMemoryError):
                    raise score
                scores.append(score)
        return scores

    def pairs(self, preds: Images, target: Images) -> dict[int, ImagePair]:
        """Return the pairs that are to be scored, checked, by their places.

        Raises:
            ValueError: for images of a wrong shape or range, or if there are not as many of each.
            TypeError: for images of a wrong type.
        """
        images, references = self.check(preds, "preds"), self.check(target, "target")
        check_pair(images, references)
        both = enumerate(zip(images, references, strict=True))
        return {index: (a, b) for index, (a, b) in both if a is not None and b is not None}

    def check(self, images: Images, name: str) -> list[Tensor | None]:
        """Check images as ``torchmetrics_sess.images.check_images`` does, by the settings of this scorer."""
        return check_images(images, name, self.data_range, out_of_range=self.out_of_range, nan=self.nan)

    def stream(
        self, batches: Iterable[Sequence[ImagePair]], device: torch.device
    ) -> Iterator[list[float | torch.OutOfMemoryError]]:
        """Pass on the scores of one batch after the other, in memory that does not grow with their number.

        Args:
            batches: pairs of images, as ``torchmetrics_sess.images.check_images`` returns them: the reconstruction
                first. An image that several pairs of a batch have in common, in one place of memory, is looked at
                once.
            device: where the networks of a preset are to work, or where images go before they meet an extractor that
                was handed in, unless it has a device of its own.

        Returns:
            A list for every batch, one batch later; an error stands in the place of a pair of which not even a single
            image fits into memory.
        """
        networks = self.networks.on(device)
        extract = self._extraction(networks, device)
        for matches in match_batches(batches, extract, self.predicate_similarity(networks), self.matching):
            yield [self._score(match) if isinstance(match, MatchResult) else match for match in matches]

    def originals(self, targets: Sequence[Tensor], device: torch.device) -> list[SceneGraph]:
        """Return the scene graphs of originals, in order: those that the cache keeps, and for the rest new ones.

        Args:
            targets: as ``check`` returns them.
            device: as for ``stream``.

        Raises:
            torch.OutOfMemoryError: if not even a single image fits into memory.
        """
        graphs: list[SceneGraph] = []
        for graph in self._extraction(self.networks.on(device), device).originals(targets):
            if isinstance(graph, torch.OutOfMemoryError):
                raise graph
            graphs.append(graph)
        return graphs

    def predicate_similarity(self, networks: Networks) -> Float[Tensor, "p p"]:
        """Return how alike two predicates are."""
        return networks.relation_similarity if self.relation_similarity is None else self.relation_similarity

    def cache_info(self) -> CacheInfo:
        """Say what the cache of target graphs has done; without one, all is 0."""
        return self.cache.info() if self.cache else CacheInfo(0, 0, 0, 0)

    def fingerprint(self) -> int:
        """Return a number that tells scorers of other results apart, within this process."""
        networks = self.preset or id(self.networks.on(torch.device("cpu")).extractor)
        images = self.data_range, self.out_of_range, self.nan
        parts = networks, self.matching, images, id(self.relation_similarity), self.baseline
        return hash(parts) % 2**32

    def signature(self, *, long: bool = False) -> str:
        """Name everything that can change a score, version last.

        Args:
            long: spell the settings' names out.
        """
        table = "relation_similarity=" if long else "R:"
        if self.preset is None:
            extractor = self.networks.on(torch.device("cpu")).extractor
            stages = {"seg": extractor.segmenter, "rel": extractor.relation_model, "enc": extractor.encoder}
            dtypes = dict.fromkeys(dtype for stage in stages.values() for dtype in computing_dtypes(stage))
            parts = [
                "SeSS",
                "preset:custom",
                *(f"{tag}:{type(stage).__name__},{fingerprint(stage)[:8]}" for tag, stage in stages.items()),
                f"imp:{describe(extractor.importance, long=long)}",
                f"match:{describe(self.matching, long=long)}",
                table,
                f"max_width={extractor.max_width}" if long else f"width{extractor.max_width}",
                f"dtype:{'+'.join(dtypes)}",
                f"v{__version__}",
            ]
        else:
            parts = self.preset.signature(long=long).split("|")
        if self.relation_similarity is not None:
            content = self.relation_similarity.detach().cpu().double().contiguous().numpy().tobytes()
            named = table + hashlib.sha256(content).hexdigest()[:8]
            parts = [named if part.startswith(table) else part for part in parts]
        if self.baseline is not None:
            parts.insert(-1, f"rescale:baseline{'=' if long else ''}{self.baseline}")
        return "|".join(parts)

    def _baseline(self, rescale: Rescale, *, own: bool) -> float:
        """Return the baseline to rescale by; ``own`` says that it was given for the settings at hand."""
        if rescale != "baseline":
            raise ValueError(f"`rescale` must be 'baseline' or None, got {rescale!r}")
        if self.preset is None:
            reason = "an `extractor` of your own has no baseline"
        elif self.relation_similarity is not None and not own:
            reason = f"that of {self.preset.name!r} was measured with its own `relation_similarity`"
        elif self.preset.baseline is not None:
            return self.preset.baseline
        elif self.preset.name.endswith("*"):
            reason = f"that of {self.preset.name.rstrip('*')!r} was measured without your changes to its settings"
        else:
            reason = f"none was measured for the preset {self.preset.name!r}"
        raise ValueError(
            f"`rescale='baseline'` needs the score of unrelated images, but {reason}; measure yours with "
            f"benchmarks/calibration/baseline.py and pass it in `overrides` as `baseline`"
        )

    def _warn_of_skipped(self, skipped: int, count: int) -> None:
        if not self._skipped_some:
            warnings.warn(
                f"{skipped} of {count} pairs are skipped, because an image has NaN or infinite values; there will be "
                "no other warning of this kind",
                stacklevel=3,
            )
        self._skipped_some = True

    def _extraction(self, networks: Networks, device: torch.device) -> Extraction:
        recipe = self._recipe(networks.extractor.device or device) if self.cache else ""
        return Extraction(networks.extractor, self.data_range, self._room, self.cache, recipe, device)

    def _score(self, match: MatchResult) -> float:
        return match.score if self.baseline is None else rescale_score(match.score, self.baseline)

    def _recipe(self, device: torch.device) -> str:
        """Name everything that the graph of an image depends on."""
        # An extractor of one's own is the only one that its cache ever meets.
        networks = self.preset.extraction_signature() if self.preset else ""
        return f"{networks}|data_range={self.data_range}|torch={torch.__version__}|{_arithmetic(device)}"


def device_of(images: Images) -> torch.device:
    """Return where images are."""
    return images.device if isinstance(images, Tensor) else images[0].device


def rescale_score(score: float, baseline: float) -> float:
    """Return a score on a scale on which unrelated images, those that score ``baseline``, score 0.

    Examples:
        >>> rescale_score(1.0, baseline=0.4), rescale_score(0.3, baseline=0.4)
        (1.0, 0.0)
    """
    return min(max((score - baseline) / (1 - baseline), 0.0), 1.0)


def check_reduction(reduction: Reduction) -> None:
    """Check that a reduction is a known one.

    Raises:
        ValueError: if it is not.
    """
    if reduction not in ("mean", "sum", "none", None):
        raise ValueError(f"`reduction` must be 'mean', 'sum', 'none' or None, got {reduction!r}")


def _arithmetic(device: torch.device) -> str:
    """Name what the last bit of a result may depend on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"cpu:{torch.backends.cpu.get_cpu_capability()},{torch.get_num_threads()} threads"
    return device.type


def _data_range(value: object) -> tuple[float, float]:
    wanted = f"`data_range` must be two finite numbers, the lower first, such as (0.0, 1.0), got {value!r}"
    try:
        low, high = map(float, cast(Iterable[Any], value))
    except TypeError as error:
        raise TypeError(wanted) from error
    except ValueError as error:
        raise ValueError(wanted) from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(wanted)
    return low, high


def _preset(
    preset: str | Path | Preset, overrides: Mapping[str, Any] | None, matching: MatchingConfig | None
) -> Preset:
    if not isinstance(preset, Preset):
        preset = load_preset(preset, overrides)
    elif overrides:
        raise ValueError("`overrides` change a preset as it is loaded: pass the preset by name or path beside them")
    if matching is None:
        return preset
    warnings.warn(
        "`matching` beside a preset is deprecated: use `overrides`, such as {'matching.iterations': 3}",
        FutureWarning,
        stacklevel=4,
    )
    if matching == preset.matching:
        return preset
    baseline = preset.baseline if overrides and "baseline" in overrides else None
    return dataclasses.replace(
        preset, name=f"{preset.name.rstrip('*')}*", matching=matching, baseline=baseline, tuned=None
    )
