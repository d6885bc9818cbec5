"""Every Python block of the README and the documentation runs by itself, in the order of nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from torchmetrics_sess import presets, release_networks
from torchmetrics_sess.scoring import scorer

ROOT = Path(__file__).parents[1]
# These two go on from one block to the next, and have tests of their own.
TOLD_AS_ONE = {"lightning.md", "loss.md"}
PAGES = [ROOT / "README.md", *(path for path in sorted(ROOT.glob("docs/*.md")) if path.name not in TOLD_AS_ONE)]
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{count}")
    for path in PAGES
    for count, block in enumerate(re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL), 1)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    real = presets.load_preset

    def small(name: str, overrides: dict[str, Any] | None = None) -> presets.Preset:
        # What is shown is how to use a preset, not the preset.
        return real(name, {"segmenter.image_size": 84, "segmenter.seeds_per_side": 6, **(overrides or {})})

    monkeypatch.setattr(presets, "load_preset", small)
    monkeypatch.setattr(scorer, "load_preset", small)
    exec(block, {"__name__": "block"})  # noqa: S102
    release_networks()


def test_first_example_scores_photographs() -> None:
    [first] = [block.values[0] for block in BLOCKS if block.id == "index.md-1"]
    assert isinstance(first, str)
    assert "open_photograph(" in first
    assert "rand" not in first
