"""The wireless channel: symbols of unit power go in, fade, and come out with noise."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from jaxtyping import Complex, Float
from torch import Generator, Tensor

ChannelName: TypeAlias = Literal["awgn", "rayleigh"]


def normalize_power(symbols: Complex[Tensor, "n c h w"]) -> Complex[Tensor, "n c h w"]:
    """Scale the symbols of every image to a mean power of 1."""
    power = symbols.abs().square().mean((1, 2, 3), keepdim=True)
    return symbols / power.clamp(min=1e-12).sqrt()


def draw_gains(
    channel: ChannelName, count: int, device: torch.device, generator: Generator | None = None
) -> Complex[Tensor, " n"]:
    """Draw the gain that the symbols of each of ``count`` images meet.

    Args:
        channel: ``"awgn"`` does not fade; ``"rayleigh"`` fades slowly: one gain for all symbols of an image, circularly
            symmetric complex Gaussian of unit variance.
        count: of the images.
        device: of the result.
        generator: of the random numbers.

    Raises:
        ValueError: for another channel.
    """
    if channel not in get_args(ChannelName):
        raise ValueError(f"`channel` must be one of {get_args(ChannelName)}, got {channel!r}")
    if channel == "awgn":
        return torch.ones(count, dtype=torch.complex64, device=device)
    return torch.randn(count, dtype=torch.complex64, device=device, generator=generator)


def noise_power(snr: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the power of the noise at a signal-to-noise ratio in dB, given a signal of unit power."""
    return 10 ** (-snr / 10)


def transmit(
    symbols: Complex[Tensor, "n c h w"],
    gains: Complex[Tensor, " n"],
    snr: Float[Tensor, " n"],
    generator: Generator | None = None,
) -> Complex[Tensor, "n c h w"]:
    """Return what arrives of the symbols, gain times symbol plus noise, for every image at its own SNR in dB."""
    noise = torch.randn(symbols.shape, dtype=symbols.dtype, device=symbols.device, generator=generator)
    return _per_image(gains) * symbols + _per_image(noise_power(snr).sqrt()) * noise


def equalize(
    received: Complex[Tensor, "n c h w"], gains: Complex[Tensor, " n"], snr: Float[Tensor, " n"]
) -> Complex[Tensor, "n c h w"]:
    """Estimate the symbols, of unit power, with the least mean squared error that a linear receiver can reach."""
    return _per_image(gains.conj() / (gains.abs().square() + noise_power(snr))) * received


def received_snr(gains: Complex[Tensor, " n"], snr: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the SNR in dB that is left after fading."""
    return snr + 20 * gains.abs().clamp(min=1e-6).log10()


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]
