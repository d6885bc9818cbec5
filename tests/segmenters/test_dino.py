from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.networks import DinoSaliencyNetwork
from torchmetrics_sess.segmenters import DinoSegmenter, DinoSegmenterConfig
from torchmetrics_sess.segmenters.dino import soft_regions, squash

REGIONS: dict[str, Any] = {"seeds_per_side": 3, "iterations": 4, "temperature": 0.1, "compactness": 0.05}


def patches(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@given(
    b=st.integers(1, 3),
    rows=st.integers(2, 8),
    columns=st.integers(2, 8),
    seeds_per_side=st.integers(1, 4),
    iterations=st.integers(0, 5),
    temperature=st.floats(0.01, 2),
    compactness=st.floats(0, 5),
    seed=st.integers(0, 99),
)
@settings(derandomize=True, max_examples=60, deadline=None)
def test_memberships_are_shares(
    b: int,
    rows: int,
    columns: int,
    seeds_per_side: int,
    iterations: int,
    temperature: float,
    compactness: float,
    seed: int,
) -> None:
    memberships = soft_regions(
        patches(b, rows, columns, 5, seed=seed),
        seeds_per_side=seeds_per_side,
        iterations=iterations,
        temperature=temperature,
        compactness=compactness,
    )
    assert memberships.shape == (b, seeds_per_side**2, rows, columns)
    assert memberships.min() >= 0
    torch.testing.assert_close(memberships.sum(1), torch.ones(b, rows, columns))


def test_without_iterations_regions_are_the_cells_of_the_grid() -> None:
    memberships = soft_regions(patches(1, 6, 6, 4), **REGIONS | {"iterations": 0})
    assert memberships.unique().tolist() == [0, 1]
    cells = torch.arange(9).view(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(memberships[0].argmax(0), cells)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    x = patches(4, 6, 5, 8)
    order = torch.tensor([2, 0, 3, 1])
    together = soft_regions(x, **REGIONS)
    torch.testing.assert_close(soft_regions(x[order], **REGIONS), together[order], rtol=0, atol=1e-6)
    torch.testing.assert_close(soft_regions(x[1:2], **REGIONS), together[1:2], rtol=0, atol=1e-6)


def test_memberships_change_smoothly() -> None:
    x, step = patches(1, 6, 6, 8), patches(1, 6, 6, 8, seed=1)
    before = soft_regions(x, **REGIONS)
    changes = [(soft_regions(x + size * step, **REGIONS) - before).abs().max().item() for size in (1e-4, 1e-3)]
    # A hard segmentation changes by 0 or by 1; here a tenth of the step makes about a tenth of the change.
    assert 0 < changes[1] < 0.1
    assert changes[0] == pytest.approx(changes[1] / 10, rel=0.2)


def test_regions_follow_objects_across_the_cells() -> None:
    # Two halves of different kinds, whose border runs through the middle column of cells.
    x = patches(1, 9, 9, 6) * 0.02
    x[:, :, :4, 0] += 1
    x[:, :, 4:, 1] += 1
    region = soft_regions(x, **REGIONS | {"temperature": 0.01})[0].argmax(0)
    assert set(region[:, :4].unique().tolist()).isdisjoint(region[:, 4:].unique().tolist())


def test_position_alone_decides_among_equal_patches() -> None:
    memberships = soft_regions(torch.ones(1, 6, 6, 4), **REGIONS | {"compactness": 1.0})
    cells = torch.arange(9).view(3, 3).repeat_interleave(2, 0).repeat_interleave(2, 1)
    assert torch.equal(memberships[0].argmax(0), cells)


def test_squares_are_resized_alike_alone_and_in_company() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(3, *size, generator=generator) for size in [(9, 20), (1, 1), (9, 20), (40, 3), (14, 14)]]
    squares = squash(images, 14)
    for image, square in zip(images, squares, strict=True):
        alone = functional.interpolate(image[None], (14, 14), mode="bilinear", antialias=True, align_corners=False)
        torch.testing.assert_close(square, alone[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(squares[4], images[4], rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def network() -> DinoSaliencyNetwork:
    torch.manual_seed(0)
    network = DinoSaliencyNetwork(width=8, depth=2, heads=2, grid=3, tap=1, decoder_channels=(6, 4, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


def test_a_segmentation_holds_what_later_stages_need(network: DinoSaliencyNetwork) -> None:
    config = DinoSegmenterConfig(image_size=84, layer=1, seeds_per_side=3)
    image = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(0))
    [segmentation] = DinoSegmenter(network, config)([image])
    assert segmentation.masks.shape == (1, 9, 6, 6)
    assert segmentation.valid.tolist() == [[True] * 9]

    tokens = network(squash([image], 84))
    masks = segmentation.masks[0].flatten(1).double()
    means = masks @ tokens.patches[0].flatten(0, 1).double() / masks.sum(1, keepdim=True)
    assert segmentation.tokens is not None
    torch.testing.assert_close(segmentation.tokens[0].double(), means, rtol=0, atol=1e-5)
    assert segmentation.image_tokens is not None
    torch.testing.assert_close(segmentation.image_tokens, tokens.image)
    # Eight values of saliency per patch side, averaged per patch.
    expected = tokens.saliency[0].view(6, 8, 6, 8).mean((1, 3))
    assert segmentation.saliency is not None
    torch.testing.assert_close(segmentation.saliency[0], expected)


@pytest.mark.parametrize(("images_per_batch", "sizes"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (16, [5])])
def test_images_go_through_the_network_in_chunks(
    network: DinoSaliencyNetwork, images_per_batch: int, sizes: list[int]
) -> None:
    images = [torch.rand(3, 10 + i, 20, device="meta") for i in range(5)]
    config = DinoSegmenterConfig(image_size=42, layer=1, seeds_per_side=2, images_per_batch=images_per_batch)
    segmenter = DinoSegmenter(copy.deepcopy(network).to("meta"), config)
    assert [len(tokens.patches) for tokens in segmenter.tokens(images)] == sizes


def test_no_bit_depends_on_the_batch_on_a_cpu(network: DinoSaliencyNetwork) -> None:
    images = [torch.rand(3, 10 + i, 20) for i in range(5)]
    segmenter = DinoSegmenter(network, DinoSegmenterConfig(image_size=42, layer=1, seeds_per_side=2))
    together = segmenter(images)
    assert [len(segmentation.valid) for segmentation in together] == [1] * 5
    for image, segmentation in zip(images, together, strict=True):
        [alone] = segmenter([image])
        assert torch.equal(segmentation.masks, alone.masks)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_size": 0}, "`image_size` must be a positive multiple of 14, got 0"),
        ({"image_size": 335}, "`image_size` must be a positive multiple of 14, got 335"),
        ({"layer": 0}, "`layer` must be at least 1, got 0"),
        ({"seeds_per_side": 0}, "`seeds_per_side` must be at least 1, got 0"),
        ({"image_size": 28, "seeds_per_side": 3}, "`seeds_per_side` must be at most 2, .* got 3"),
        ({"images_per_batch": 0}, "`images_per_batch` must be at least 1, got 0"),
        ({"iterations": -1}, "`iterations` must not be negative, got -1"),
        ({"temperature": 0.0}, r"`temperature` must be a positive number, got 0\.0"),
        ({"temperature": float("nan")}, "`temperature` must be a positive number, got nan"),
        ({"compactness": -0.5}, r"`compactness` must be a number of at least 0, got -0\.5"),
        ({"compactness": float("inf")}, "`compactness` must be a number of at least 0, got inf"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DinoSegmenterConfig(**values)
