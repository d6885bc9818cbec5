from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmetrics_sess.config import describe, from_mapping
from torchmetrics_sess.importance import ImportanceConfig, focus_saliency, object_importance, spectral_residual

GOLDEN = np.load(Path(__file__).parent / "data" / "importance_dev.npz")
CASES = sorted({name.split("/")[0] for name in GOLDEN.files}, key=int)

laws = settings(derandomize=True, max_examples=40, deadline=None)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let wrong arguments reach the function, as they do outside the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def golden(case: str, name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[f"{case}/{name}"])


def golden_images(case: str) -> Tensor:
    return golden(case, "image").permute(2, 0, 1)[None]


class TestSpectralResidual:
    @pytest.mark.parametrize("case", CASES)
    def test_equals_opencv(self, case: str) -> None:
        error = (spectral_residual(golden_images(case))[0] - golden(case, "saliency")).abs()
        assert error.max() < 2e-4
        assert error.mean() < 2e-5

    @pytest.mark.parametrize(
        ("level", "lowest"),
        # As OpenCV 5.0 gives them: on flat images it is the zeros of the spectrum that decide.
        [(0, 0.0), (7, 0.9641066), (255, 0.9984922)],
    )
    def test_flat_images_are_finite_and_as_in_opencv(self, level: int, lowest: float) -> None:
        saliency = spectral_residual(torch.full((1, 3, 80, 90), level, dtype=torch.uint8))
        assert saliency.min().item() == pytest.approx(lowest, abs=1e-5)
        assert saliency.max().item() == pytest.approx(1.0, abs=1e-5)
        assert torch.equal(saliency, spectral_residual(torch.full((1, 3, 80, 90), level / 255)))

    @pytest.mark.parametrize("size", [(1, 1), (1, 70), (5, 2), (64, 64), (63, 200), (300, 41)])
    def test_any_size(self, size: tuple[int, int]) -> None:
        images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
        saliency = spectral_residual(images)
        assert saliency.shape == (2, *size)
        assert saliency.dtype == torch.float32
        assert saliency.isfinite().all()
        assert saliency.min() >= 0
        assert saliency.max() <= 1

    @pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
    def test_floats_and_bytes_agree(self, dtype: torch.dtype) -> None:
        images = golden_images("5")
        assert torch.equal(spectral_residual((images.double() / 255).to(dtype)), spectral_residual(images))

    def test_batch_mates_change_nothing(self) -> None:
        images = torch.cat([golden_images(case) for case in CASES[:4]])
        singly = torch.cat([spectral_residual(image[None]) for image in images])
        torch.testing.assert_close(spectral_residual(images), singly, rtol=0, atol=1e-6)

    def test_autocast_changes_nothing(self) -> None:
        images = golden_images("4")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = spectral_residual(images)
        assert torch.equal(cast, spectral_residual(images))

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 8, 8, 3)])
    def test_refuses_other_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"`images` must be \[b, 3, h, w\], got shape \[\d"):
            spectral_residual(torch.zeros(shape))

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
    def test_refuses_other_dtypes(self, dtype: torch.dtype) -> None:
        with pytest.raises(TypeError, match=f"`images` must be uint8, or floating point.*got {dtype}"):
            spectral_residual(torch.zeros(1, 3, 8, 8, dtype=dtype))


@dataclass
class Scene:
    """One image's arguments of ``object_importance``."""

    saliency: Tensor
    masks: Tensor
    confidence: Tensor

    def importance(self, **kwargs: Any) -> Tensor:
        return object_importance(self.saliency, self.masks, self.confidence, **kwargs)


def make_scene(seed: int, n: int, size: int = 9) -> Scene:
    """Return overlapping masks, some of them empty or without saliency, and few or no relations."""
    rng = np.random.default_rng(seed)
    saliency = rng.random((size, size)) * (rng.random((size, size)) > rng.choice([0.0, 0.5, 0.9]))
    masks = rng.random((n, size, size)) > rng.choice([0.2, 0.7, 0.98])
    confidence = np.where(rng.random((n, n)) > rng.choice([0.1, 0.6, 1.0]), rng.random((n, n)), -1.0)
    np.fill_diagonal(confidence, -1.0)
    return Scene(torch.from_numpy(saliency), torch.from_numpy(masks), torch.from_numpy(confidence))


