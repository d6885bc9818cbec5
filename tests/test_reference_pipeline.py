"""The whole reference pipeline, on small networks, against a recorded run of the released code; and its edge cases."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image as PillowImage
from safetensors.torch import save_file
from segment_anything import sam_model_registry
from torch import Tensor

import torchmetrics_sess.encoders.open_clip as open_clip_encoder
from benchmarks.shared import golden_pipeline
from benchmarks.shared.golden_pipeline import CASES, DATA, SIDES, image, recorded, relation_similarity
from benchmarks.shared.segmentation_oracle import iou, tiny_architecture
from torchmetrics_sess import SceneGraph, SceneGraphExtractor, SemanticSimilarityScore
from torchmetrics_sess.encoders import OpenClipEncoder
from torchmetrics_sess.extractor import limit_width
from torchmetrics_sess.matching import MatchingConfig, match_graphs
from torchmetrics_sess.matching.relation_similarity import predicate_similarity_from_text
from torchmetrics_sess.presets import load_preset
from torchmetrics_sess.relations import GeometricRelationModel, RamRelationModel, RelationHead
from torchmetrics_sess.weights import WEIGHTS, MissingWeightError

EVERYTHING: dict[str, Any] = {
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
    "duplicate_iou_thresh": 1.0,
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are quicker without waiting for other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def head() -> RelationHead:
    return golden_pipeline.tiny_relation_head()


@pytest.fixture(scope="module")
def encoder() -> OpenClipEncoder:
    return golden_pipeline.tiny_encoder()


@pytest.fixture(scope="module")
def extractor(head: RelationHead, encoder: OpenClipEncoder) -> SceneGraphExtractor:
    return SceneGraphExtractor(
        segmenter=golden_pipeline.tiny_segmenter(), relation_model=RamRelationModel(head), encoder=encoder
    )


@pytest.fixture(scope="module")
def graphs(extractor: SceneGraphExtractor) -> dict[str, SceneGraph]:
    """The graph of every image, extracted by itself, from floats."""
    return {side: extractor([image(side) / 255])[0] for side in SIDES}


@pytest.mark.parametrize("side", SIDES)
def test_golden_graphs_one_image_at_a_time(graphs: dict[str, SceneGraph], side: str) -> None:
    graph, masks = graphs[side], recorded()[f"{side}/masks"]
    assert graph.masks is not None
    assert graph.masks.shape == masks.shape
    assert all(iou(a, b) >= 0.999 for a, b in zip(graph.masks.numpy(), masks, strict=True))
    expected = {name: recorded()[f"{side}/{name}"] for name in ("features", "centers", "importance", "confidence")}
    expected["image_feature"] = recorded()[f"{side}/image_feature"].reshape(-1)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(graph, name), values, rtol=0, atol=1e-3, err_msg=name)
    assert np.array_equal(graph.relation, recorded()[f"{side}/relation"])


@pytest.mark.parametrize("case", CASES)
def test_golden_scores_one_image_at_a_time(graphs: dict[str, SceneGraph], case: int) -> None:
    result = match_graphs(graphs[f"{case}/a"], graphs[f"{case}/b"], relation_similarity())
    np.testing.assert_allclose(result.similarity, recorded()[f"{case}/similarity"], rtol=0, atol=1e-3)
    for name in ("graph_score", "image_score", "score"):
        assert getattr(result, name) == pytest.approx(recorded()[f"{case}/{name}"].item(), abs=1e-3), name


def test_golden_scores_batched_in_any_order(extractor: SceneGraphExtractor, graphs: dict[str, SceneGraph]) -> None:
    metric = SemanticSimilarityScore(
        extractor=extractor,
        relation_similarity=relation_similarity(),
        matching=MatchingConfig(update_order="sequential"),
        reduction="none",
    )
    # Sizes differ, and no image stays where it was in its batch.
    order = [5, 0, 7, 3, 6, 1, 4, 2]
    metric.update([image(f"{case}/a") for case in order], [image(f"{case}/b") for case in order])
    scores = metric.compute()
    golden = [recorded()[f"{case}/score"].item() for case in order]
    alone = [match_graphs(graphs[f"{c}/a"], graphs[f"{c}/b"], relation_similarity()).score for c in order]
    np.testing.assert_allclose(scores, golden, rtol=0, atol=1e-3)
    np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-5)


def noise(height: int, width: int) -> Tensor:
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


ODD_IMAGES: dict[str, Callable[[], Tensor]] = {
    "photograph": lambda: image("5/a"),
    "black": lambda: torch.zeros(3, 50, 70, dtype=torch.uint8),
    "noise": lambda: noise(60, 40),
    "one row": lambda: noise(1, 90),
    "one column": lambda: noise(300, 1),
    "one pixel": lambda: noise(1, 1),
}
MASKS: dict[str, dict[str, Any]] = {
    "as they come": {},
    "none": {"pred_iou_thresh": 1e9},
    "one": {"max_masks": 1},
    "everything": EVERYTHING,
}


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("relations", ["ram", "geometric"])
def test_odd_images_have_finite_scores(
    head: RelationHead, encoder: OpenClipEncoder, masks: str, relations: str
) -> None:
    extractor = SceneGraphExtractor(
        segmenter=golden_pipeline.tiny_segmenter(**({"points_per_side": 4} | MASKS[masks])),
        relation_model=RamRelationModel(head) if relations == "ram" else GeometricRelationModel(),
        encoder=encoder,
    )
    graphs = extractor([make() for make in ODD_IMAGES.values()])
    if masks in ("none", "one"):
        assert [len(graph) for graph in graphs] == [1] * len(graphs)
        assert all(graph.importance.item() == 1 and graph.triplets() == [] for graph in graphs)
    if masks == "none":
        assert all(graph.masks is not None and graph.masks.all() for graph in graphs)
    for a in graphs:
        assert a.importance.min() > 0
        assert a.importance.sum().item() == pytest.approx(1, abs=1e-5)
        assert match_graphs(a, a, relation_similarity()).score == pytest.approx(1, abs=1e-5)
        for b in graphs:
            assert math.isfinite(match_graphs(a, b, relation_similarity()).score)


def test_six_hundred_masks(head: RelationHead, encoder: OpenClipEncoder) -> None:
    segmenter = golden_pipeline.tiny_segmenter(points_per_side=15, max_masks=600, **EVERYTHING)
    extractor = SceneGraphExtractor(segmenter=segmenter, relation_model=RamRelationModel(head), encoder=encoder)
    pair = [image("4/a")[:, 60:124, 60:140], image("4/b")[:, 60:124, 60:140]]
    [segmentation] = segmenter([pair[0] / 255])
    assert segmentation.masks.shape[1] == 600
    a, b = extractor(pair)
    assert all(torch.isfinite(graph.importance).all() and torch.isfinite(graph.features).all() for graph in (a, b))
    assert 0 < match_graphs(a, b, relation_similarity()).score < 1


@pytest.mark.parametrize(("height", "width"), [(500, 801), (600, 1000), (900, 2400), (3, 1700)])
def test_wide_images_shrink_as_pillow_shrinks_them(height: int, width: int) -> None:
    photograph = PillowImage.fromarray(recorded()["4/a/image"]).resize((width, height))
    size = 800, max(1, round(height * 800 / width))
    expected = np.asarray(photograph.resize(size, PillowImage.Resampling.BICUBIC), dtype=float)
    shrunk = limit_width(torch.from_numpy(np.array(photograph)).permute(2, 0, 1) / 255, 800)
    difference = np.abs(255 * shrunk.permute(1, 2, 0).numpy() - expected)
    assert difference.max() < 2.01
    assert (difference > 0.01).mean() < 1e-3


def test_the_graph_of_a_wide_image_is_that_of_the_shrunk_one(head: RelationHead, encoder: OpenClipEncoder) -> None:
    extractor = SceneGraphExtractor(
        segmenter=golden_pipeline.tiny_segmenter(points_per_side=4, **EVERYTHING),
        relation_model=RamRelationModel(head),
        encoder=encoder,
    )
    wide = np.array(PillowImage.fromarray(recorded()["4/a/image"]).resize((900, 100)))
    [graph] = extractor([torch.from_numpy(wide).permute(2, 0, 1)])
    [expected] = extractor([limit_width(torch.from_numpy(wide).permute(2, 0, 1) / 255, 800)])
    assert graph.masks is not None
    assert graph.masks.shape[1:] == (89, 800)
    assert len(graph) > 1
    assert match_graphs(graph, expected, relation_similarity()).score == pytest.approx(1, abs=1e-6)


@pytest.fixture
def small_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Put small checkpoints where the released ones would be: what is left is the way from files to scores."""
    clip = tmp_path / "clip.safetensors"
    save_file(golden_pipeline.tiny_clip().state_dict(), clip)
    files = {"sam_vit_h": DATA / "tiny_sam.pth", "ram": DATA / "tiny_ram.pth", "open_clip_vit_h_14": clip}
    for name, file in files.items():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        monkeypatch.setitem(WEIGHTS, name, replace(WEIGHTS[name], sha256=digest))
        (tmp_path / "home").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "home" / WEIGHTS[name].filename)
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SESS_OFFLINE", "1")

    architecture = {
        "embed_dim": golden_pipeline.EMBEDDING,
        "vision_cfg": golden_pipeline.VISION,
        "text_cfg": golden_pipeline.TEXT,
    }
    (tmp_path / "tiny-sess-reference.json").write_text(json.dumps(architecture))
    open_clip.add_model_config(tmp_path / "tiny-sess-reference.json")
    known = {("tiny-sess-reference", "laion2b_s32b_b79k"): "open_clip_vit_h_14"}
    monkeypatch.setattr(open_clip_encoder, "_KNOWN", known)
    monkeypatch.setitem(sam_model_registry, "vit_h", tiny_architecture)
    return files


