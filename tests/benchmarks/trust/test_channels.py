"""The analog transmission degrades with the channel; the digital one falls off a cliff."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageFile

from benchmarks.trust import channels
from torchmetrics_sess.photographs import open_photograph


@pytest.fixture(scope="module")
def coffee() -> Image.Image:
    return open_photograph("coffee")


def error(image: Image.Image, other: Image.Image) -> float:
    return float(np.square(np.asarray(image, dtype=float) - np.asarray(other)).mean())


def test_analog_errors_fall_with_every_decibel(coffee: Image.Image) -> None:
    errors = [error(channels.send_analog(coffee, snr), coffee) for snr in (-10, -5, 0, 5, 10, 20, 40)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 * errors[-1]


def test_a_dead_analog_channel_leaves_the_mean_colour(coffee: Image.Image) -> None:
    received = np.asarray(channels.send_analog(coffee, -90), dtype=float)
    assert np.allclose(received, np.asarray(coffee).mean((0, 1)), atol=3)


def test_a_code_that_holds_delivers_the_file_bit_by_bit(coffee: Image.Image) -> None:
    with Image.open(io.BytesIO(channels.best_jpeg(coffee))) as sent:
        assert error(channels.send_digital(coffee, 15), sent.convert("RGB")) == 0


def test_below_the_cliff_nothing_is_left_of_the_picture(coffee: Image.Image) -> None:
    above, below = (error(channels.send_digital(coffee, snr), coffee) for snr in (10.5, 8.5))
    assert below > 20 * above
    assert error(channels.send_analog(coffee, 8.5), coffee) < 2 * error(channels.send_analog(coffee, 10.5), coffee)


def test_transmissions_can_be_repeated(coffee: Image.Image) -> None:
    for send in (channels.send_analog, channels.send_digital):
        assert error(send(coffee, 9.5, seed=3), send(coffee, 9.5, seed=3)) == 0
        assert error(send(coffee, 9.5, seed=3), send(coffee, 9.5, seed=4)) > 0


@pytest.mark.parametrize("seed", range(3))
def test_noise_cannot_break_the_decoder(seed: int) -> None:
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8))
    assert channels.send_digital(image, -20, seed).size == image.size
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_file_is_the_best_that_fits(coffee: Image.Image) -> None:
    limit = channels.BITS_PER_USE * channels.USES_PER_PIXEL * coffee.width * coffee.height
    sizes = [8 * len(channels._jpeg(coffee, quality)) for quality in range(1, 96)]
    assert 8 * len(channels.best_jpeg(coffee)) == max(size for size in sizes if size <= limit)


def test_frames_are_lost_where_the_rate_exceeds_the_capacity() -> None:
    rates = [channels.frame_error_rate(snr) for snr in np.arange(5, 15, 0.25)]
    assert rates == sorted(rates, reverse=True)
    at_capacity = 10 * math.log10(2 ** (2 * channels.BITS_PER_USE) - 1) + channels.CODE_GAP_DB
    assert channels.frame_error_rate(at_capacity) == pytest.approx(0.5)
    assert channels.frame_error_rate(at_capacity + 1.5) < 1e-6


def test_four_amplitudes_are_told_apart_as_their_formula_says() -> None:
    snr_db = 8.0
    random = np.random.default_rng(0)
    bits = random.integers(0, 2, (200_000, 2))
    # Gray-coded, of mean power 1.
    amplitude = (1 - 2 * bits[:, 0]) * (3 - 2 * bits[:, 1]) / math.sqrt(5)
    received = amplitude + random.normal(0, 10 ** (-snr_db / 20), len(amplitude))
    decided = np.stack([received < 0, abs(received) < 2 / math.sqrt(5)], axis=1)
    assert np.mean(decided != bits) == pytest.approx(channels.symbol_bit_error_rate(snr_db), rel=0.04)
