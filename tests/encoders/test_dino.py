from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
import torch

import torchmetrics_sess.encoders
from torchmetrics_sess.encoders import DinoEncoder, DinoEncoderConfig
from torchmetrics_sess.encoders.dino import lite_means
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


def test_a_descriptor_that_is_the_mean_stays_finite() -> None:
    given = dataclasses.replace(segmentation(d=384), tokens=lite_means()["token"].expand(2, 3, 384))
    given = dataclasses.replace(given, image_tokens=lite_means()["image"].expand(2, 384))
    [embeddings] = DinoEncoderConfig().build(torch.device("cpu"))([], [given])
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


def test_the_means_are_constants_that_the_signature_names() -> None:
    means = lite_means()
    assert {name: mean.shape for name, mean in means.items()} == {"token": (384,), "image": (384,)}
    assert all(torch.isfinite(mean).all() for mean in means.values())
    file = Path(torchmetrics_sess.encoders.__file__).with_name("lite_means.safetensors")
    assert DinoEncoderConfig().digests() == [hashlib.sha256(file.read_bytes()).hexdigest()[:8]]
    assert DinoEncoderConfig().weights() == []