def test_the_preset_is_built_from_its_checkpoints(
    small_checkpoints: dict[str, Path], extractor: SceneGraphExtractor, encoder: OpenClipEncoder, tmp_path: Path
) -> None:
    points, predicted_iou, stability, _ = recorded()["amg"].tolist()
    small = {
        "encoder.model": "tiny-sess-reference",
        "segmenter.points_per_side": int(points),
        "segmenter.pred_iou_thresh": predicted_iou,
        "segmenter.stability_score_thresh": stability,
    }
    preset = load_preset("reference", small)
    digests = [hashlib.sha256(file.read_bytes()).hexdigest()[:8] for file in small_checkpoints.values()]
    assert [stage.digests() for stage in (preset.segmenter, preset.relations, preset.encoder)] == [[d] for d in digests]
    assert all(digest in preset.signature() for digest in digests)

    built = preset.build("cpu")
    [graph], [expected] = built([image("6/b")]), extractor([image("6/b")])
    # The small head has four attention heads and the released one twelve, which no tensor tells: relations differ.
    torch.testing.assert_close(graph.features, expected.features)
    assert torch.equal(graph.centers, expected.centers)

    table = preset.predicate_similarity(built)
    torch.testing.assert_close(table, predicate_similarity_from_text(encoder))
    [kept] = (tmp_path / "home").glob("relation_similarity-*")
    assert kept.name.startswith("relation_similarity-open_clip-")
    assert torch.equal(preset.predicate_similarity(extractor), table)


