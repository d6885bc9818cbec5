"""Golden masks of the released code, agreement with the stock generator, and what must not change a result."""

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from segment_anything import sam_model_registry
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import torchmetrics_sess.segmenters.sam as sam_module
from benchmarks.shared import segmentation_oracle
from benchmarks.shared.segmentation_oracle import iou, tiny_sam
from torchmetrics_sess.config import describe, from_mapping
from torchmetrics_sess.segmenters._pillow import resize_bilinear
from torchmetrics_sess.segmenters.sam import SamSegmenter, SamSegmenterConfig
from torchmetrics_sess.stages import Segmentation

GOLDEN = np.load(Path(__file__).parents[1] / "data" / "pipeline_dev.npz")
CASES = [f"{case}/{side}" for case in range(8) for side in "ab"]
POINTS, PRED_IOU, STABILITY, NMS = GOLDEN["amg"].tolist()
GOLDEN_SETTINGS: dict[str, Any] = {
    "points_per_side": int(POINTS),
    "pred_iou_thresh": PRED_IOU,
    "stability_score_thresh": STABILITY,
    "box_nms_thresh": NMS,
}
QUICK = GOLDEN_SETTINGS | {"points_per_side": 6}
EVERYTHING: dict[str, Any] = {
    "pred_iou_thresh": 0.0,
    "stability_score_thresh": 0.0,
    "box_nms_thresh": 1.0,
    "duplicate_iou_thresh": 1.0,
}


@pytest.fixture(scope="module")
def sam() -> Sam:
    return tiny_sam()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors are quicker without waiting for other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def photograph(case: str, width: int | None = None, height: int | None = None) -> np.ndarray:
    image = PillowImage.fromarray(GOLDEN[f"{case}/image"])
    return np.array(image.resize((width or image.width, height or image.height)))


def as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


ODD_IMAGES: dict[str, Callable[[], np.ndarray]] = {
    "photograph": lambda: photograph("1/a"),
    "shrunk by the network": lambda: photograph("5/a", 400, 300),
    "upright": lambda: photograph("2/a", 120, 220),
    "black": lambda: np.zeros((50, 70, 3), dtype=np.uint8),
    "noise": lambda: noise(60, 40),
    "one row": lambda: noise(1, 90),
    "one column": lambda: noise(300, 1),
    "one pixel": lambda: noise(1, 1),
}


def predicted_ious(sam: Sam, image: np.ndarray, points_per_side: int) -> Tensor:
    """Return what the network thinks of the masks of all prompts."""
    predicted = []
    with sam.mask_decoder.register_forward_hook(lambda *call: predicted.append(call[-1][1])):
        segmentation_oracle.segment(sam, image, points_per_side=points_per_side, pred_iou_thresh=1e6)
    return torch.cat(predicted).flatten()


def assert_equals_stock(got: Segmentation, expected: segmentation_oracle.StockResult) -> None:
    assert got.tokens is not None
    masks = got.masks[0].numpy()
    assert len(masks) == len(expected.masks)
    assert all(iou(a, b) >= 0.999 for a, b in zip(masks, expected.masks, strict=True))
    torch.testing.assert_close(got.tokens[0], expected.tokens, atol=1e-5, rtol=0)


