from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from stub_extractor import AboveRelations, ColourEncoder, QuarterSegmenter, stub_extractor
from torch import Tensor
from torch.overrides import TorchFunctionMode

from torchmetrics_sess.extractor import SceneGraphExtractor, limit_width
from torchmetrics_sess.graph import SceneGraph
from torchmetrics_sess.importance import ImportanceConfig
from torchmetrics_sess.matching import match_graphs
from torchmetrics_sess.presets import Preset, load_preset
from torchmetrics_sess.relations import GeometricRelationsConfig
from torchmetrics_sess.segmenters import DinoSegmenter
from torchmetrics_sess.stages import Embeddings, Relations, Segmentation

FIELDS = [field.name for field in dataclasses.fields(SceneGraph)]


def noise(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


ODD_IMAGES = {
    "a single pixel": noise(1, 1),
    "a row": noise(1, 300),
    "a column": noise(300, 1),
    "black": torch.zeros(3, 60, 40),
    "white": torch.ones(3, 50, 60),
    "noise": noise(64, 64),
    "tiny": noise(8, 8),
    "a strip": noise(20, 20000),
}


@pytest.fixture(scope="module")
def preset() -> Preset:
    return load_preset("lite")


@pytest.fixture(scope="module")
def images(photographs: dict[str, Tensor]) -> dict[str, Tensor]:
    floats = {name: photograph.float() / 255 for name, photograph in photographs.items()}
    return floats | {"crop": floats["cat"][:, 20:100, 30:180]} | ODD_IMAGES


@pytest.fixture(scope="module")
def graphs(lite: SceneGraphExtractor, images: dict[str, Tensor]) -> dict[str, SceneGraph]:
    """Return the graph of every image, each extracted alone."""
    return {name: lite([image])[0] for name, image in images.items()}


def assert_same(graph: SceneGraph, expected: SceneGraph, atol: float = 0.0) -> None:
    for name in FIELDS:
        got, wanted = getattr(graph, name), getattr(expected, name)
        if wanted.is_floating_point():
            assert (got - wanted).abs().max() <= atol, name
        else:
            assert torch.equal(got, wanted), name


def test_every_image_gets_a_sound_graph(
    images: dict[str, Tensor], graphs: dict[str, SceneGraph], preset: Preset
) -> None:
    assert isinstance(preset.relations, GeometricRelationsConfig)
    assert {len(graph) for graph in graphs.values()} == {64}
    for name, graph in graphs.items():
        assert all(torch.isfinite(getattr(graph, field)).all() for field in FIELDS if field != "masks"), name
        assert all(getattr(graph, field).device.type == "cpu" for field in FIELDS)
        norms = torch.cat([graph.features.norm(dim=1), graph.image_feature.norm()[None]])
        torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)
        assert graph.importance.min() > 0
        assert graph.importance.sum().item() == pytest.approx(1, abs=1e-5)
        assert 0 <= graph.centers.min() <= graph.centers.max() < 1

        related = graph.relation >= 0
        assert not related.diagonal().any()
        assert torch.equal(graph.relation[~related].unique(), torch.tensor([-1]))
        assert torch.equal(graph.confidence[~related].unique(), torch.tensor([-1.0]))
        assert related.any()
        assert graph.confidence[related].min() >= preset.relations.min_score
        assert graph.confidence[related].max() <= 1

        assert graph.masks is not None
        assert graph.masks.shape[1:] == images[name].shape[1:]
        assert torch.equal(graph.masks.sum(0), torch.ones(images[name].shape[1:], dtype=torch.int64)), name


def test_an_image_does_not_depend_on_its_batch(
    lite: SceneGraphExtractor, images: dict[str, Tensor], graphs: dict[str, SceneGraph]
) -> None:
    names = ["noise", "cat", "a single pixel", "crop", "astronaut", "black", "a column"]
    for name, graph in zip(names, lite([images[name] for name in names]), strict=True):
        assert_same(graph, graphs[name], atol=0)


def test_bytes_greyscale_and_stacks_are_only_other_ways_to_say_the_same(
    lite: SceneGraphExtractor, photographs: dict[str, Tensor], graphs: dict[str, SceneGraph]
) -> None:
    grey = photographs["rocket"][:1]
    as_bytes, repeated = lite([photographs["rocket"], grey.expand(3, -1, -1)])
    expanded, stacked = lite([grey]), lite(torch.stack([photographs["coffee"]]).float() / 255)
    assert_same(as_bytes, graphs["rocket"], atol=1e-6)
    assert_same(expanded[0], repeated, atol=1e-6)
    assert_same(stacked[0], graphs["coffee"], atol=1e-6)


