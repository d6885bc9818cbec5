"""The resize that SAM's input goes through, against Pillow pass by pass."""

import numpy as np
import pytest
import torch
from PIL import Image

from torchmetrics_sess.segmenters._pillow import resize_bilinear


@pytest.mark.parametrize(
    ("height", "width", "size", "columns_first"),
    [
        (300, 120, (256, 102), True),
        (120, 300, (102, 256), False),
        (60, 40, (256, 171), False),
        (31, 90, (17, 45), False),
    ],
)
def test_both_passes_are_pillows_in_the_stated_order(
    height: int, width: int, size: tuple[int, int], columns_first: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    between = (width, size[0]) if columns_first else (size[1], height)
    # One axis at a time, Pillow has no order of passes to choose, whatever its version.
    expected = Image.fromarray(pixels)
    for target in (between, (size[1], size[0])):
        expected = expected.resize(target, Image.Resampling.BILINEAR)
    got = resize_bilinear(torch.from_numpy(pixels).permute(2, 0, 1), size)
    np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), np.asarray(expected))
