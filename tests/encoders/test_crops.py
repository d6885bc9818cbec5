from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from torchmetrics_sess.encoders.crops import CropTransform, bounding_boxes

with np.load(Path(__file__).parents[1] / "data" / "pipeline_dev.npz") as arrays:
    PHOTOGRAPH = arrays["4/a/image"]
BOXES = [
    (0, 0, 208, 208),
    (5, 7, 6, 8),
    (100, 0, 101, 208),
    (0, 33, 208, 34),
    (150, 20, 153, 120),
    (30, 100, 94, 164),
    (40, 60, 131, 151),
    (10, 130, 190, 204),
    (8, 100, 207, 140),
]
MEAN, STD = (0.5, 0.4, 0.3), (0.3, 0.2, 0.1)
NORMALIZE = transforms.Normalize(MEAN, STD)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1) / 255


def levels(crops: torch.Tensor, transform: CropTransform) -> torch.Tensor:
    """Undo the normalisation: pixels from 0 to 255."""
    return (crops * torch.tensor(transform.std)[:, None, None] + torch.tensor(transform.mean)[:, None, None]) * 255


def resize_rows_first(image: np.ndarray, height: int, width: int, resample: Image.Resampling) -> np.ndarray:
    """Let PIL resize in the order that it had before release 13."""
    return np.asarray(
        Image.fromarray(image).resize((width, image.shape[0]), resample).resize((width, height), resample)
    )


def check_against_pil(box: Sequence[int], size: int, interpolation: str) -> None:
    """Compare with the released order of passes, to one of 256 levels in few pixels."""
    top, left, bottom, right = box
    crop = PHOTOGRAPH[top:bottom, left:right]
    mode = InterpolationMode(interpolation)
    transform = CropTransform.from_torchvision(
        transforms.Compose([transforms.Resize(size, mode), transforms.CenterCrop(size), NORMALIZE])
    )
    short = min(crop.shape[:2])
    height, width = (int(size * side / short) for side in crop.shape[:2])
    resample = Image.Resampling.BICUBIC if interpolation == "bicubic" else Image.Resampling.BILINEAR
    resized = resize_rows_first(crop, height, width, resample)
    y, x = round((height - size) / 2), round((width - size) / 2)
    expected = to_tensor(resized[y : y + size, x : x + size].copy()) * 255

    (got,) = levels(transform(to_tensor(PHOTOGRAPH), torch.tensor([box])), transform)
    off = (got - expected).abs().round()
    assert off.max() <= 1
    assert off.count_nonzero() <= 0.01 * off.numel() + 2


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("box", BOXES)
def test_chosen_boxes_equal_pil(box: tuple[int, int, int, int], interpolation: str) -> None:
    check_against_pil(box, 64, interpolation)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(0, 208), min_size=2, max_size=2, unique=True).map(sorted),
    columns=st.lists(st.integers(0, 208), min_size=2, max_size=2, unique=True).map(sorted),
    size=st.integers(1, 70),
)
def test_any_box_equals_pil(rows: list[int], columns: list[int], size: int) -> None:
    check_against_pil((rows[0], columns[0], rows[1], columns[1]), size, "bicubic")


def test_crops_do_not_depend_on_each_other() -> None:
    transform = CropTransform.from_torchvision(open_clip.image_transform(32, is_train=False))
    image = to_tensor(PHOTOGRAPH)
    together = transform(image, torch.tensor(BOXES))
    alone = torch.cat([transform(image, torch.tensor([box])) for box in BOXES])
    # One level of 256 at most, where a sum in another order rounds to the other side.
    assert (together - alone).abs().max() <= 1.01 / 255 / min(transform.std)
    assert ((together - alone).abs() > 1e-6).float().mean() < 1e-3


def test_autocast_changes_nothing() -> None:
    transform = CropTransform.from_torchvision(open_clip.image_transform(32, is_train=False))
    image, boxes = to_tensor(PHOTOGRAPH), torch.tensor(BOXES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = transform(image, boxes)
    assert torch.equal(inside, transform(image, boxes))


@pytest.mark.parametrize("size", [32, (24, 40)])
def test_squashing_transforms_are_read(size: int | tuple[int, int]) -> None:
    preprocess = open_clip.image_transform(size, is_train=False, resize_mode="squash", mean=MEAN, std=STD)
    transform = CropTransform.from_torchvision(preprocess)
    assert (transform.mean, transform.std) == (MEAN, STD)
    expected = torch.stack([preprocess(Image.fromarray(PHOTOGRAPH[y0:y1, x0:x1])) for y0, x0, y1, x1 in BOXES])
    got = transform(to_tensor(PHOTOGRAPH), torch.tensor(BOXES))
    off = (levels(got, transform) - levels(expected, transform)).abs()
    assert off.mean() < 0.1


def test_a_centre_crop_may_be_smaller_than_the_resize() -> None:
    preprocess = transforms.Compose(
        [transforms.Resize(50, InterpolationMode.BILINEAR), transforms.CenterCrop(31), transforms.ToTensor(), NORMALIZE]
    )
    transform = CropTransform.from_torchvision(preprocess)
    got = transform(to_tensor(PHOTOGRAPH), torch.tensor(BOXES[:1]))
    expected = preprocess(Image.fromarray(PHOTOGRAPH))
    assert (levels(got[0], transform) - levels(expected, transform)).abs().max() < 1.01


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (open_clip.image_transform(32, is_train=False, resize_mode="longest"), "ResizeKeepRatio"),
        (open_clip.image_transform(32, is_train=True), "RandomResizedCrop"),
        (transforms.Compose([transforms.Resize(32), transforms.ToTensor(), NORMALIZE]), "one size whatever"),
        (transforms.Compose([transforms.Resize(32, max_size=40), transforms.CenterCrop(32), NORMALIZE]), "one size"),
        (transforms.Compose([transforms.Resize(32), transforms.CenterCrop(33), NORMALIZE]), r"`size` \(33, 33\)"),
        (
            transforms.Compose([transforms.Resize((32, 32), InterpolationMode.LANCZOS), NORMALIZE]),
            r"`interpolation` must be one of \['bicubic', 'bilinear'\], got 'lanczos'",
        ),
        (len, "`preprocess` must be a Compose"),
    ],
)
def test_other_transforms_are_refused_by_name(preprocess: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CropTransform.from_torchvision(preprocess)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**16), height=st.integers(1, 9), width=st.integers(1, 9))
def test_boxes_are_the_extremes_of_the_pixels(seed: int, height: int, width: int) -> None:
    masks = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(seed)) < 0.2
    boxes = bounding_boxes(masks)
    for mask, box in zip(masks.flatten(0, 1), boxes.flatten(0, 1), strict=True):
        pixels = mask.nonzero()
        if len(pixels):
            assert box.tolist() == [*pixels.amin(0).tolist(), *(pixels.amax(0) + 1).tolist()]
        else:
            assert box.tolist() == [0, 0, height, width]