def formula(scene: Scene, k1: float = 2.5, k2: float = 3.0, k3: float = 0.8) -> np.ndarray:
    """Follow the published formulas one object at a time; NaN where they divide by zero."""
    saliency, masks, confidence = (x.double().numpy() for x in (scene.saliency, scene.masks, scene.confidence))
    n = len(masks)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = np.array([(saliency * mask).sum() for mask in masks]) ** (1 / k1)
        s = s / s.sum()
        r = np.zeros(n)
        for i in range(n):
            for j in range(n):
                for c in (confidence[i, j], confidence[j, i]):
                    if i != j and c > 0:
                        r[i] += c * s[i] / (s[i] + s[j])
        r = r ** (1 / k2)
        weights = k3 * s + (1 - k3) * r / r.sum()
        return np.asarray(weights / weights.sum())


scenes = st.builds(make_scene, seed=st.integers(0, 2**16), n=st.integers(1, 7))


class TestObjectImportance:
    @pytest.mark.parametrize("case", CASES)
    def test_equals_the_released_code(self, case: str) -> None:
        importance = object_importance(golden(case, "saliency"), golden(case, "masks"), golden(case, "confidence"))
        np.testing.assert_allclose(importance.numpy(), GOLDEN[f"{case}/importance"], rtol=2e-7)

    @pytest.mark.parametrize("case", CASES)
    def test_end_to_end_from_our_saliency(self, case: str) -> None:
        saliency = spectral_residual(golden_images(case))[0]
        importance = object_importance(saliency, golden(case, "masks"), golden(case, "confidence"))
        np.testing.assert_allclose(importance.numpy(), GOLDEN[f"{case}/importance"], rtol=1e-4)

    @given(scene=scenes)
    @laws
    def test_equals_the_formula_wherever_that_is_finite(self, scene: Scene) -> None:
        expected = formula(scene)
        if np.isfinite(expected).all():
            np.testing.assert_allclose(scene.importance().numpy(), expected, rtol=1e-9, atol=1e-11)

    def test_other_settings_follow_the_formula(self) -> None:
        scene = make_scene(seed=3, n=5)
        expected = formula(scene, k1=1.5, k2=2.0, k3=0.3)
        assert np.isfinite(expected).all()
        importance = scene.importance(config=ImportanceConfig(k1=1.5, k2=2.0, k3=0.3))
        np.testing.assert_allclose(importance.numpy(), expected, rtol=1e-9)

    @given(scene=scenes)
    @laws
    def test_positive_and_sums_to_one(self, scene: Scene) -> None:
        importance = scene.importance()
        assert (importance > 0).all()
        assert importance.sum().item() == pytest.approx(1.0, abs=1e-12)

    @given(scene=scenes, seed=st.integers(0, 2**16))
    @laws
    def test_follows_the_order_of_the_objects(self, scene: Scene, seed: int) -> None:
        order = torch.randperm(len(scene.masks), generator=torch.Generator().manual_seed(seed))
        permuted = Scene(scene.saliency, scene.masks[order], scene.confidence[order][:, order])
        torch.testing.assert_close(permuted.importance(), scene.importance()[order], rtol=1e-9, atol=1e-12)

    @given(scene=scenes, factor=st.floats(1e-3, 1e3))
    @laws
    def test_scale_of_saliency_is_irrelevant(self, scene: Scene, factor: float) -> None:
        scaled = Scene(scene.saliency * factor, scene.masks, scene.confidence)
        torch.testing.assert_close(scaled.importance(), scene.importance(), rtol=1e-9, atol=1e-12)

    @given(scene=scenes, padding=st.integers(1, 3), seed=st.integers(0, 2**16))
    @laws
    def test_padding_changes_nothing(self, scene: Scene, padding: int, seed: int) -> None:
        n = len(scene.masks)
        order = torch.randperm(n + padding, generator=torch.Generator().manual_seed(seed))
        # Whatever lies in a slot without object must not matter.
        masks = torch.cat([scene.masks, torch.ones(padding, *scene.masks.shape[1:], dtype=torch.bool)])
        confidence = torch.full((n + padding, n + padding), 0.7, dtype=torch.float64)
        confidence[:n, :n] = scene.confidence
        valid = torch.arange(n + padding) < n
        padded = object_importance(scene.saliency, masks[order], confidence[order][:, order], valid=valid[order])
        expected = torch.cat([scene.importance(), torch.zeros(padding, dtype=torch.float64)])[order]
        torch.testing.assert_close(padded, expected, rtol=1e-9, atol=1e-12)
        assert (padded[~valid[order]] == 0).all()

    @given(seeds=st.lists(st.integers(0, 2**16), min_size=1, max_size=4), n=st.integers(1, 6))
    @laws
    def test_batch_equals_singles(self, seeds: list[int], n: int) -> None:
        batch = [make_scene(seed, n) for seed in seeds]
        stacked = Scene(
            torch.stack([scene.saliency for scene in batch]),
            torch.stack([scene.masks for scene in batch]),
            torch.stack([scene.confidence for scene in batch]),
        )
        expected = torch.stack([scene.importance() for scene in batch])
        torch.testing.assert_close(stacked.importance(), expected, rtol=1e-9, atol=1e-12)
        valid = torch.ones(len(batch), n, dtype=torch.bool)
        torch.testing.assert_close(stacked.importance(valid=valid), expected, rtol=1e-9, atol=1e-12)

    @given(scene=scenes)
    @laws
    def test_no_saliency_at_all_leaves_the_relations(self, scene: Scene) -> None:
        n = len(scene.masks)
        importance = Scene(torch.zeros_like(scene.saliency), scene.masks, scene.confidence).importance()
        degree = np.clip(scene.confidence.numpy(), 0, None)
        part = ((degree + degree.T) / 2).sum(1) ** (1 / 3)
        share = part / part.sum() if part.sum() > 0 else np.full(n, 1 / n)
        np.testing.assert_allclose(importance.numpy(), 0.8 / n + 0.2 * share, rtol=1e-9)

    @given(scene=scenes)
    @laws
    def test_no_relations_leave_saliency(self, scene: Scene) -> None:
        n = len(scene.masks)
        importance = Scene(scene.saliency, scene.masks, torch.full_like(scene.confidence, -1)).importance()
        root = (scene.masks * scene.saliency).sum((1, 2)) ** 0.4
        share = root / root.sum() if root.sum() > 0 else torch.full_like(root, 1 / n)
        torch.testing.assert_close(importance, 0.8 * share + 0.2 / n, rtol=1e-9, atol=1e-11)

    def test_one_object_has_all(self) -> None:
        for saliency in (torch.zeros(4, 4), torch.ones(4, 4)):
            importance = object_importance(saliency, torch.ones(1, 4, 4, dtype=torch.bool), torch.full((1, 1), -1.0))
            assert importance.tolist() == [1.0]

    def test_overlapping_masks_share_their_pixels(self) -> None:
        masks = torch.zeros(2, 4, 4, dtype=torch.bool)
        masks[0], masks[1, :1] = True, True
        importance = object_importance(torch.ones(4, 4), masks, torch.full((2, 2), -1.0))
        larger, smaller = 16**0.4, 4**0.4
        assert importance[0].item() == pytest.approx(0.8 * larger / (larger + smaller) + 0.1, abs=1e-6)

    def test_an_image_without_objects_weighs_nothing(self) -> None:
        importance = object_importance(
            torch.ones(4, 4),
            torch.zeros(2, 4, 4, dtype=torch.bool),
            torch.full((2, 2), -1.0),
            valid=torch.zeros(2, dtype=torch.bool),
        )
        assert importance.tolist() == [0.0, 0.0]

    def test_half_precision_saliency_gives_float32(self) -> None:
        scene = make_scene(seed=1, n=4)
        importance = Scene(scene.saliency.bfloat16(), scene.masks, scene.confidence.bfloat16()).importance()
        assert importance.dtype == torch.float32
        assert importance.sum().item() == pytest.approx(1.0, abs=1e-6)

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("saliency", torch.zeros(5, 4)),
            ("masks", torch.zeros(4, 4, dtype=torch.bool)),
            ("confidence", torch.zeros(2, 3)),
            ("valid", torch.zeros(3, dtype=torch.bool)),
        ],
    )
    def test_refuses_shapes_that_do_not_agree(self, name: str, value: Tensor) -> None:
        arguments: dict[str, Any] = {
            "saliency": torch.zeros(4, 4),
            "masks": torch.zeros(2, 4, 4, dtype=torch.bool),
            "confidence": torch.zeros(2, 2),
        }
        with pytest.raises(ValueError, match=f"`{name}` must be .*got"):
            object_importance(**{**arguments, name: value})

    @pytest.mark.usefixtures("unchecked")
    def test_refuses_masks_that_are_not_boolean(self) -> None:
        with pytest.raises(TypeError, match=r"`masks` must be boolean or floating point, got torch\.uint8"):
            object_importance(torch.zeros(4, 4), torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, 2))


