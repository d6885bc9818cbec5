"""The convolutional encoder and decoder."""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

BLOCK = 4
"""Height and width of the blocks of pixels that get symbols of their own."""


class Encoder(nn.Module):
    """Maps images to complex symbols, without knowing the channel: what it sends serves receivers at any SNR.

    Args:
        symbols: for each block of 4 x 4 pixels.
        width: number of features.
        depth: number of residual layers.
    """

    def __init__(self, symbols: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width // 2, 5, stride=2, padding=2),
            nn.PReLU(width // 2),
            nn.Conv2d(width // 2, width, 5, stride=2, padding=2),
            nn.PReLU(width),
            *(Residual(width) for _ in range(depth)),
            nn.Conv2d(width, 2 * symbols, 3, padding=1),
        )

    def forward(self, images: Float[Tensor, "n 3 4*h 4*w"]) -> Complex[Tensor, "n c h w"]:
        """Return the symbols, of any power."""
        return torch.complex(*self.layers(images - 0.5).chunk(2, dim=1))


class Decoder(nn.Module):
    """Maps received symbols, and the SNR they were received with, to images.

    Args:
        symbols: for each block of 4 x 4 pixels.
        width: number of features.
        depth: number of residual layers.
    """

    def __init__(self, symbols: int, width: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * symbols + 1, width, 3, padding=1),
            nn.PReLU(width),
            *(Residual(width) for _ in range(depth)),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.PixelShuffle(2),
            nn.PReLU(width // 2),
            nn.Conv2d(width // 2, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, symbols: Complex[Tensor, "n c h w"], snr: Float[Tensor, " n"]) -> Float[Tensor, "n 3 4*h 4*w"]:
        """Return the images, whose values may leave [0, 1]."""
        # In deep fades the SNR has no lower limit, but nothing is left to tell apart there.
        snr_plane = (snr.clamp(-20, 40) / 20)[:, None, None, None].expand(-1, 1, *symbols.shape[-2:])
        images: Tensor = self.layers(torch.cat([symbols.real, symbols.imag, snr_plane], dim=1)) + 0.5
        return images


class Residual(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width), nn.Conv2d(width, width, 3, padding=1)
        )

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Return the sum."""
        total: Tensor = features + self.layers(features)
        return total