def test_all_missing_checkpoints_are_named_at_once(small_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    for name in ("sam_vit_h", "ram"):
        (tmp_path / "home" / WEIGHTS[name].filename).unlink()
    with pytest.raises(MissingWeightError) as caught:
        load_preset("reference", {"encoder.model": "tiny-sess-reference"}).build("cpu")
    message = str(caught.value)
    assert message.startswith("2 files of weights (2899 MB), which the presets 'reference' and 'reference-bf16' need")
    assert "sess weights download sam_vit_h ram`" in message
    assert all(str(tmp_path / "home" / WEIGHTS[name].filename) in message for name in ("sam_vit_h", "ram"))


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("reference", ["sam_vit_h", "ram", "open_clip_vit_h_14"]),
        ("reference-bf16", ["sam_vit_h", "ram", "open_clip_vit_h_14"]),
        ("sam-b", ["sam_vit_b", "open_clip_vit_b_32"]),
    ],
)
def test_presets_name_their_weights(name: str, weights: list[str]) -> None:
    assert load_preset(name).weights() == weights


def test_precision_shows_in_the_signature() -> None:
    exact, rough = (load_preset(name).signature() for name in ("reference", "reference-bf16"))
    assert "|dtype:float32|" in exact
    assert "|dtype:bfloat16|" in rough
    assert exact.replace("float32", "bfloat16").replace("preset:reference", "preset:reference-bf16") == rough
    assert "|dtype:bfloat16+float32|" in load_preset("reference", {"segmenter.dtype": "bfloat16"}).signature()


def test_text_similarity_needs_a_text_tower() -> None:
    with pytest.raises(ValueError, match="`relation_similarity` is 'text', but the encoder 'dino' embeds no text"):
        load_preset("reference", {"encoder.kind": "dino"})