def assert_same(got: list[Segmentation], expected: list[Segmentation]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert a.masks.shape == b.masks.shape
        assert a.tokens is not None
        assert b.tokens is not None
        assert all(iou(x, y) >= 0.999 for x, y in zip(a.masks[0].numpy(), b.masks[0].numpy(), strict=True))
        torch.testing.assert_close(a.tokens, b.tokens, atol=1e-5, rtol=0)


def test_golden_masks_in_one_call(sam: Sam) -> None:
    got = SamSegmenter(sam, **GOLDEN_SETTINGS)([as_tensor(photograph(case)) for case in CASES])
    assert len(got) == len(CASES)
    for case, segmentation in zip(CASES, got, strict=True):
        width = GOLDEN[f"{case}/image"].shape[1]
        expected = np.unpackbits(GOLDEN[f"{case}/masks"], axis=-1).astype(bool)[..., :width]
        assert segmentation.masks.shape == (1, *expected.shape)
        assert segmentation.valid.all()
        assert all(iou(a, b) >= 0.999 for a, b in zip(segmentation.masks[0].numpy(), expected, strict=True))


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_equals_the_stock_generator(sam: Sam, name: str) -> None:
    image = ODD_IMAGES[name]()
    expected = segmentation_oracle.segment(sam, image, **QUICK)
    assert len(expected.masks) > 0
    assert_equals_stock(SamSegmenter(sam, **QUICK)([as_tensor(image)])[0], expected)


def test_equals_the_stock_generator_with_a_decoder_of_true_size() -> None:
    torch.manual_seed(0)
    sam = segmentation_oracle.diversify(
        Sam(
            ImageEncoderViT(img_size=256, embed_dim=32, depth=1, num_heads=2, out_chans=256, global_attn_indexes=(0,)),
            PromptEncoder(embed_dim=256, image_embedding_size=(16, 16), input_image_size=(256, 256), mask_in_chans=16),
            MaskDecoder(transformer_dim=256, transformer=TwoWayTransformer(2, 256, num_heads=8, mlp_dim=2048)),
        ),
        gain=2.5,
    )
    image = photograph("5/b")
    chosen = QUICK | {"points_per_side": 8, "stability_score_thresh": 0.1, "box_nms_thresh": 1.0}
    chosen["pred_iou_thresh"] = float(predicted_ious(sam, image, points_per_side=8).quantile(0.6))
    expected = segmentation_oracle.segment(sam, image, **chosen)
    assert 30 <= len(expected.masks) <= 100
    assert expected.generated > len(expected.masks)
    assert_equals_stock(SamSegmenter(sam, **chosen)([as_tensor(image)])[0], expected)


def test_neither_batch_sizes_nor_batch_mates_nor_their_order_matter(sam: Sam) -> None:
    images = [as_tensor(make()) for make in ODD_IMAGES.values()]
    segmenter = SamSegmenter(sam, **QUICK)
    alone = [segmenter([image])[0] for image in images]
    assert_same(segmenter(images), alone)
    order = [3, 7, 0, 2, 6, 1, 5, 4]
    other = SamSegmenter(sam, **QUICK, points_per_batch=7, images_per_batch=3)
    assert_same(other([images[i] for i in order]), [alone[i] for i in order])


def test_largest_first_and_no_duplicates(sam: Sam) -> None:
    (segmentation,) = SamSegmenter(sam, **QUICK)([as_tensor(photograph("1/a"))])
    masks = segmentation.masks[0].numpy()
    areas = masks.sum(axis=(1, 2))
    assert len(masks) > 1
    assert (areas[:-1] >= areas[1:]).all()
    assert max(iou(a, b) for i, a in enumerate(masks) for b in masks[:i]) <= 0.8


def test_an_image_without_masks_is_one_object(sam: Sam) -> None:
    images = [as_tensor(photograph("0/a")), as_tensor(noise(5, 1))]
    nothing: list[dict[str, Any]] = [{"pred_iou_thresh": 1e6}, {"pred_iou_thresh": 0.0, "stability_score_thresh": 2.0}]
    for chosen in nothing:
        for image, segmentation in zip(images, SamSegmenter(sam, points_per_side=3, **chosen)(images), strict=True):
            assert segmentation.masks.shape == (1, 1, *image.shape[1:])
            assert segmentation.masks.all()
            assert segmentation.valid.tolist() == [[True]]
            assert segmentation.tokens is not None
            assert torch.equal(segmentation.tokens, torch.zeros(1, 1, 64))


def test_one_mask_only(sam: Sam) -> None:
    image = photograph("0/a")
    best = predicted_ious(sam, image, points_per_side=6).topk(2).values
    chosen = QUICK | {"pred_iou_thresh": float(best.mean())}
    expected = segmentation_oracle.segment(sam, image, **chosen)
    assert len(expected.masks) == 1
    assert_equals_stock(SamSegmenter(sam, **chosen)([as_tensor(image)])[0], expected)


def test_more_masks_than_may_stay(sam: Sam) -> None:
    image = photograph("2/a", 40, 30)
    chosen = EVERYTHING | {"points_per_side": 14}
    expected = segmentation_oracle.segment(sam, image, **chosen)
    assert expected.generated == 588
    (segmentation,) = SamSegmenter(sam, **chosen)([as_tensor(image)])
    masks = segmentation.masks[0].numpy()
    assert len(masks) == len(expected.masks) == 512
    # Masks of few pixels are among them, of which one that falls to the other side of the threshold is a large share.
    assert all((a ^ b).sum() <= 1 for a, b in zip(masks, expected.masks, strict=True))


def test_nothing_around_a_call_matters(sam: Sam) -> None:
    segmenter = SamSegmenter(sam, **QUICK)
    images = [as_tensor(photograph("3/a")), as_tensor(noise(20, 30))]
    expected = segmenter(images)
    segmenter.train()
    assert not sam.training
    sam.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = segmenter(images)
    with torch.inference_mode():
        under_inference = segmenter([image.clone() for image in images])
    with torch.enable_grad():
        under_grad = segmenter([image.clone().requires_grad_() for image in images])
    for got in (under_autocast, under_inference, under_grad):
        for a, b in zip(got, expected, strict=True):
            assert a.tokens is not None
            assert b.tokens is not None
            assert torch.equal(a.masks, b.masks)
            assert torch.equal(a.tokens, b.tokens)
            assert a.tokens.dtype == torch.float32
            assert not a.tokens.requires_grad
    assert not any(parameter.requires_grad for parameter in segmenter.parameters())


def test_bfloat16_finds_about_the_same(sam: Sam) -> None:
    images = [as_tensor(photograph(case)) for case in ("0/a", "3/a")]
    exact = SamSegmenter(sam, **QUICK)(images)
    rough = SamSegmenter(sam, **QUICK, dtype=torch.bfloat16)(images)
    for a, b in zip(exact, rough, strict=True):
        assert a.tokens is not None
        assert b.tokens is not None
        assert b.tokens.dtype == torch.float32
        assert not torch.equal(a.tokens[0, :1], b.tokens[0, :1])
        for mask in a.masks[0].numpy()[:3]:
            assert max(iou(mask, other) for other in b.masks[0].numpy()) > 0.9


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor):
                self.nbytes = max(self.nbytes, tensor.nbytes)
        return result


