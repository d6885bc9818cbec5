from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchmetrics_sess import geometry
from torchmetrics_sess.geometry import mask_centers, mask_sums

PIPELINE = np.load(Path(__file__).parent / "data" / "pipeline_dev.npz")
GRAPHS = sorted({"/".join(name.split("/")[:2]) for name in PIPELINE.files if name.endswith("/masks")})


@pytest.mark.parametrize("graph", GRAPHS)
def test_centers_match_the_released_ones(graph: str) -> None:
    height, width = PIPELINE[f"{graph}/image"].shape[:2]
    masks = np.unpackbits(PIPELINE[f"{graph}/masks"], axis=-1, count=width).astype(bool)
    assert masks.shape[1:] == (height, width)
    centers = mask_centers(torch.from_numpy(masks))
    np.testing.assert_allclose(centers.numpy(), PIPELINE[f"{graph}/centers"], rtol=0, atol=1e-7)


@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    n=st.integers(1, 5),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 2**16),
)
@settings(derandomize=True, max_examples=30, deadline=None)
def test_centers_are_means_of_pixel_indices(batch: list[int], n: int, height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(*batch, n, height, width, generator=generator) > 0.6
    centers = mask_centers(masks)
    assert centers.shape == (*batch, n, 2)
    for mask, center in zip(masks.flatten(0, -3).numpy(), centers.flatten(0, -2).tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [rows.mean() / height, columns.mean() / width] if len(rows) else [0.5, 0.5]
        assert center == pytest.approx(expected, abs=1e-7)


def test_centers_of_large_masks_stay_exact() -> None:
    masks = torch.ones(1, 3000, 2000, dtype=torch.bool)
    expected = [2999 / 2 / 3000, 1999 / 2 / 2000]
    assert mask_centers(masks)[0].tolist() == pytest.approx(expected, abs=3e-8)


def test_sums_do_not_depend_on_how_pixels_are_split(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, 11, 13, generator=generator) > 0.5
    maps = torch.rand(2, 4, 11, 13, generator=generator)
    expected = torch.einsum("bnhw,bkhw->bnk", masks.double(), maps.double())
    for chunk in (1, 7, 100, 2**20):
        monkeypatch.setattr(geometry, "_CHUNK", chunk)
        torch.testing.assert_close(mask_sums(masks, maps), expected, rtol=1e-12, atol=0)


def test_sums_keep_their_precision_under_autocast() -> None:
    masks = torch.ones(1, 64, 64, dtype=torch.bool)
    maps = torch.full((1, 64, 64), 1.001)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = mask_sums(masks, maps)
    assert total.item() == pytest.approx(64 * 64 * 1.001, rel=1e-6)


def test_masks_are_never_all_held_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.zeros(64, 128, 128, dtype=torch.bool)
    monkeypatch.setattr(geometry, "_CHUNK", 2**12)
    held = []
    convert = torch.Tensor.to

    def spy(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        held.append(tensor.numel())
        return convert(tensor, dtype)

    monkeypatch.setattr(torch.Tensor, "to", spy)
    mask_sums(masks, torch.zeros(1, 128, 128))
    assert max(held) <= 2**12
