from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchmetrics_sess.images import check_images, check_pair, float_images, prepare_images

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let wrong arguments reach the function, as they do outside the tests."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def ramp(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return torch.linspace(low, high, torch.Size(shape).numel()).view(shape)


class TestAccepted:
    @pytest.mark.parametrize("dtype", FLOATING)
    def test_floating_point(self, dtype: torch.dtype) -> None:
        images = ramp(2, 3, 4, 5).to(dtype)
        prepared = prepare_images(images, "preds")
        assert [tuple(image.shape) for image in prepared] == [(3, 4, 5)] * 2
        assert all(image.dtype == torch.float32 for image in prepared)
        assert torch.equal(torch.stack(prepared), images.float())

    @pytest.mark.parametrize("data_range", [(0.0, 1.0), (-1.0, 1.0)])
    def test_uint8_whatever_the_data_range(self, data_range: tuple[float, float]) -> None:
        images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
        [image] = prepare_images(images, "preds", data_range)
        torch.testing.assert_close(image[0].flatten(), torch.arange(256) / 255, rtol=0, atol=0)

    @given(low=st.floats(-300, 300), span=st.floats(0.01, 600), dtype=st.sampled_from([torch.float32, torch.float64]))
    @settings(derandomize=True, max_examples=40, deadline=None)
    def test_any_data_range(self, low: float, span: float, dtype: torch.dtype) -> None:
        unit = ramp(2, 3, 4, 4).double()
        images = (low + unit * span).to(dtype)
        prepared = torch.stack(prepare_images(images, "preds", (low, low + span)))
        assert prepared.min() >= 0
        assert prepared.max() <= 1
        # What float32 resolves at this offset is lost already in the input.
        torch.testing.assert_close(prepared, unit.float(), rtol=0, atol=1e-6 + 3e-7 * abs(low) / span)

    def test_list_of_different_sizes_dtypes_and_channels(self) -> None:
        images = [ramp(3, 4, 5), (ramp(1, 6, 7) * 255).to(torch.uint8), ramp(8, 9).half()]
        prepared = prepare_images(images, "preds")
        assert [tuple(image.shape) for image in prepared] == [(3, 4, 5), (3, 6, 7), (3, 8, 9)]
        assert all(image.dtype == torch.float32 for image in prepared)
        assert torch.equal(prepare_images(tuple(images), "preds")[2], prepared[2])
        assert torch.equal(prepared[2][0], prepared[2][2])

    def test_list_and_tensor_agree(self) -> None:
        images = ramp(3, 3, 4, 5, low=-1.0)
        as_tensor = prepare_images(images, "preds", (-1.0, 1.0))
        as_list = prepare_images(list(images), "preds", (-1.0, 1.0))
        assert all(torch.equal(a, b) for a, b in zip(as_tensor, as_list, strict=True))

    @pytest.mark.parametrize("form", ["tensor", "list"])
    def test_a_slight_overshoot_is_clamped(self, form: str) -> None:
        images = ramp(2, 3, 4, 5, low=-0.0009, high=1.0009)
        prepared = prepare_images(images if form == "tensor" else list(images), "preds")
        assert torch.equal(torch.stack(prepared), images.clamp(0, 1))

    def test_gradients_are_not_followed(self) -> None:
        [image] = prepare_images(ramp(1, 3, 4, 4).requires_grad_(), "preds")
        assert not image.requires_grad

    def test_pairs_may_differ_in_size_not_in_number(self) -> None:
        check_pair([torch.zeros(3, 4, 4)], [torch.zeros(3, 8, 6)])
        with pytest.raises(ValueError, match=r"equally many images.*got 2 and 1"):
            check_pair([torch.zeros(3, 4, 4)] * 2, [torch.zeros(3, 4, 4)])