def test_memory_does_not_grow_with_the_number_of_candidates(sam: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_module, "_COUNTED_AT_ONCE", 2**20)
    image = photograph("0/a")
    largest = []
    for points_per_side in (4, 12):
        segmenter = SamSegmenter(sam, points_per_side=points_per_side, points_per_batch=16, max_masks=8, **EVERYTHING)
        mode = LargestTensor()
        with mode:
            segmenter([as_tensor(image)])
        largest.append(mode.nbytes)
    assert largest[0] == largest[1]
    assert largest[1] < 3 * 12**2 * image[..., 0].size


@settings(derandomize=True, deadline=None, max_examples=40)
@given(height=st.integers(1, 90), width=st.integers(1, 90), longest=st.sampled_from([16, 64, 100]))
def test_resize_equals_pillow(height: int, width: int, longest: int) -> None:
    scale = longest / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    pixels = noise(height, width)
    expected = np.array(PillowImage.fromarray(pixels).resize(size[::-1], PillowImage.Resampling.BILINEAR))
    got = resize_bilinear(torch.from_numpy(pixels).permute(2, 0, 1), size)
    assert np.array_equal(got.permute(1, 2, 0).numpy(), expected)


@pytest.mark.parametrize(
    "image",
    [torch.rand(3, 4), torch.rand(1, 4, 4), torch.rand(3, 0, 4), torch.ones(3, 4, 4, dtype=torch.uint8)],
    ids=["no channels", "grey", "empty", "bytes"],
)
def test_refuses_what_is_no_image(image: Tensor) -> None:
    # The type checker that tests run under stops such images before; users run without it.
    with pytest.raises(ValueError, match=r"`images\[1\]` must be float32 \[3, h, w\], got"):
        sam_module._check_images([torch.rand(3, 2, 2), image])


def test_no_image_is_no_segmentation(sam: Sam) -> None:
    assert SamSegmenter(sam)([]) == []


@pytest.mark.parametrize("name", ["points_per_side", "max_masks", "points_per_batch", "images_per_batch"])
def test_counts_are_positive(sam: Sam, name: str) -> None:
    none: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        SamSegmenter(sam, **none)


def test_refuses_other_precisions(sam: Sam) -> None:
    with pytest.raises(ValueError, match=r"`dtype` must be torch.float32 or torch.bfloat16, got torch.float16"):
        SamSegmenter(sam, dtype=torch.float16)


def test_every_setting_that_changes_masks_shows_in_the_signature() -> None:
    assert describe(SamSegmenterConfig()) == "sam_vit_h,grid32,iou0.88,stable0.95,offset1,nms0.7,dup0.8,max512,float32"
    cheaper = from_mapping(SamSegmenterConfig, {"points_per_batch": 8, "images_per_batch": 1}, where="segmenter")
    assert describe(cheaper) == describe(SamSegmenterConfig())
    with pytest.raises(
        ValueError, match=r"`segmenter.checkpoint` must be one of 'sam_vit_h', 'sam_vit_l', 'sam_vit_b'"
    ):
        from_mapping(SamSegmenterConfig, {"checkpoint": "sam_vit_x"}, where="segmenter")


class TestFromCheckpoint:
    config = SamSegmenterConfig(checkpoint="sam_vit_b", **QUICK)

    @pytest.fixture(autouse=True)
    def tiny_architecture(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sam_model_registry, "vit_b", segmentation_oracle.tiny_architecture)

    @pytest.mark.parametrize("zipped", [True, False])
    def test_equals_the_model_handed_in(self, sam: Sam, tmp_path: Path, zipped: bool) -> None:
        path = tmp_path / "sam.pth"
        torch.save(sam.state_dict(), path, _use_new_zipfile_serialization=zipped)
        images = [as_tensor(photograph("6/a"))]
        got = SamSegmenter.from_checkpoint(path, self.config)
        assert got.config == self.config
        assert not got.sam.training
        assert_same(got(images), SamSegmenter(sam, **QUICK)(images))

    def test_refuses_another_network(self, tmp_path: Path) -> None:
        path = tmp_path / "other.pth"
        torch.save({"weight": torch.ones(1)}, path)
        with pytest.raises(ValueError, match=r"(?s)other\.pth is not a checkpoint of sam_vit_b: .*Missing key"):
            SamSegmenter.from_checkpoint(path, self.config)

    def test_never_runs_code_of_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "code.pth"
        path.write_bytes(pickle.dumps(Path, protocol=2))
        with pytest.raises(ValueError, match=r"code\.pth is not a file of plain tensors"):
            SamSegmenter.from_checkpoint(path, self.config)

    def test_a_missing_file_is_said_to_be_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
            SamSegmenter.from_checkpoint(tmp_path / "nowhere.pth", self.config)
