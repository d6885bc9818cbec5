"""Other measures of how alike two images are, by name: what a semantic score is to be held against.

``docs/comparison.md`` defines each of them.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from torchmetrics_sess.extractor import to_cpu
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.images import check_pair, prepare_images
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.pool import Networks, pooled_networks
from torchmetrics_sess.precision import full_precision
from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.stages import Image
from torchmetrics_sess.weights import WEIGHTS, CorruptWeightError, MissingWeightError, is_offline, path_of


class MissingMetricError(RuntimeError):
    """A metric needs weights that are not on this machine, and could not or must not be downloaded."""


class IncomparableWarning(UserWarning):
    """A metric has no value for some pair of images."""


# Of the small ones of `lite`, these take some 10 MB.
_GRAPHS_KEPT = 256

_Numbers: TypeAlias = Sequence[float] | NDArray[np.float64]
_Compare: TypeAlias = Callable[[list[Image], list[Image]], list[float]]


class ImageMetric:
    """Compares images pair by pair.

    Args:
        name: what users call it.
        compare: gives the values of pairs of images on the device, float32 in [0, 1].
        device: where it works.
        higher_is_better: whether a greater value means that two images are more alike.
        same_size: whether the images of a pair must have the same size.
        smallest: the least height and width of an image, in pixels.
    """

    def __init__(
        self,
        name: str,
        compare: _Compare,
        device: torch.device,
        *,
        higher_is_better: bool = True,
        same_size: bool = False,
        smallest: int = 1,
    ) -> None:
        self.name = name
        self.higher_is_better = higher_is_better
        self.same_size = same_size
        self.smallest = smallest
        self._compare = compare
        self._device = device
        self._warned: set[str] = set()

    def __repr__(self) -> str:
        return f"ImageMetric({self.name!r})"

    def __call__(self, preds: Sequence[Tensor], target: Sequence[Tensor]) -> list[float]:
        """Return the value of every pair, in order.

        Args:
            preds: images ``[3, H, W]`` of any sizes, uint8, or floating point in [0, 1].
            target: as many images.

        Returns:
            A number per pair; NaN, with one warning per metric and reason, where the metric is not defined.

        Raises:
            ValueError: for images of a wrong shape or range, or if there are not as many of each.
            TypeError: for images of a wrong type.
        """
        images = [image.to(self._device) for image in prepare_images(list(preds), "preds")]
        references = [image.to(self._device) for image in prepare_images(list(target), "target")]
        check_pair(images, references)
        pairs = []
        for index, (image, reference) in enumerate(zip(images, references, strict=True)):
            reason = self._why_not(image, reference)
            if reason is None:
                pairs.append(index)
            elif reason not in self._warned:
                self._warned.add(reason)
                warnings.warn(f"{self.name} compares {reason}; other pairs get NaN", IncomparableWarning, stacklevel=2)
        values = [math.nan] * len(images)
        if pairs:
            with full_precision(self._device):
                found = self._compare([images[index] for index in pairs], [references[index] for index in pairs])
            for index, value in zip(pairs, found, strict=True):
                values[index] = value
        return values

    def _why_not(self, image: Image, reference: Image) -> str | None:
        if self.same_size and image.shape != reference.shape:
            return "images of one size"
        if min(*image.shape[1:], *reference.shape[1:]) < self.smallest:
            return f"images of at least {self.smallest} x {self.smallest} pixels"
        return None


def image_metrics(
    names: Iterable[str],
    device: torch.device | str = "cpu",
    *,
    preset: str | Path | Preset = "lite",
    overrides: Mapping[str, Any] | None = None,
    on_missing: Callable[[str, str], None] | None = None,
) -> dict[str, ImageMetric]:
    """Return metrics by name, with their networks loaded; weights that are not on this machine are fetched.

    Those that look at the same scene graphs share them: called one after the other with the same images, they extract
    them once.

    Args:
        names: any of ``METRICS``.
        device: where they work.
        preset: of ``sess`` alone, as for ``torchmetrics_sess.semantic_similarity_score``.
        overrides: settings of that preset to change.
        on_missing: is called with the name of a metric that cannot be had and the reason, and the metric is left out;
            by default, that is an error.

    Raises:
        ValueError: for a name that is none of ``METRICS``, or an unknown preset or setting.
        MissingMetricError: if weights are not here and cannot be had.

    Examples:
        >>> import torch
        >>> metrics = image_metrics(["psnr", "ssim"])
        >>> black, grey = torch.zeros(3, 16, 16), torch.full((3, 16, 16), 0.1)
        >>> [round(value, 2) for value in metrics["psnr"]([grey, black], [black, black])]
        [20.0, inf]
    """
    device = torch.device(device)
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in METRICS:
            from torchmetrics_sess.config import nearest

            raise ValueError(f"unknown metric {name!r}{nearest(name, METRICS)}")
    stores = _Stores(device)
    chosen = preset if isinstance(preset, Preset) else load_preset(preset, overrides)
    metrics = {}
    for name in names:
        kind = METRICS[name]
        try:
            compare = kind.build(_Context(device, stores, chosen))
        except (MissingWeightError, CorruptWeightError, MissingMetricError) as error:
            if on_missing is None:
                raise MissingMetricError(f"{name}: {error}") from error
            on_missing(name, str(error))
            continue
        metrics[name] = ImageMetric(
            name,
            compare,
            device,
            higher_is_better=kind.higher_is_better,
            same_size=kind.same_size,
            smallest=kind.smallest,
        )
    return metrics


def available_metrics(preset: str | Path | Preset = "lite") -> list[str]:
    """Return the names of the metrics that need no download, in the order of ``METRICS``.

    Args:
        preset: of ``sess``.
    """
    return [name for name in METRICS if name not in missing_metrics(preset)]


def missing_metrics(preset: str | Path | Preset = "lite") -> dict[str, str]:
    """Return the metrics whose weights are not on this machine, with what is missing; nothing is downloaded.

    Args:
        preset: of ``sess``.
    """
    chosen = preset if isinstance(preset, Preset) else load_preset(preset)
    found = {name: kind.missing(chosen) for name, kind in METRICS.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


class ViTScore(NamedTuple):
    """How well the tokens of two images match, each in [-1, 1], ``[b]``.

    Args:
        precision: how well the tokens of the prediction are found among those of the target.
        recall: how well the tokens of the target are found among those of the prediction.
        f1: their harmonic mean; 0 where one of them is not positive.
    """

    precision: Float[Tensor, " b"]
    recall: Float[Tensor, " b"]
    f1: Float[Tensor, " b"]


def vit_score(preds: Float[Tensor, "b m d"], target: Float[Tensor, "b n d"]) -> ViTScore:
    """Match the tokens of images as BERTScore matches words: each takes the most similar one of the other image.

    Zhu et al., *How to Evaluate Semantic Communications for Images with ViTScore Metric?* (arXiv 2309.04891).

    Args:
        preds: embedding of every patch of the predictions.
        target: those of the targets; as many images, of any number of patches.

    Examples:
        >>> import torch
        >>> vit_score(torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.tensor([[[3.0, 0.0]]]))
        ViTScore(precision=tensor([0.5000]), recall=tensor([1.]), f1=tensor([0.6667]))
    """
    cosine = normalize(preds, dim=-1) @ normalize(target, dim=-1).mT
    precision, recall = cosine.amax(2).mean(1), cosine.amax(1).mean(1)
    low, high = precision.clamp_min(0), recall.clamp_min(0)
    return ViTScore(precision, recall, 2 * low * high / (low + high).clamp_min(torch.finfo(cosine.dtype).tiny))


def rank_correlation(a: _Numbers, b: _Numbers) -> float:
    """Return Spearman's rank correlation of two sequences; NaN if either is constant, which orders nothing.

    Args:
        a: numbers without NaN; infinite ones rank first or last.
        b: as many.

    Examples:
        >>> round(rank_correlation([1.0, 2.0, 3.0, float("inf")], [10.0, 20.0, 40.0, 30.0]), 6)
        0.8
    """
    from scipy.stats import rankdata

    ranks = rankdata(a), rankdata(b)
    if any(np.ptp(each) == 0 for each in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


class _SceneGraphs:
    """Images to scene graphs; those met last are remembered, as several metrics ask for the same."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self._known: dict[bytes, SceneGraph] = {}

    def __call__(self, images: list[Image]) -> list[SceneGraph]:
        # By content: an image may be written to between two calls, and a target is often met more than once.
        keys = [_digest(image) for image in to_cpu(images)]
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in self._known}
        extracted = self.networks.extractor.extract(list(new.values())) if new else []
        asked = {key: self._known[key] for key in keys if key in self._known}
        asked |= dict(zip(new, extracted, strict=True))
        before = {key: graph for key, graph in self._known.items() if key not in asked}
        self._known = dict([*before.items(), *asked.items()][-max(_GRAPHS_KEPT, len(asked)) :])
        return [asked[key] for key in keys]

    def pairs(self, preds: list[Image], target: list[Image]) -> tuple[list[SceneGraph], list[SceneGraph]]:
        graphs = self(preds + target)
        return graphs[: len(preds)], graphs[len(preds) :]


