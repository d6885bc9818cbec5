from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Literal

import pytest
import torch

import torchmetrics_sess.encoders
from torchmetrics_sess.config import from_mapping
from torchmetrics_sess.encoders import DinoEncoder, DinoEncoderConfig
from torchmetrics_sess.encoders.dino import load_descriptors
from torchmetrics_sess.stages import Segmentation


def segmentation(b: int = 2, k: int = 3, d: int = 4) -> Segmentation:
    generator = torch.Generator().manual_seed(0)
    return Segmentation(
        masks=torch.rand(b, k, 5, 5, generator=generator),
        valid=torch.ones(b, k, dtype=torch.bool),
        tokens=torch.randn(b, k, d, generator=generator),
        image_tokens=torch.randn(b, d, generator=generator),
    )


def test_embeddings_are_the_descriptors_without_their_common_part() -> None:
    given = segmentation()
    assert given.tokens is not None
    assert given.image_tokens is not None
    token_mean, image_mean = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0, 0, 0, 2.0])
    [embeddings] = DinoEncoder(token_mean, image_mean)([], [given])
    expected = given.tokens - token_mean
    torch.testing.assert_close(embeddings.features, expected / expected.norm(dim=-1, keepdim=True))
    expected = given.image_tokens - image_mean
    torch.testing.assert_close(embeddings.image_features, expected / expected.norm(dim=-1, keepdim=True))


def test_a_map_keeps_what_tells_things_apart() -> None:
    given = segmentation()
    assert given.tokens is not None
    token_map = torch.eye(4)[:, 1:3] * torch.tensor([1.0, 3.0])
    [embeddings] = DinoEncoder(torch.zeros(4), torch.zeros(4), token_map)([], [given])
    expected = torch.nn.functional.normalize(given.tokens @ token_map, dim=-1)
    torch.testing.assert_close(embeddings.features, expected)


@pytest.mark.parametrize("release", ["lite", "lite-0.1"])
def test_a_descriptor_that_is_the_mean_stays_finite(release: Literal["lite", "lite-0.1"]) -> None:
    constants = load_descriptors(release)
    given = dataclasses.replace(segmentation(d=384), tokens=constants.token_mean.expand(2, 3, 384))
    given = dataclasses.replace(given, image_tokens=constants.image_mean.expand(2, 384))
    [embeddings] = DinoEncoderConfig(descriptors=release).build(torch.device("cpu"))([], [given])
    assert torch.isfinite(embeddings.features).all()
    assert torch.isfinite(embeddings.image_features).all()


@pytest.mark.parametrize("missing", ["tokens", "image_tokens"])
def test_a_segmenter_without_descriptors_is_named_as_the_cause(missing: str) -> None:
    encoder = DinoEncoder(torch.zeros(4), torch.zeros(4))
    given = segmentation()
    given = dataclasses.replace(
        given,
        tokens=None if missing == "tokens" else given.tokens,
        image_tokens=None if missing == "image_tokens" else given.image_tokens,
    )
    with pytest.raises(ValueError, match="the `dino` encoder needs a segmenter that gives tokens"):
        encoder([], [given])


@pytest.mark.parametrize("release", ["lite", "lite-0.1"])
def test_the_descriptors_are_constants_that_the_signature_names(release: Literal["lite", "lite-0.1"]) -> None:
    constants = load_descriptors(release)
    assert constants.token_mean.shape == constants.image_mean.shape == (384,)
    assert (constants.token_map is None) == (release == "lite-0.1")
    assert all(torch.isfinite(each).all() for each in constants if each is not None)
    name = f"{release.replace('-', '_').replace('.', '_')}_descriptors.safetensors"
    file = Path(torchmetrics_sess.encoders.__file__).with_name(name)
    assert DinoEncoderConfig(descriptors=release).digests() == [hashlib.sha256(file.read_bytes()).hexdigest()[:8]]
    assert DinoEncoderConfig().weights() == []


def test_unknown_descriptors_are_refused() -> None:
    with pytest.raises(ValueError, match=r"descriptors` must be one of .*, got 'mine'"):
        from_mapping(DinoEncoderConfig, {"descriptors": "mine"}, where="encoder")
