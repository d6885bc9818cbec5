"""Image metrics by name: the numbers of their own libraries, and a reason wherever there is none."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stub_extractor import stub_images, stub_preset
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity
from torchmetrics.functional import image as functional
from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity
from torchvision.models import AlexNet
from torchvision.models.vgg import cfgs, make_layers
from torchvision.transforms.functional import to_pil_image

from torchmetrics_sess import SceneGraphExtractor, semantic_similarity_score
from torchmetrics_sess.comparison import (
    METRICS,
    IncomparableWarning,
    MissingMetricError,
    available_metrics,
    image_metrics,
    missing_metrics,
    vit_score,
)
from torchmetrics_sess.encoders.open_clip import OpenClipEncoder
from torchmetrics_sess.images import prepare_images
from torchmetrics_sess.matching import match_graphs
from torchmetrics_sess.matching.relation_similarity import minilm_relation_similarity
from torchmetrics_sess.presets import Preset, load_preset

Photographs = dict[str, Tensor]


@pytest.fixture
def pairs(photographs: Photographs) -> tuple[list[Tensor], list[Tensor]]:
    """Return three images, uint8 and float and of two sizes, and what a coarse quantisation leaves of them."""
    tall = {name: image.repeat_interleave(2, 1) for name, image in photographs.items()}
    target = [tall["cat"], tall["coffee"][:, :200], tall["rocket"] / 255]
    preds = [target[0] // 32 * 32, target[1] // 16 * 16, (target[2] * 4).round() / 4]
    return preds, target


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("psnr", functional.peak_signal_noise_ratio),
        ("ssim", functional.structural_similarity_index_measure),
        ("ms_ssim", functional.multiscale_structural_similarity_index_measure),
    ],
)
def test_pixel_metrics_are_those_of_torchmetrics(
    name: str, expected: Callable[..., Tensor], pairs: tuple[list[Tensor], list[Tensor]]
) -> None:
    metric = image_metrics([name])[name]
    assert metric.name == name
    assert metric.higher_is_better
    floats = [prepare_images(images, "images") for images in pairs]
    values = [expected(a[None], b[None], data_range=1.0).item() for a, b in zip(*floats, strict=True)]
    assert metric(*pairs) == pytest.approx(values, rel=1e-6)
    assert len({round(value, 3) for value in values}) == 3


def test_identical_images_are_as_alike_as_can_be(photographs: Photographs) -> None:
    images = [photographs["astronaut"]]
    names = ["psnr", "ssim", "ms_ssim", "sess", "embedding", "vitscore"]
    values = {name: metric(images, images) for name, metric in image_metrics(names).items()}
    assert list(values) == names
    assert values.pop("psnr") == [math.inf]
    for name, value in values.items():
        assert value == pytest.approx([1.0], abs=1e-5), name


def test_metrics_of_the_network_are_what_they_are_called(photographs: Photographs, lite: SceneGraphExtractor) -> None:
    pair = photographs["cat"], photographs["coffee"]
    preds, target = [pair[0]], [pair[1]]
    overrides = {"matching.iterations": 0, "matching.image_weight": 0.6}
    metrics = image_metrics(["embedding", "sess", "vitscore"], overrides=overrides)
    graphs = lite(pair, masks=False)
    cosine = float(graphs[0].image_feature @ graphs[1].image_feature)
    assert metrics["embedding"](preds, target) == pytest.approx([cosine], abs=1e-5)
    assert image_metrics(["embedding"], preset=stub_preset())["embedding"](preds, target) == pytest.approx([cosine])
    matching = load_preset("lite", overrides).matching
    score = match_graphs(graphs[0], graphs[1], minilm_relation_similarity(), matching).score
    assert metrics["sess"](preds, target) == pytest.approx([score], abs=1e-5)

    segmenter: Any = lite.segmenter
    squares = [
        nn.functional.interpolate(image[None] / 255, (336, 336), mode="bilinear", antialias=True) for image in pair
    ]
    tokens = nn.functional.normalize(segmenter.network(torch.cat(squares)).patches.flatten(1, 2), dim=-1)
    f1 = f1_by_loops((tokens[0] @ tokens[1].T).tolist())
    assert metrics["vitscore"](preds, target) == pytest.approx([f1], abs=1e-4)


def f1_by_loops(cosines: list[list[float]]) -> float:
    precision = sum(max(row) for row in cosines) / len(cosines)
    recall = sum(max(column) for column in zip(*cosines, strict=True)) / len(cosines[0])
    return 0.0 if min(precision, recall) <= 0 else 2 * precision * recall / (precision + recall)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / ((a @ a) * (b @ b)).sqrt())


@given(m=st.integers(1, 6), n=st.integers(1, 6), d=st.integers(1, 4), seed=st.integers(0, 1000))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_vit_score_is_the_mean_of_best_matches(m: int, n: int, d: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    preds = torch.randn(2, m, d, generator=generator, dtype=torch.float64)
    target = torch.randn(2, n, d, generator=generator, dtype=torch.float64)
    score = vit_score(preds, target)
    for index in range(2):
        expected = f1_by_loops([[cosine(a, b) for b in target[index]] for a in preds[index]])
        assert score.f1[index].item() == pytest.approx(expected)
    assert (score.precision.abs() <= 1 + 1e-9).all()
    assert ((score.f1 >= 0) & (score.f1 <= 1 + 1e-9)).all()
    swapped = vit_score(target, preds)
    assert torch.allclose(swapped.f1, score.f1)
    assert torch.equal(swapped.precision, score.recall)
    assert torch.allclose(vit_score(3 * preds, preds.flip(1)).f1, torch.ones(2, dtype=torch.float64))


def test_sess_follows_its_preset() -> None:
    preds, target = list(stub_images(3)), list(stub_images(3, seed=1))
    expected = semantic_similarity_score(preds, target, stub_preset(), reduction="none").tolist()
    assert image_metrics(["sess"], preset=stub_preset())["sess"](preds, target) == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"did you mean `matching\.iterations`"):
        image_metrics(["sess"], overrides={"matching.iteration": 1})


def test_an_image_goes_through_the_network_once_but_anew_when_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    extracted: list[int] = []
    extract = SceneGraphExtractor.extract

    def counting(self: SceneGraphExtractor, images: list[Tensor], **options: Any) -> Any:
        extracted.append(len(images))
        return extract(self, images, **options)

    monkeypatch.setattr(SceneGraphExtractor, "extract", counting)
    metric = image_metrics(["sess"], preset=stub_preset())["sess"]
    preds, target = [image.clone() for image in stub_images(3)], stub_images(1, seed=1)[0]
    first = metric(preds, [target] * 3)
    assert metric(preds, [target.clone()] * 3) == first
    assert extracted == [4]
    preds[1].zero_()
    second = metric(preds, [target] * 3)
    assert extracted == [4, 1]
    assert second[0] == first[0]
    assert second[1] != first[1]


def test_pairs_that_a_metric_cannot_compare_get_nan_and_one_warning() -> None:
    sizes = [(180, 180), (180, 176), (175, 180), (10, 180), (11, 180)]
    target = [torch.rand(3, *size, generator=torch.Generator().manual_seed(0)) for size in sizes]
    preds = [image * 0.9 for image in target]
    preds[0] = preds[0][:, 1:]
    metrics = image_metrics(["psnr", "ssim", "ms_ssim"])
    expected = {
        "psnr": ([True, False, False, False, False], ["images of one size"]),
        "ssim": ([True, False, False, True, False], ["images of one size", "images of at least 11 x 11 pixels"]),
        "ms_ssim": ([True, False, True, True, True], ["images of one size", "images of at least 176 x 176 pixels"]),
    }
    for name, (missing, reasons) in expected.items():
        with pytest.warns(IncomparableWarning) as caught:
            values = metrics[name](preds, target)
        assert [math.isnan(value) for value in values] == missing
        assert [str(each.message) for each in caught] == [
            f"{name} compares {reason}; other pairs get NaN" for reason in reasons
        ]
        assert [math.isnan(value) for value in metrics[name](preds, target)] == missing


@pytest.mark.parametrize(
    ("preds", "target", "error", "message"),
    [
        ([torch.rand(3, 8, 8)], [torch.rand(3, 8, 8)] * 2, ValueError, "equally many images"),
        ([torch.rand(3, 8, 8) + 1], [torch.rand(3, 8, 8)], ValueError, "`preds` must lie in `data_range`"),
        ([torch.rand(3, 8, 8)], [torch.rand(2, 8, 8)], ValueError, r"`target\[0\]` must have 3 channels"),
        ([torch.zeros(3, 8, 8)], [torch.zeros(3, 8, 8).int()], TypeError, r"`target\[0\]` must be uint8"),
        ([], [], ValueError, "at least one image"),
    ],
)
def test_what_is_no_pair_of_images_is_refused(
    preds: list[Tensor], target: list[Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        image_metrics(["psnr"])["psnr"](preds, target)


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match="unknown metric 'msssim'; did you mean `ms_ssim`"):
        image_metrics(["psnr", "msssim"])


@pytest.fixture
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all weights of this machine."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "sess"))
    monkeypatch.setattr("importlib.metadata.distribution", _raise_not_found)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_, **__: None)


def _raise_not_found(name: str) -> None:
    import importlib.metadata

    raise importlib.metadata.PackageNotFoundError(name)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lpips", "its weights (233 MB) are not on this machine: "),
        ("dists", "its weights (528 MB) are not on this machine: "),
        ("clip", "`sess weights download open_clip_vit_b_32`"),
    ],
)
def test_weights_that_are_missing_are_named(name: str, reason: str, tmp_path: Path) -> None:
    assert reason in missing_metrics()[name]
    with pytest.raises(MissingMetricError) as caught:
        image_metrics(["psnr", name])
    assert str(caught.value).startswith(f"{name}: ")
    assert "SESS_OFFLINE=1 forbids the download" in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    noted: dict[str, str] = {}
    metrics = image_metrics([name, "psnr"], on_missing=noted.__setitem__)
    assert list(metrics) == ["psnr"]
    assert "SESS_OFFLINE=1 forbids the download" in noted[name]


def test_every_metric_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Preset] = []
    psnr = dataclasses.replace(METRICS["psnr"], missing=asked.append)
    monkeypatch.setitem(METRICS, "psnr", psnr)
    available_metrics(stub_preset())
    assert len(asked) == 1


@pytest.mark.usefixtures("no_weights")
def test_what_needs_no_weights_is_always_available() -> None:
    assert available_metrics() == ["psnr", "ssim", "ms_ssim"]
    assert set(missing_metrics()) == set(METRICS) - {"psnr", "ssim", "ms_ssim"}
    assert "sess" in available_metrics(stub_preset())
    assert "sess weights download sam_vit_b open_clip_vit_b_32" in missing_metrics("sam-b")["sess"]


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_a_download_that_fails_is_a_reason_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setenv("SESS_OFFLINE", "0")
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    with pytest.raises(MissingMetricError, match=f"{name}: the download of its weights failed: .*no route"):
        image_metrics([name])


def lazy_features(make: Callable[[], nn.Module]) -> Any:
    """Return the convolutions of a network with small random weights, without the memory that the whole would take."""
    with torch.device("meta"):
        features = make()
    features = features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in features.parameters():
            fan_in = parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / max(1, fan_in) ** 0.5)
    return SimpleNamespace(features=features)


@pytest.fixture
def random_backbones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the backbones of LPIPS and DISTS be random networks, whose weights seem to be here."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"):
        (folder / name).touch()
    monkeypatch.setattr("torchvision.models.alexnet", lambda weights: lazy_features(lambda: AlexNet().features))
    monkeypatch.setattr(
        "torchmetrics.functional.image.dists.vgg16", lambda weights: lazy_features(lambda: make_layers(cfgs["D"]))
    )


@pytest.mark.usefixtures("random_backbones")
def test_lpips_and_dists_are_those_of_torchmetrics() -> None:
    assert {"lpips", "dists"} <= set(available_metrics())
    target = [torch.rand(3, 40, width, generator=torch.Generator().manual_seed(width)) for width in (40, 48)]
    preds = [image.flip(1) for image in target]
    metrics = image_metrics(["lpips", "dists"])
    assert not any(metric.higher_is_better for metric in metrics.values())
    expected = [
        learned_perceptual_image_patch_similarity(a[None], b[None], normalize=True).item()
        for a, b in zip(preds, target, strict=True)
    ]
    assert metrics["lpips"](preds, target) == pytest.approx(expected, rel=1e-5)
    expected = [
        functional.deep_image_structure_and_texture_similarity(a[None], b[None]).item()
        for a, b in zip(preds, target, strict=True)
    ]
    assert metrics["dists"](preds, target) == pytest.approx(expected, rel=1e-5)
    assert min(expected) > 1e-4
    for metric in metrics.values():
        assert metric(target, target) == pytest.approx([0, 0], abs=1e-5)
    with pytest.warns(IncomparableWarning, match="lpips compares images of at least 31 x 31 pixels"):
        assert math.isnan(metrics["lpips"]([preds[0][:, :30]], [target[0][:, :30]])[0])
    assert metrics["dists"]([torch.zeros(3, 1, 1)], [torch.zeros(3, 1, 1)]) == pytest.approx([0], abs=1e-5)


def test_clip_is_the_cosine_of_two_embeddings(photographs: Photographs, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
    text = {"context_length": 8, "vocab_size": 16, "width": 8, "heads": 1, "layers": 1}
    model = open_clip.CLIP(embed_dim=12, vision_cfg=vision, text_cfg=text).eval()
    preprocess = open_clip.image_transform(32, is_train=False)
    monkeypatch.setattr(OpenClipEncoder, "from_pretrained", lambda *_, **__: OpenClipEncoder(model, preprocess))
    target = [photographs["cat"], photographs["coffee"][:, :120]]
    preds = [photographs["rocket"], photographs["cat"]]
    with torch.no_grad():
        embedded = [
            model.encode_image(torch.stack([preprocess(to_pil_image(image)) for image in images]))
            for images in (preds, target)
        ]
    expected = cosine_similarity(embedded[0], embedded[1]).tolist()
    assert image_metrics(["clip"])["clip"](preds, target) == pytest.approx(expected, abs=2e-3)
    assert abs(expected[0] - expected[1]) > 5e-3