class TestMemory:
    def test_float32_in_range_is_not_copied(self) -> None:
        images = ramp(2, 3, 4, 5)
        prepared = prepare_images(images, "preds")
        assert [image.data_ptr() for image in prepared] == [image.data_ptr() for image in images]
        assert prepare_images([images[1]], "preds")[0].data_ptr() == images[1].data_ptr()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
    def test_greyscale_is_held_once(self, dtype: torch.dtype) -> None:
        images = (ramp(2, 1, 4, 5) * 255).to(dtype)
        for image in prepare_images(images, "preds", (0.0, 255.0)):
            assert image.stride(0) == 0
            assert torch.equal(image[0], image[1])

    def test_the_input_is_left_alone(self) -> None:
        images = ramp(2, 3, 4, 5, low=-0.0005)
        before = images.clone()
        prepare_images(images, "preds")
        prepare_images(images, "preds", (-0.5, 2.0))
        assert torch.equal(images, before)

    @pytest.mark.parametrize("form", ["tensor", "list"])
    def test_values_are_fetched_once(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        fetched = []
        fetch = Tensor.tolist

        def spy(tensor: Tensor) -> Any:
            fetched.append(tensor.shape)
            return fetch(tensor)

        def refuse(tensor: Tensor) -> None:
            raise AssertionError("one value read out of a tensor waits for the device")

        monkeypatch.setattr(Tensor, "tolist", spy)
        for name in ("item", "__bool__", "__float__", "__int__", "cpu", "numpy"):
            monkeypatch.setattr(Tensor, name, refuse)
        images = ramp(5, 3, 4, 5)
        prepare_images(images if form == "tensor" else list(images), "preds")
        assert fetched == [(2, 5)]


class TestForgiven:
    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize("data_range", [(0.0, 1.0), (-1.0, 1.0)])
    def test_what_is_out_of_range_is_clamped(self, dtype: torch.dtype, data_range: tuple[float, float]) -> None:
        low, high = data_range
        images = ramp(2, 3, 4, 5, low=low - 1.0, high=high + 1.0).to(dtype)
        checked = check_images(images, "preds", data_range, out_of_range="clamp")
        found = float_images([image for image in checked if image is not None], data_range)
        assert torch.equal(torch.stack(found), ((images.float() - low) / (high - low)).clamp(0, 1))

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_is_not_finite_is_left_out(self, value: float) -> None:
        images = ramp(3, 3, 4, 5)
        images[1, 2, 3, 4] = value
        first, second, third = check_images(images, "preds", nan="skip")
        assert second is None
        assert first is not None
        assert third is not None
        assert torch.equal(third, images[2])

    def test_each_is_forgiven_by_itself(self) -> None:
        with pytest.raises(ValueError, match="`preds` must be finite, got infinite values in image 0"):
            check_images([torch.full((3, 2, 2), torch.inf)], "preds", out_of_range="clamp")
        with pytest.raises(ValueError, match="`preds` must lie in `data_range`"):
            check_images([torch.full((3, 2, 2), 2.0)], "preds", nan="skip")


class TestRefused:
    @pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5), (1, 2, 3, 4, 5)])
    def test_tensor_without_batch(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"`preds` must be \[N, 3, H, W\].*got shape \[\d.*image\[None\]"):
            prepare_images(torch.zeros(shape), "preds")

    @pytest.mark.parametrize("shape", [(4,), (1, 3, 4, 5)])
    def test_list_item_that_is_no_image(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"`target\[1\]` must be \[3, H, W\].*got shape \[\d"):
            prepare_images([torch.zeros(3, 4, 5), torch.zeros(shape)], "target")

    @pytest.mark.parametrize("channels", [0, 2, 4])
    def test_channels(self, channels: int) -> None:
        message = r"must have 3 channels \(RGB\) or 1 \(greyscale\), got " + str(channels)
        with pytest.raises(ValueError, match="`preds` " + message):
            prepare_images(torch.zeros(2, channels, 4, 5), "preds")
        with pytest.raises(ValueError, match=r"`preds\[0\]` " + message):
            prepare_images([torch.zeros(channels, 4, 5)], "preds")

    @pytest.mark.parametrize(
        "dtype", [torch.int64, torch.int8, torch.bool, torch.complex64, torch.float8_e4m3fn], ids=str
    )
    def test_dtype(self, dtype: torch.dtype) -> None:
        message = f"must be uint8, float16, bfloat16, float32 or float64, got {dtype}"
        with pytest.raises(TypeError, match="`preds` " + message):
            prepare_images(torch.zeros(2, 3, 4, 5).to(dtype), "preds")
        with pytest.raises(TypeError, match=r"`preds\[1\]` " + message):
            prepare_images([torch.zeros(3, 4, 5), torch.zeros(3, 4, 5).to(dtype)], "preds")

    @pytest.mark.usefixtures("unchecked")
    @pytest.mark.parametrize("images", [np.zeros((1, 3, 4, 5)), "photo.png", None, {}])
    def test_not_tensors(self, images: Any) -> None:
        with pytest.raises(TypeError, match=rf"`preds` must be a tensor.*or a list.*got {type(images).__name__}"):
            prepare_images(images, "preds")

    @pytest.mark.usefixtures("unchecked")
    def test_list_of_other_things(self) -> None:
        images: Any = [torch.zeros(3, 4, 5), np.zeros((3, 4, 5))]
        with pytest.raises(TypeError, match=r"`preds\[1\]` must be a tensor.*got ndarray"):
            prepare_images(images, "preds")

    @pytest.mark.parametrize("images", [torch.zeros(0, 3, 4, 5), []], ids=["tensor", "list"])
    def test_empty_batch(self, images: Any) -> None:
        with pytest.raises(ValueError, match="`preds` must hold at least one image, got an empty batch"):
            prepare_images(images, "preds")

    def test_empty_image(self) -> None:
        with pytest.raises(ValueError, match="`preds` must not be empty, got 0 x 5 pixels"):
            prepare_images(torch.zeros(2, 3, 0, 5), "preds")
        with pytest.raises(ValueError, match=r"`preds\[1\]` must not be empty, got 4 x 0 pixels"):
            prepare_images([torch.zeros(3, 4, 5), torch.zeros(3, 4, 0)], "preds")

    def test_several_devices(self) -> None:
        with pytest.raises(ValueError, match="`preds` must lie on one device, got images on cpu, meta"):
            prepare_images([torch.zeros(3, 4, 5), torch.zeros(3, 4, 5, device="meta")], "preds")

    @pytest.mark.parametrize("dtype", FLOATING)
    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (float("nan"), "must be finite, got NaN in image 2"),
            (float("inf"), "must be finite, got infinite values in image 2"),
            (-float("inf"), "must be finite, got infinite values in image 2"),
            (1.5, r"must lie in `data_range` \[0, 1\], got values from 0 to 1.5 in image 2; .*clamp"),
            (-0.5, r"must lie in `data_range` \[0, 1\], got values from -0.5 to 0 in image 2; .*`data_range`"),
            (255, r"must lie in `data_range` \[0, 1\], got values from 0 to 255 in image 2; .*uint8"),
        ],
    )
    def test_values(self, dtype: torch.dtype, value: float, message: str) -> None:
        images = torch.zeros(4, 3, 4, 5, dtype=dtype)
        images[2, 1, 3, 3] = value
        for form in (images, list(images), [torch.zeros(3, 2, 2, dtype=torch.uint8), *images[1:]]):
            with pytest.raises(ValueError, match="`target` " + message):
                prepare_images(form, "target")

    def test_tolerance_scales_with_the_range(self) -> None:
        images = torch.zeros(1, 3, 4, 5)
        images[0, 0, 0, 0] = 255.2
        prepare_images(images, "preds", (0.0, 255.0))
        images[0, 0, 0, 0] = 255.3
        with pytest.raises(ValueError, match=r"\[0, 255\], got values from 0 to 255.3"):
            prepare_images(images, "preds", (0.0, 255.0))

    @pytest.mark.parametrize("data_range", [(1.0, 0.0), (0.5, 0.5), (0.0, float("inf")), (float("nan"), 1.0)])
    def test_data_range(self, data_range: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match=r"`data_range` must be two finite numbers, the lower first, got \("):
            prepare_images(torch.zeros(1, 3, 4, 5), "preds", data_range)
