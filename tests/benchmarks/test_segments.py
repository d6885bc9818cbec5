"""Agreement with people's segments is measured as its formulas say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from benchmarks.shared.segments import (
    adjusted_rand,
    best_iou,
    boundary_f,
    covering,
    load_segmented,
    variation_of_information,
)

RANDOM = np.random.default_rng(0)
A, B = (RANDOM.integers(0, 4, (9, 11)) for _ in range(2))


def test_indices_are_those_of_another_library() -> None:
    assert adjusted_rand(A, B) == pytest.approx(adjusted_rand_score(A.ravel(), B.ravel()))
    entropies = [mutual_info_score(each.ravel(), each.ravel()) for each in (A, B)]
    bits = (sum(entropies) - 2 * mutual_info_score(A.ravel(), B.ravel())) / np.log(2)
    assert variation_of_information(A, B) == pytest.approx(bits)


def test_equal_segments_agree_fully() -> None:
    halves = np.repeat([[0, 1]], 6, axis=0).repeat(6, axis=1)
    assert covering(halves, halves) == adjusted_rand(halves, halves) == boundary_f([halves], halves) == 1
    assert variation_of_information(halves, halves) == pytest.approx(0)
    assert best_iou(halves == 1, halves) == 1
    assert boundary_f([halves], np.zeros_like(halves)) == 0


def test_photographs_are_halved_by_name(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        Image.new("RGB", (6, 4)).save(tmp_path / f"{name}.jpg")
        for suffix in ("segments0", "segments1", "object"):
            Image.new("L", (6, 4)).save(tmp_path / f"{name}.{suffix}.png")
    assert list(load_segmented(tmp_path, "tune")) == ["a", "c"]
    [photograph] = load_segmented(tmp_path, "report").values()
    assert len(photograph.segments) == 2
    assert photograph.object.shape == (4, 6)
    with pytest.raises(ValueError, match=r"must hold NAME\.jpg"):
        load_segmented(tmp_path / "none")
