"""The channel of the Deep JSCC example: power goes in as promised, and noise and fading come on top as they should."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Generator, Tensor

from examples.deep_jscc.channel import draw_gains, equalize, noise_power, normalize_power, received_snr, transmit

CPU = torch.device("cpu")


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def random_symbols(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.complex64, generator=seeded(seed))


@settings(derandomize=True, max_examples=30, deadline=None)
@given(seed=st.integers(0, 100), scales=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4))
def test_every_image_is_sent_with_unit_power(seed: int, scales: list[float]) -> None:
    symbols = random_symbols(seed, len(scales), 3, 2, 5) * torch.tensor(scales)[:, None, None, None]
    sent = normalize_power(symbols)
    torch.testing.assert_close(sent.abs().square().mean((1, 2, 3)), torch.ones(len(scales)))
    # Scaled by one positive number per image, and by nothing else.
    factors = sent / symbols
    torch.testing.assert_close(factors, factors[:, :1, :1, :1].abs().to(factors.dtype).expand_as(factors))


def test_silence_stays_finite() -> None:
    assert normalize_power(torch.zeros(1, 2, 2, 2, dtype=torch.complex64)).abs().max() == 0


def test_noise_has_the_power_that_the_snr_says() -> None:
    snr = torch.tensor([-5.0, 0.0, 10.0, 20.0])
    sent = normalize_power(random_symbols(0, 4, 4, 100, 100))
    gains = draw_gains("awgn", 4, CPU)
    noise = transmit(sent, gains, snr, seeded(1)) - sent
    measured = -10 * noise.abs().square().mean((1, 2, 3)).log10()
    torch.testing.assert_close(measured, snr, atol=0.1, rtol=0)
    # As much of it in the real as in the imaginary part.
    torch.testing.assert_close(noise.real.square().mean((1, 2, 3)), noise_power(snr) / 2, rtol=0.03, atol=0)


def test_awgn_does_not_fade() -> None:
    assert torch.equal(draw_gains("awgn", 3, CPU), torch.ones(3, dtype=torch.complex64))


def test_rayleigh_fading_is_circular_gaussian_of_unit_power() -> None:
    gains = draw_gains("rayleigh", 100_000, CPU, seeded(0))
    power = gains.abs().square()
    assert power.mean().item() == pytest.approx(1, rel=0.01)
    # Its power is exponentially distributed, and its phase is anything.
    assert (power < 1).double().mean().item() == pytest.approx(1 - math.exp(-1), abs=0.01)
    assert gains.mean().abs().item() < 0.01
    assert gains.square().mean().abs().item() < 0.02


def test_fading_is_the_same_for_all_symbols_of_an_image() -> None:
    sent = normalize_power(random_symbols(0, 2, 3, 4, 4))
    gains = draw_gains("rayleigh", 2, CPU, seeded(1))
    received = transmit(sent, gains, torch.full((2,), 200.0), seeded(2))
    torch.testing.assert_close(received / sent, gains[:, None, None, None].expand_as(sent))


@settings(derandomize=True, max_examples=10, deadline=None)
@given(snr=st.floats(-10, 20), magnitude=st.floats(0.1, 3), phase=st.floats(0, 6.28))
def test_no_linear_receiver_comes_closer(snr: float, magnitude: float, phase: float) -> None:
    sent = normalize_power(random_symbols(0, 1, 4, 100, 100))
    gains = torch.polar(torch.tensor([magnitude]), torch.tensor([phase]))
    level = torch.tensor([snr])
    received = transmit(sent, gains, level, seeded(1))
    error = equalize(received, gains, level) - sent
    # What is left of the error has nothing to do with what was received.
    assert (error * received.conj()).mean().abs().item() < 0.02 * received.abs().square().mean().sqrt().item()
    least = 1 / (1 + 10 ** (received_snr(gains, level).item() / 10))
    assert error.abs().square().mean().item() == pytest.approx(least, rel=0.03)


def test_a_channel_that_is_down_gives_nothing() -> None:
    gains = torch.zeros(1, dtype=torch.complex64)
    snr = torch.tensor([10.0])
    received = transmit(normalize_power(random_symbols(0, 1, 2, 4, 4)), gains, snr, seeded(1))
    assert equalize(received, gains, snr).abs().max() == 0
    assert received_snr(gains, snr).isfinite().all()


def test_an_unknown_channel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`channel` must be one of \('awgn', 'rayleigh'\), got 'rician'"):
        draw_gains("rician", 1, CPU)  # type: ignore[arg-type]
