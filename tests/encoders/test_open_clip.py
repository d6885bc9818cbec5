import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from stub_extractor import ColourEncoder, stub_extractor
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from torchmetrics_sess.config import from_mapping
from torchmetrics_sess.encoders.open_clip import OpenClipEncoder, OpenClipEncoderConfig
from torchmetrics_sess.extractor import SceneGraphExtractor
from torchmetrics_sess.geometry import crisp_masks
from torchmetrics_sess.presets import TextTowerConfig, load_preset
from torchmetrics_sess.stages import Segmentation
from torchmetrics_sess.weights import CorruptWeightError, MissingWeightError

Golden: TypeAlias = dict[str, np.ndarray]

DATA = Path(__file__).parents[1] / "data"
VISION = {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 32}
TEXT = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=32, vision_cfg=VISION, text_cfg=TEXT)
    visual = torch.load(DATA / "tiny_clip_visual.pth", weights_only=True)
    missing, unexpected = model.load_state_dict(visual, strict=False)
    assert not unexpected
    assert not [name for name in missing if name.startswith("visual.")]
    return model.eval()


@pytest.fixture(scope="module")
def preprocess() -> Any:
    return open_clip.image_transform(64, is_train=False)


@pytest.fixture(scope="module")
def encoder(model: Any, preprocess: Any) -> OpenClipEncoder:
    return OpenClipEncoder(model, preprocess)


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(DATA / "pipeline_dev.npz") as arrays:
        return dict(arrays)


def to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def segment(*images: Tensor) -> Segmentation:
    """Pad the masks of images of one size to a common number."""
    masks = pad_sequence(list(images), batch_first=True)
    return Segmentation(masks, masks.any(-1).any(-1))


def rectangles(count: int, height: int, width: int, seed: int) -> Tensor:
    """Return masks whose boxes are of any shape, with a pixel, a row and a column among them."""
    generator = np.random.default_rng(seed)
    masks = torch.zeros(count, height, width, dtype=torch.bool)
    for index, mask in enumerate(masks):
        y0, y1 = sorted(generator.choice(height + 1, 2, replace=False))
        x0, x1 = sorted(generator.choice(width + 1, 2, replace=False))
        if index in (0, 1):
            y1 = y0 + 1
        if index in (0, 2):
            x1 = x0 + 1
        mask[y0:y1, x0:x1] = True
    return masks


def test_golden_features_one_image_at_a_time_and_batched(encoder: OpenClipEncoder, golden: Golden) -> None:
    names = [f"{case}/{side}" for case in range(8) for side in "ab"]
    images = [to_tensor(golden[f"{name}/image"]) for name in names]
    masks = [torch.from_numpy(np.unpackbits(golden[f"{name}/masks"], axis=-1, count=208)).bool() for name in names]
    segmentations = [segment(each) for each in masks]
    # Cases of one size share a segmentation.
    groups = [segment(*masks[:10]), segment(*masks[10:14]), segment(*masks[14:])]
    together = [
        (features, image_feature)
        for embeddings in encoder(images, groups)
        for features, image_feature in zip(embeddings.features, embeddings.image_features, strict=True)
    ]
    for image, segmentation, batched, name in zip(images, segmentations, together, names, strict=True):
        (alone,) = encoder([image], [segmentation])
        for features, image_feature in (batched, (alone.features[0], alone.image_features[0])):
            expected = golden[f"{name}/features"]
            np.testing.assert_allclose(features[: len(expected)], expected, rtol=0, atol=1e-3)
            np.testing.assert_allclose(image_feature, golden[f"{name}/image_feature"][0], rtol=0, atol=1e-3)


def test_features_equal_those_of_the_pil_transform(
    encoder: OpenClipEncoder, model: Any, preprocess: Any, golden: Golden
) -> None:
    photograph = golden["4/a/image"]
    masks = rectangles(60, 208, 208, seed=0)
    (embeddings,) = encoder([to_tensor(photograph)], [segment(masks)])
    crops = [photograph[mask.any(1).numpy()][:, mask.any(0).numpy()] for mask in masks]
    with torch.no_grad():
        pixels = torch.stack([preprocess(Image.fromarray(crop)) for crop in (*crops, photograph)])
        expected = model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(embeddings.features[0], expected[:-1], rtol=0, atol=1e-3)
    torch.testing.assert_close(embeddings.image_features, expected[-1:], rtol=0, atol=1e-3)