class TestImportanceConfig:
    def test_signature_names_every_setting(self) -> None:
        assert describe(ImportanceConfig()) == "k1_2.5,k2_3,k3_0.8,spectral_residual,cut0,floor0,focus1"
        assert (
            describe(ImportanceConfig(k3=1.0, saliency="segmenter")) == "k1_2.5,k2_3,k3_1,segmenter,cut0,floor0,focus1"
        )

    def test_reads_from_plain_values(self) -> None:
        config = from_mapping(ImportanceConfig, {"k1": 2, "saliency": "segmenter"}, where="importance")
        assert config == ImportanceConfig(k1=2.0, saliency="segmenter")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"k1": 0.0}, "`k1` must be a positive number, got 0"),
            ({"k1": float("nan")}, "`k1` must be a positive number, got nan"),
            ({"k2": -3.0}, "`k2` must be a positive number, got -3"),
            ({"k2": float("inf")}, "`k2` must be a positive number, got inf"),
            ({"k3": 1.5}, r"`k3` must lie in \[0, 1\], got 1.5"),
            ({"k3": float("nan")}, r"`k3` must lie in \[0, 1\], got nan"),
        ],
    )
    def test_refuses_impossible_values(self, values: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            from_mapping(ImportanceConfig, values, where="importance")

    @pytest.mark.usefixtures("unchecked")
    def test_refuses_an_unknown_source_of_saliency(self) -> None:
        unknown: Any = "fixed"
        with pytest.raises(ValueError, match="`saliency` must be 'spectral_residual' or 'segmenter', got 'fixed'"):
            ImportanceConfig(saliency=unknown)


def test_saliency_is_left_as_it_is_unless_told_otherwise() -> None:
    saliency = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert focus_saliency(saliency, ImportanceConfig()) is saliency


def test_what_does_not_stand_out_counts_by_the_floor_alone() -> None:
    saliency = torch.tensor([[0.1, 0.1, 0.1, 0.9]])
    focused = focus_saliency(saliency, ImportanceConfig(threshold=1.0, floor=0.05, focus=2.0))
    torch.testing.assert_close(focused, torch.tensor([[0.05, 0.05, 0.05, 1.05]]) ** 2)
    torch.testing.assert_close(
        focus_saliency(7 * saliency, ImportanceConfig(threshold=1.0, floor=0.05, focus=2.0)), focused
    )


@pytest.mark.parametrize("value", [0.0, 0.4])
def test_a_map_without_anything_salient_weighs_by_area(value: float) -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :1], masks[1, 1:] = True, True
    config = ImportanceConfig(k1=1.0, k3=1.0, threshold=1.0, floor=0.05, focus=1.5)
    importance = object_importance(torch.full((4, 4), value), masks, torch.full((2, 2), -1.0), config)
    torch.testing.assert_close(importance, torch.tensor([0.25, 0.75]))


@pytest.mark.parametrize(("name", "value"), [("threshold", -1.0), ("floor", 1.5), ("focus", 0.0)])
def test_settings_of_focus_out_of_range_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must .*, got {value}"):
        from_mapping(ImportanceConfig, {name: value}, where="importance")
