"""The examples of docs/loss.md run, one after the other, as a reader would run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from torchmetrics_sess import presets, release_networks
from torchmetrics_sess.scoring import scorer

PAGE = (Path(__file__).parents[1] / "docs" / "loss.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"segmenter.image_size": 84, "segmenter.seeds_per_side": 6}
    # What is shown here is how to use the preset, not the preset.
    monkeypatch.setattr(scorer, "load_preset", lambda name, overrides: presets.load_preset(name, small))
    torch.manual_seed(0)
    codec = nn.Conv2d(3, 3, 3, padding=1)
    known: dict[str, Any] = {"codec": codec, "images": torch.rand(2, 3, 40, 40)}
    gradients = []
    for example in EXAMPLES:
        codec.zero_grad()
        exec(example, known)  # noqa: S102
        assert codec.weight.grad is not None
        gradients.append(codec.weight.grad)
    release_networks()
    assert len(EXAMPLES) == 3
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)
    assert len(EXAMPLES[0].splitlines()) - 1 <= 6