@pytest.mark.parametrize("crops_per_batch", [1, 4, 7, 100])
def test_batches_and_chunks_change_nothing(model: Any, preprocess: Any, golden: Golden, crops_per_batch: int) -> None:
    encoder = OpenClipEncoder(model, preprocess, crops_per_batch=crops_per_batch)
    shapes = [(90, 120), (90, 120), (61, 40)]
    photograph = to_tensor(golden["5/a/image"])
    images = [photograph[:, 20 * i : 20 * i + h, 40 * i : 40 * i + w] for i, (h, w) in enumerate(shapes)]
    masks = [rectangles(3 + 2 * i, h, w, seed=i) for i, (h, w) in enumerate(shapes)]
    batches = encoder(images, [segment(*masks[:2]), segment(masks[2])])
    features = [batches[0].features[0], batches[0].features[1], batches[1].features[0]]
    image_features = torch.cat([batch.image_features for batch in batches])
    for index, (image, each) in enumerate(zip(images, masks, strict=True)):
        (alone,) = OpenClipEncoder(model, preprocess)([image], [segment(each)])
        torch.testing.assert_close(features[index][: len(each)], alone.features[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(image_features[index], alone.image_features[0], rtol=0, atol=1e-5)


def test_features_are_unit_norm_and_zero_where_there_is_no_object(encoder: OpenClipEncoder) -> None:
    masks = rectangles(5, 30, 50, seed=3)
    valid = torch.tensor([[True, False, True, True, False]])
    (embeddings,) = encoder([torch.rand(3, 30, 50)], [Segmentation(masks[None], valid)])
    assert embeddings.features.dtype == torch.float32
    torch.testing.assert_close(embeddings.features.norm(dim=-1), valid.float())
    torch.testing.assert_close(embeddings.image_features.norm(dim=-1), torch.ones(1))


def test_training_mode_autocast_and_gradients_change_nothing(encoder: OpenClipEncoder, golden: Golden) -> None:
    image = to_tensor(golden["7/a/image"]).requires_grad_()
    segmentation = segment(rectangles(4, 138, 208, seed=1))
    (expected,) = encoder([image], [segmentation])
    assert not expected.features.requires_grad
    assert encoder.train() is encoder
    assert not any(module.training for module in encoder.modules())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (inside,) = encoder([image], [segmentation])
    assert torch.equal(inside.features, expected.features)


def test_bfloat16_is_a_choice(encoder: OpenClipEncoder, model: Any, preprocess: Any, golden: Golden) -> None:
    image, segmentation = to_tensor(golden["7/a/image"]), segment(rectangles(4, 138, 208, seed=1))
    (exact,) = encoder([image], [segmentation])
    (coarse,) = OpenClipEncoder(model, preprocess, dtype=torch.bfloat16)([image], [segmentation])
    assert coarse.features.dtype == torch.float32
    assert not torch.equal(exact.features, coarse.features)
    assert (exact.features * coarse.features).sum(-1).min() > 0.999


def test_soft_masks_count_as_the_crisp_ones_they_imply(encoder: OpenClipEncoder, golden: Golden) -> None:
    photograph = to_tensor(golden["5/a/image"])
    images = [photograph, photograph[:, :90, :70]]
    memberships = torch.rand(2, 4, 12, 12, generator=torch.Generator().manual_seed(0)).softmax(1)
    valid = torch.tensor([[True, True, True, True], [True, False, True, False]])
    (soft,) = encoder(images, [Segmentation(memberships, valid)])
    crisp = [crisp_masks(each, *image.shape[1:]) for each, image in zip(memberships, images, strict=True)]
    for index, each in enumerate(
        encoder(images, [Segmentation(m[None], v[None]) for m, v in zip(crisp, valid, strict=True)])
    ):
        assert torch.equal(soft.features[index], each.features[0])
        assert torch.equal(soft.image_features[index], each.image_features[0])


def test_no_images(encoder: OpenClipEncoder) -> None:
    assert encoder([], []) == []


@pytest.mark.parametrize("images", [[], [torch.zeros(3, 20, 31)], [torch.zeros(3, 20, 30)] * 2])
def test_segmentations_must_be_those_of_the_images(encoder: OpenClipEncoder, images: list[Tensor]) -> None:
    with pytest.raises(ValueError, match=r"`segmentations` must be of the images given.*got sizes \[\[20, 30\]\]"):
        encoder(images, [segment(torch.ones(1, 20, 30, dtype=torch.bool))])


def test_batches_must_hold_something(model: Any, preprocess: Any) -> None:
    with pytest.raises(ValueError, match="`crops_per_batch` must be at least 1, got 0"):
        OpenClipEncoder(model, preprocess, crops_per_batch=0)


def test_text_is_embedded_by_the_text_tower(model: Any, preprocess: Any) -> None:
    tokenizer = open_clip.SimpleTokenizer(context_length=16)
    prompts = ("over", "in front of", "over")
    features = OpenClipEncoder(model, preprocess, tokenizer=tokenizer).encode_text(prompts)
    with torch.no_grad():
        expected = model.encode_text(tokenizer(list(prompts)), normalize=True)
    torch.testing.assert_close(features, expected)
    assert torch.equal(features[0], features[2])
    assert not torch.allclose(features[0], features[1])


def test_text_needs_a_tokenizer(encoder: OpenClipEncoder) -> None:
    with pytest.raises(ValueError, match="`tokenizer` is needed"):
        encoder.encode_text(["over"])


def test_pretrained_weights_come_with_their_preprocessing_and_tokenizer(model: Any, tmp_path: Path) -> None:
    config = {"embed_dim": 32, "vision_cfg": VISION, "text_cfg": TEXT}
    (tmp_path / "tiny-sess-test.json").write_text(json.dumps(config))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    open_clip.add_model_config(tmp_path)
    loaded = OpenClipEncoder.from_pretrained("tiny-sess-test", str(tmp_path / "weights.pt"), crops_per_batch=3)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert all(torch.equal(loaded.model.state_dict()[name], value) for name, value in model.state_dict().items())
    assert (loaded.transform.size, loaded.crops_per_batch) == ((64, 64), 3)
    assert loaded.encode_text(["riding"]).shape == (1, 32)


def test_random_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="`pretrained` must name weights"):
        OpenClipEncoder.from_pretrained("ViT-B-32", "")


def test_offline_only_local_files_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_OFFLINE", "1")
    with pytest.raises(MissingWeightError, match="SESS_OFFLINE=1 forbids open_clip to look for the weights 'openai'"):
        OpenClipEncoder.from_pretrained("ViT-B-32", "openai")


@pytest.mark.parametrize(("setting", "value"), [("pretrained", ""), ("crops_per_batch", 0)])
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{setting}` must"):
        from_mapping(OpenClipEncoderConfig, {setting: value}, where="encoder")


def test_settings_of_other_weights_name_no_file() -> None:
    config = OpenClipEncoderConfig(model="ViT-B-16", pretrained="openai")
    assert config.weights() == config.digests() == []
    assert config.text_tower() == "ViT-B-16-openai"


def test_a_local_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"first")
    values = {"encoder.pretrained": str(path), "relation_similarity": "minilm"}
    first, same = load_preset("sam-b", values), load_preset("sam-b", values)
    assert first == same
    assert hashlib.sha256(b"first").hexdigest()[:8] in first.signature()
    path.write_bytes(b"second")
    second = load_preset("sam-b", values)
    # What networks, scene graphs in a folder, scores and tables of predicates go by.
    assert second.networks_alone() != first.networks_alone()
    assert second.extraction_signature() != first.extraction_signature()
    assert second.signature() != first.signature() == same.signature()
    towers = [preset.encoder.text_tower() for preset in (first, second) if isinstance(preset.encoder, TextTowerConfig)]
    assert len(set(towers)) == 2
    with pytest.raises(CorruptWeightError, match="has changed since this preset was loaded"):
        first.encoder.build(torch.device("cpu"))
    path.unlink()
    with pytest.raises(MissingWeightError, match="are not there any more"):
        second.encoder.build(torch.device("cpu"))


def test_tables_of_predicates_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESS_HOME", str(tmp_path / "home"))
    paths = [tmp_path / "run" / "1.pt", tmp_path / "run_1.pt"]
    paths[0].parent.mkdir()
    stub = stub_extractor()
    tables = []
    for seed, path in enumerate(paths):
        path.write_bytes(b"weights")
        preset = load_preset("sam-b", {"encoder.pretrained": str(path), "relation_similarity": "text"})
        encoder = Prompts(torch.Generator().manual_seed(seed))
        tables.append(preset.predicate_similarity(SceneGraphExtractor(stub.segmenter, stub.relation_model, encoder)))
    assert not torch.equal(*tables)


class Prompts(ColourEncoder):
    """Embeds text at random."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(len(prompts), 8, generator=self.generator), dim=-1)
