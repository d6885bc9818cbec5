"""How each metric compares images: built once, with its networks loaded, and given pairs from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from torchmetrics_sess.comparison.availability import (
    MissingMetricError,
    check_may_download,
    missing_dists,
    missing_lpips,
)
from torchmetrics_sess.comparison.metric import Compare
from torchmetrics_sess.comparison.scene_graphs import Stores
from torchmetrics_sess.comparison.vitscore import vit_score
from torchmetrics_sess.matching import match_graph_pairs
from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.stages import Image


@dataclass(frozen=True)
class Context:
    """What a metric is built from: where it works, whom it shares scene graphs with, and the preset of ``sess``."""

    device: torch.device
    stores: Stores
    preset: Preset


def _one_by_one(compare: Callable[[Tensor, Tensor], Tensor]) -> Compare:
    """Compare pairs ``[1, 3, h, w]`` on their own, so that no value depends on its batch."""

    def compare_all(preds: list[Image], target: list[Image]) -> list[float]:
        values = [
            compare(image[None], reference[None]).reshape(()) for image, reference in zip(preds, target, strict=True)
        ]
        return torch.stack(values).tolist()

    return compare_all


def build_psnr(context: Context) -> Compare:
    """Peak signal-to-noise ratio, in decibels."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    return _one_by_one(lambda image, reference: peak_signal_noise_ratio(image, reference, data_range=1.0))


def build_ssim(context: Context) -> Compare:
    """Structural similarity."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    def compare(image: Tensor, reference: Tensor) -> Tensor:
        value = ssim(image, reference, data_range=1.0)
        return value[0] if isinstance(value, tuple) else value

    return _one_by_one(compare)


def build_ms_ssim(context: Context) -> Compare:
    """Structural similarity at five scales."""
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    return _one_by_one(lambda image, reference: ms_ssim(image, reference, data_range=1.0))


def build_lpips(context: Context) -> Compare:
    """Distance of AlexNet's features, weighted as people judge."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    check_may_download(missing_lpips(context.preset))
    try:
        network = LearnedPerceptualImagePatchSimilarity(net_type="alex").net.to(context.device)
    except OSError as error:
        raise MissingMetricError(f"the download of its weights failed: {error}") from error
    return _one_by_one(lambda image, reference: network(image, reference, normalize=True))


def build_dists(context: Context) -> Compare:
    """Distance of the structure and texture of VGG's features."""
    # The metric of TorchMetrics reads half a gigabyte on every update; its network does not.
    from torchmetrics.functional.image.dists import DISTSNetwork

    check_may_download(missing_dists(context.preset))
    try:
        network = DISTSNetwork().to(context.device)
    except OSError as error:
        raise MissingMetricError(f"the download of its weights failed: {error}") from error
    return _one_by_one(network)


def build_clip(context: Context) -> Compare:
    """Cosine of the embeddings of OpenCLIP ViT-B/32."""
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


def build_vitscore(context: Context) -> Compare:
    """Match of the patches that the network of ``lite`` sees."""
    from torchmetrics_sess.segmenters.dino import DinoSegmenter

    segmenter = context.stores.of(load_preset("lite")).networks.extractor.segmenter
    if not isinstance(segmenter, DinoSegmenter):
        raise TypeError(f"the preset `lite` must have a `dino` segmenter, got {type(segmenter).__name__}")

    def tokens(images: list[Image]) -> Tensor:
        return torch.cat([seen.patches for seen in segmenter.tokens(images)]).flatten(1, 2)

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        values: list[float] = vit_score(tokens(preds), tokens(target)).f1.tolist()
        return values

    return compare


def build_embedding(context: Context) -> Compare:
    """Cosine of the whole-image embeddings of the network of ``lite``."""
    graphs = context.stores.of(load_preset("lite"))

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        pairs = zip(*graphs.pairs(preds, target), strict=True)
        return [float(graph.image_feature @ reference.image_feature) for graph, reference in pairs]

    return compare


def build_sess(context: Context) -> Compare:
    """The semantic similarity score, of the preset asked for."""
    graphs = context.stores.of(context.preset)

    def compare(preds: list[Image], target: list[Image]) -> list[float]:
        relation_similarity = graphs.networks.relation_similarity
        results = match_graph_pairs(*graphs.pairs(preds, target), relation_similarity, context.preset.matching)
        return [result.score for result in results]

    return compare
