"""The compiled kernel is there before anything is to be matched."""

from __future__ import annotations

import pytest
import torch
from stub_extractor import stub_images, stub_preset

from torchmetrics_sess import SemanticSimilarityScore
from torchmetrics_sess.matching import load_kernel
from torchmetrics_sess.scoring import engine


def test_it_is_loaded_once() -> None:
    load_kernel()
    from torchmetrics_sess.matching import kernel

    compiled = kernel.match.signatures  # type: ignore[attr-defined]
    before = list(compiled)
    SemanticSimilarityScore(stub_preset()).update(stub_images(1), stub_images(1))
    assert kernel.match.signatures == before, "and for what is matched afterwards"  # type: ignore[attr-defined]
    load_kernel()
    assert load_kernel.cache_info().misses == 1


def test_what_cannot_be_loaded_is_told_by_the_matching_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ImportError("no compiler")

    monkeypatch.setattr(engine, "load_kernel", fail)
    score = SemanticSimilarityScore(stub_preset())(stub_images(1), stub_images(1))
    assert torch.isclose(score, torch.tensor(1.0))