MODES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "the same call again": nullcontext,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "gradients on": torch.enable_grad,
    "another default device": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_a_training_change_nothing(
    mode: str, lite: SceneGraphExtractor, images: dict[str, Tensor], graphs: dict[str, SceneGraph]
) -> None:
    image = images["astronaut"].clone().requires_grad_()
    with MODES[mode]():
        [graph] = lite([image])
    assert_same(graph, graphs["astronaut"])
    assert not any(getattr(graph, field).requires_grad for field in FIELDS)
    assert image.grad is None


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_lower_precision_of_products_changes_nothing(
    precision: str, lite: SceneGraphExtractor, images: dict[str, Tensor], graphs: dict[str, SceneGraph]
) -> None:
    try:
        torch.set_float32_matmul_precision(precision)
        [graph] = lite([images["astronaut"]])
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")
    assert_same(graph, graphs["astronaut"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_another_default_dtype_changes_nothing(
    dtype: torch.dtype, lite: SceneGraphExtractor, images: dict[str, Tensor], graphs: dict[str, SceneGraph]
) -> None:
    try:
        torch.set_default_dtype(dtype)
        [graph] = lite([images["astronaut"]])
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(graph, graphs["astronaut"])


def test_networks_may_be_built_in_inference_mode_and_used_outside(
    preset: Preset, images: dict[str, Tensor], graphs: dict[str, SceneGraph]
) -> None:
    with torch.inference_mode():
        extractor = preset.build("cpu")
    assert_same(extractor([images["crop"]])[0], graphs["crop"])


def test_the_network_is_frozen(lite: SceneGraphExtractor) -> None:
    assert isinstance(lite.segmenter, DinoSegmenter)
    network = lite.segmenter.network
    assert not any(module.training for module in network.modules())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def score(a: SceneGraph, b: SceneGraph, preset: Preset, extractor: SceneGraphExtractor) -> float:
    return match_graphs(a, b, preset.predicate_similarity(extractor), preset.matching).score


def test_an_image_scores_one_against_itself(
    lite: SceneGraphExtractor, graphs: dict[str, SceneGraph], preset: Preset
) -> None:
    for name, graph in graphs.items():
        assert score(graph, graph, preset, lite) == pytest.approx(1, abs=1e-4), name


def test_scores_fall_with_quality_and_unrelated_images_score_least(
    lite: SceneGraphExtractor, photographs: dict[str, Tensor], graphs: dict[str, SceneGraph], preset: Preset
) -> None:
    compressed = lite([jpeg(photographs["astronaut"], quality) for quality in (90, 50, 20, 5)])
    ladder = [score(graph, graphs["astronaut"], preset, lite) for graph in compressed]
    assert ladder == sorted(ladder, reverse=True)
    assert ladder[0] > 0.97
    unrelated = [score(graphs[name], graphs["astronaut"], preset, lite) for name in ("coffee", "rocket", "cat")]
    assert max(unrelated) < ladder[-1] - 0.1


def jpeg(image: Tensor, quality: int) -> Tensor:
    buffer = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1)


class HalvesOfAllButTheFirst:
    """Takes the first image as one object, and the others, together, as a left and a right half and an empty slot."""

    def __call__(self, images: list[Tensor]) -> list[Segmentation]:
        first = Segmentation(torch.ones(1, 1, 3, 5, dtype=torch.bool), torch.ones(1, 1, dtype=torch.bool))
        masks = torch.zeros(len(images) - 1, 3, 2, 4, dtype=torch.bool)
        masks[:, 0, :, :2] = masks[:, 1, :, 2:] = True
        valid = torch.tensor([True, True, False]).expand(len(masks), -1)
        return [first, Segmentation(masks, valid)]


class DropsTheLastLeftHalf:
    """Relates right halves to left ones, but lets the left half of the last image leave its graph."""

    def __call__(self, segmentations: list[Segmentation]) -> list[Relations]:
        first, halves = segmentations
        relation = torch.full((len(halves.valid), 3, 3), -1)
        relation[:-1, 1, 0] = 2
        valid = halves.valid.clone()
        valid[-1, 0] = False
        alone = Relations(torch.full((1, 1, 1), -1), torch.full((1, 1, 1), -1.0), first.valid)
        return [alone, Relations(relation, torch.where(relation >= 0, 0.5, -1.0), valid)]


class NumbersSlots:
    """Embeds every image by its mean and its objects by that and their slot, so that they can be told apart."""

    def __call__(self, images: list[Tensor], segmentations: list[Segmentation]) -> list[Embeddings]:
        means = torch.stack([image.mean() for image in images]).split([len(s.valid) for s in segmentations])
        slots = [torch.arange(s.valid.shape[1]) for s in segmentations]
        return [
            Embeddings(on_circle(mean[:, None] + slot), on_circle(mean))
            for slot, mean in zip(slots, means, strict=True)
        ]


def on_circle(angles: Tensor) -> Tensor:
    return torch.stack([angles.cos(), angles.sin()], -1)


def test_segmentations_of_several_sizes_come_apart_into_the_images_given() -> None:
    extractor = SceneGraphExtractor(HalvesOfAllButTheFirst(), DropsTheLastLeftHalf(), NumbersSlots())
    # A dot draws the eye to the right half of the first image, and to the left half of the second.
    images = [torch.full((3, 32, 64), level) for level in (0.1, 0.2, 0.3)]
    images[0][:, 14:18, 44:48] = images[1][:, 14:18, 16:20] = 1
    means = [image.mean() for image in images]
    whole, halves, half = extractor(images)
    assert [len(whole), len(halves), len(half)] == [1, 2, 1]
    for graph, mean in zip((whole, halves, half), means, strict=True):
        torch.testing.assert_close(graph.image_feature, on_circle(mean))
        assert graph.importance.sum().item() == pytest.approx(1)
    torch.testing.assert_close(halves.features, on_circle(means[1] + torch.tensor([0.0, 1.0])))
    torch.testing.assert_close(half.features, on_circle(means[2] + torch.tensor([1.0])))
    assert halves.importance.argmax() == 0
    assert halves.triplets() == [(1, 2, 0)]
    assert half.triplets() == whole.triplets() == []
    torch.testing.assert_close(half.centers, torch.tensor([[0.25, 0.625]]))
    assert half.masks is not None
    assert half.masks[0].tolist() == [[False, False, True, True]] * 2


def test_masks_are_left_out_on_request() -> None:
    extractor = SceneGraphExtractor(QuarterSegmenter(), AboveRelations(), ColourEncoder())
    [graph] = extractor(noise(8, 8)[None], masks=False)
    assert graph.masks is None


def test_networks_among_the_stages_are_frozen() -> None:
    encoder = ColourEncoder().train()
    SceneGraphExtractor(QuarterSegmenter(), AboveRelations(), encoder)
    assert not encoder.dropout.training
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_saliency_comes_from_where_the_settings_say() -> None:
    # What is bright is salient to the stub's segmenter; what is unusual, to spectral residual.
    image = torch.ones(3, 64, 64)
    image[:, 48:52, 48:52] = 0

    def importance(source: Literal["segmenter", "spectral_residual"]) -> Tensor:
        config = ImportanceConfig(saliency=source, k3=1.0)
        stages = QuarterSegmenter(), AboveRelations(), ColourEncoder()
        [graph] = SceneGraphExtractor(*stages, importance=config)([image])
        return graph.importance

    assert importance("segmenter").argmin() == 3
    assert importance("spectral_residual").argmax() == 3


def test_a_segmenter_without_saliency_cannot_give_any() -> None:
    extractor = SceneGraphExtractor(
        HalvesOfAllButTheFirst(),
        DropsTheLastLeftHalf(),
        NumbersSlots(),
        importance=ImportanceConfig(saliency="segmenter"),
    )
    with pytest.raises(ValueError, match=r"`importance.saliency` is 'segmenter', but .* use 'spectral_residual'"):
        extractor([torch.zeros(3, 4, 4), torch.zeros(3, 4, 4)])


@pytest.mark.parametrize(
    ("size", "max_width", "expected"),
    [
        ((30, 40), 40, (30, 40)),
        ((30, 40), None, (30, 40)),
        ((30, 41), 40, (29, 40)),
        ((300, 200), 50, (75, 50)),
        ((1, 900), 30, (1, 30)),
    ],
)
def test_only_wider_images_are_shrunk(size: tuple[int, int], max_width: int | None, expected: tuple[int, int]) -> None:
    image = noise(*size)
    limited = limit_width(image, max_width)
    assert limited.shape[1:] == expected
    assert 0 <= limited.min() <= limited.max() <= 1
    torch.testing.assert_close(limited.mean(), image.mean(), rtol=0, atol=0.01)
    if size == expected:
        assert limited is image
    [graph] = SceneGraphExtractor(QuarterSegmenter(), AboveRelations(), ColourEncoder(), max_width=max_width)([image])
    assert graph.masks is not None
    assert graph.masks.shape[1:] == expected


def test_a_width_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="`max_width` must be at least 1 or None, got 0"):
        SceneGraphExtractor(QuarterSegmenter(), AboveRelations(), ColourEncoder(), max_width=0)


def test_images_are_checked() -> None:
    extractor = SceneGraphExtractor(QuarterSegmenter(), AboveRelations(), ColourEncoder())
    with pytest.raises(ValueError, match="`images` must lie in `data_range`"):
        extractor(torch.full((1, 3, 8, 8), 2.0))
    with pytest.raises(ValueError, match="`images` must hold at least one image"):
        extractor([])


class Copies(TorchFunctionMode):
    """Notes where tensors are asked to go without waiting for them."""

    def __init__(self) -> None:
        super().__init__()
        self.unawaited: list[torch.device] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and (kwargs or {}).get("non_blocking"):
            self.unawaited.append(args[1])
        return func(*args, **(kwargs or {}))


def test_copies_to_the_host_are_waited_for() -> None:
    stub = stub_extractor()
    extractor = SceneGraphExtractor(stub.segmenter, stub.relation_model, stub.encoder, device="cpu")
    with Copies() as copies:
        extractor([noise(8, 12)])
    assert copies.unawaited == []
