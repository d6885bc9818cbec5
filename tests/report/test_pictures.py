"""What is looked up in the images: examples to show, PSNR and SSIM."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from torchmetrics_sess.images import FilePair
from torchmetrics_sess.report.pictures import choose_extremes, picture_pair
from torchmetrics_sess.report.pixels import choose_unmeasured, measure
from torchmetrics_sess.results import Row


def save(path: Path, level: int, size: tuple[int, int] = (40, 30)) -> str:
    Image.new("RGB", size, (level, level, level)).save(path)
    return str(path)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.floats(0, 1)), max_size=12), st.integers(0, 4))
def test_extremes_are_extreme_and_shown_once(content: list[tuple[str, float | None]], count: int) -> None:
    rows = [Row(FilePair(name, "", "", str(index)), score) for index, (name, score) in enumerate(content)]
    lowest, highest = choose_extremes(rows, count)
    for side in (lowest, highest):
        assert len(side) <= count
        assert len({row.pair.name for row in side}) == len(side)
    chosen = [row.pair.recon_folder for row in lowest + highest]
    assert len(set(chosen)) == len(chosen)
    scores = [row.score for row in rows if row.score is not None]
    if count and scores:
        assert lowest[0].score == min(scores)
        assert not highest or highest[0].score == max(
            row.score for row in rows if row.score is not None and row not in lowest
        )


def test_a_pair_is_pictured_small(tmp_path: Path) -> None:
    row = Row(FilePair("a.png", save(tmp_path / "a.png", 250, (1500, 900)), save(tmp_path / "b.png", 0), "out"), 0.5)
    original, reconstruction = picture_pair(row)
    assert (original.width, original.height) == (560, 336)
    assert (reconstruction.width, reconstruction.height) == (40, 30)
    assert original.alt == "The original, a.png"
    with Image.open(io.BytesIO(base64.b64decode(original.source.partition(",")[2]))) as image:
        assert image.size == (560, 336)
        assert np.asarray(image.convert("L")).mean() == pytest.approx(250, abs=2)


def test_psnr_and_ssim_are_measured_where_they_can_be(tmp_path: Path) -> None:
    origin = save(tmp_path / "origin.png", 100)
    paths = {
        "same": origin,
        "other": save(tmp_path / "other.png", 110),
        "larger": save(tmp_path / "larger.png", 100, (41, 30)),
        "missing": str(tmp_path / "missing.png"),
    }
    rows = [Row(FilePair(name, origin, path, "out"), 0.5, metrics={"lpips": 0.25}) for name, path in paths.items()]
    found = {row.pair.name: row.metrics for row in measure(rows, torch.device("cpu"))}
    assert found["same"] == {"psnr": float("inf"), "ssim": pytest.approx(1), "lpips": 0.25}
    assert found["other"]["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert found["larger"] == found["missing"] == {"lpips": 0.25}


def test_of_many_pairs_always_the_same_are_measured() -> None:
    chosen = choose_unmeasured(range(0, 1000, 2), 50)
    assert chosen == choose_unmeasured(range(0, 1000, 2), 50) == sorted(set(chosen))
    assert len(chosen) == 50
    assert not any(index % 2 for index in chosen)
    assert choose_unmeasured([3, 5], 50) == [3, 5]