def _digest(image: Image) -> bytes:
    return hashlib.sha256(repr(image.shape).encode() + image.numpy().tobytes()).digest()


class _Stores:
    """One ``_SceneGraphs`` for all metrics whose presets have the same networks."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stores: dict[Preset, _SceneGraphs] = {}

    def of(self, preset: Preset) -> _SceneGraphs:
        key = preset.networks_alone()
        if key not in self._stores:
            self._stores[key] = _SceneGraphs(pooled_networks(preset, self._device))
        return self._stores[key]


@dataclass(frozen=True)
class _Context:
    """What a metric is built from: where it works, whom it shares scene graphs with, and the preset of ``sess``."""

    device: torch.device
    stores: _Stores
    preset: Preset


def _nothing_missing(preset: Preset) -> str | None:
    return None


@dataclass(frozen=True)
class _Kind:
    title: str
    build: Callable[[_Context], _Compare]
    missing: Callable[[Preset], str | None] = _nothing_missing
    higher_is_better: bool = True
    same_size: bool = False
    smallest: int = 1


def _one_by_one(compare: Callable[[Tensor, Tensor], Tensor]) -> _Compare:
    """Compare pairs ``[1, 3, h, w]`` on their own, so that no value depends on its batch."""

    def compare_all(preds: list[Image], target: list[Image]) -> list[float]:
        values = [
            compare(image[None], reference[None]).reshape(()) for image, reference in zip(preds, target, strict=True)
        ]
        return torch.stack(values).tolist()

    return compare_all


def _psnr(context: _Context) -> _Compare:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return _one_by_one(lambda image, reference: peak_signal_noise_ratio(image, reference, data_range=1.0))


def _ssim(context: _Context) -> _Compare:
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    def compare(image: Tensor, reference: Tensor) -> Tensor:
        value = ssim(image, reference, data_range=1.0)
        return value[0] if isinstance(value, tuple) else value

    return _one_by_one(compare)


def _ms_ssim(context: _Context) -> _Compare:
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    return _one_by_one(lambda image, reference: ms_ssim(image, reference, data_range=1.0))


def _lpips(context: _Context) -> _Compare:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    _check_may_download(_missing_lpips(context.preset))
    try:
        network = LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(context.device)
    except OSError as error:
        raise MissingMetricError(f"the download of its weights failed: {error}") from error
    return _one_by_one(lambda image, reference: network(image, reference, normalize=True))


def _dists(context: _Context) -> _Compare:
    # The metric of TorchMetrics reads half a gigabyte on every update; its network does not.
    from torchmetrics.functional.image.dists import DISTSNetwork

    _check_may_download(_missing_dists(context.preset))
    try:
        network = DISTSNetwork().to(context.device)
    except OSError as error:
        raise MissingMetricError(f"the download of its weights failed: {error}") from error
    return _one_by_one(network)


def _clip(context: _Context) -> _Compare:
    from torchmetrics_sess.encoders.open_clip import OpenClipEncoder

    encoder = OpenClipEncoder.from_pretrained("ViT-B-32", "laion2b_s34b_b79k", device=context.device)

    def embed(images: list[Image]) -> Tensor:
        whole = [torch.tensor([[0, 0, *image.shape[1:]]], device=image.device) for image in images]
        crops = [encoder.transform(image, box) for image, box in zip(images, whole, strict=True)]
        return torch.cat([encoder.model.encode_image(crop) for crop in crops])

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        values: list[float] = cosine_similarity(embed(preds), embed(target)).tolist()
        return values

    return compare


def _vitscore(context: _Context) -> _Compare:
    from torchmetrics_sess.segmenters.dino import DinoSegmenter, squash

    segmenter = context.stores.of(load_preset("lite")).networks.extractor.segmenter
    if not isinstance(segmenter, DinoSegmenter):
        raise TypeError(f"the preset `lite` must have a `dino` segmenter, got {type(segmenter).__name__}")

    def tokens(images: list[Image]) -> Tensor:
        step = segmenter.config.images_per_batch
        chunks = [images[start : start + step] for start in range(0, len(images), step)]
        patches = [segmenter.network(squash(chunk, segmenter.config.image_size)).patches for chunk in chunks]
        return torch.cat(patches).flatten(1, 2)

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        values: list[float] = vit_score(tokens(preds), tokens(target)).f1.tolist()
        return values

    return compare


def _embedding(context: _Context) -> _Compare:
    graphs = context.stores.of(load_preset("lite"))

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        pairs = zip(*graphs.pairs(preds, target), strict=True)
        return [float(graph.image_feature @ reference.image_feature) for graph, reference in pairs]

    return compare


def _sess(context: _Context) -> _Compare:
    graphs = context.stores.of(context.preset)

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        known = graphs.networks.relation_similarity
        results = match_graph_pairs(*graphs.pairs(preds, target), known, context.preset.matching)
        return [result.score for result in results]

    return compare


def _check_may_download(missing: str | None) -> None:
    if missing is not None and is_offline():
        raise MissingMetricError(f"{missing}, and SESS_OFFLINE=1 forbids the download")


def _missing_lpips(preset: Preset) -> str | None:
    from torchvision.models import AlexNet_Weights

    return _missing_torchvision(AlexNet_Weights.DEFAULT)


def _missing_dists(preset: Preset) -> str | None:
    from torchvision.models import VGG16_Weights

    return _missing_torchvision(VGG16_Weights.DEFAULT)


def _missing_torchvision(weights: Any) -> str | None:
    path = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    if path.exists():
        return None
    return f"its weights ({weights.meta['_file_size']:.0f} MB) are not on this machine: {path} does not exist"


def _missing_clip(preset: Preset) -> str | None:
    return _missing_weights(["open_clip_vit_b_32"])


def _missing_lite(preset: Preset) -> str | None:
    return _missing_sess(load_preset("lite"))


def _missing_sess(preset: Preset) -> str | None:
    stages = (preset.segmenter, preset.relations, preset.encoder)
    return _missing_weights([name for stage in stages for name in stage.weights()])


def _missing_weights(names: list[str]) -> str | None:
    weights = [WEIGHTS[name] for name in names]
    missing = [weight for weight in weights if not path_of(weight.name).exists() and weight.find(weight) is None]
    if not missing:
        return None
    size = sum(weight.size for weight in missing) / 1e6
    commands = f"sess weights download {' '.join(weight.name for weight in missing)}"
    return f"its weights ({size:.0f} MB) are not on this machine; `{commands}` fetches them"


METRICS: dict[str, _Kind] = {
    "sess": _Kind("SeSS", _sess, _missing_sess),
    "psnr": _Kind("PSNR", _psnr, same_size=True),
    # The window of SSIM is 11 pixels wide; MS-SSIM halves the images four times, and TorchMetrics rounds down.
    "ssim": _Kind("SSIM", _ssim, same_size=True, smallest=11),
    "ms_ssim": _Kind("MS-SSIM", _ms_ssim, same_size=True, smallest=176),
    # AlexNet shrinks an image of 30 pixels to nothing.
    "lpips": _Kind("LPIPS", _lpips, _missing_lpips, higher_is_better=False, same_size=True, smallest=31),
    "dists": _Kind("DISTS", _dists, _missing_dists, higher_is_better=False, same_size=True),
    "clip": _Kind("CLIP", _clip, _missing_clip),
    "vitscore": _Kind("ViTScore", _vitscore, _missing_lite),
    "embedding": _Kind("embedding", _embedding, _missing_lite),
}
"""Every metric by name."""
