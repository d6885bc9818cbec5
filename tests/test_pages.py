"""Every Python block of the README and the documentation runs by itself, in the order of nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
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


def test_no_arrow_between_parts_of_the_package_passes_behind_another_part() -> None:
    svg = (ROOT / "docs/images/architecture.svg").read_text()
    numbers = r"(-?\d+(?:\.\d+)?)"
    rects = re.findall(f'<rect x="{numbers}" y="{numbers}" width="{numbers}" height="{numbers}"', svg)
    boxes = np.array(rects, dtype=float)
    arrows = re.findall(r'<path d="M([^"zV]*)C([^"V]*)(?:V(\d+))?"', svg)
    assert len(boxes) == svg.count("<text")
    assert len(arrows) == svg.count("<path") - 1 > 20
    t = np.linspace(0, 1, 200)[:, None]
    for begin, curve, down in arrows:
        start, first, second, end = np.array([begin.split(), *np.reshape(curve.split(), (3, 2))], dtype=float)
        line = (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * first + 3 * t**2 * (1 - t) * second + t**3 * end
        if down:
            line = np.concatenate([line, np.linspace(end, [end[0], float(down)], 50)])
        # To touch the edge of a box is to begin or to end there.
        left, top, width, height = boxes.T[:, None]
        across, along = line.T[:, :, None]
        inside = (left < across) & (across < left + width) & (top < along) & (along < top + height)
        assert not inside.any(), (begin, curve, down)


def test_first_example_scores_photographs() -> None:
    [first] = [block.values[0] for block in BLOCKS if block.id == "index.md-1"]
    assert isinstance(first, str)
    assert "open_photograph(" in first
    assert "rand" not in first
