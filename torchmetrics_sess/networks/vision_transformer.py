"""The one network of the ``lite`` preset: a DINOv2 vision transformer with a saliency decoder on top.

Written here instead of taken from a model library because extraction taps two of its layers in one pass, and because
parameter names that follow a library's releases would tie the converted weights to one release.

Source: Oquab et al., *DINOv2: Learning Robust Visual Features without Supervision*, 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Tokens(NamedTuple):
    """What one pass through ``DinoSaliencyNetwork`` gives.

    Args:
        patches: embedding of every patch at the tapped layer, final layer norm applied, ``[b, rows, columns, d]``.
        image: embedding of the class token at that layer, likewise, ``[b, d]``.
        saliency: where a viewer looks, in [0, 1], eight values per patch side, ``[b, 8 * rows, 8 * columns]``.
    """

    patches: Float[Tensor, "b r c d"]
    image: Float[Tensor, "b d"]
    saliency: Float[Tensor, "b h w"]


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Let every token attend to every other."""
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(attended.transpose(1, 2).reshape(b, t, d))
        return out


class Block(nn.Module):
    """Pre-norm transformer block with layer scale."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.scale1 = nn.Parameter(torch.ones(width))
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.scale2 = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Transform tokens."""
        x = x + self.scale1 * self.attention(self.norm1(x))
        out: Tensor = x + self.scale2 * self.mlp(self.norm2(x))
        return out


class SaliencyDecoder(nn.Sequential):
    """Three upsampling convolutions from patch embeddings to a saliency map of eight times their resolution."""

    def __init__(self, width: int, channels: tuple[int, int, int] = (256, 128, 64)) -> None:
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip((width, *channels), channels, strict=False):
            layers += [nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1), nn.BatchNorm2d(fan_out), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(channels[-1], 1, 1), nn.Sigmoid())

    def forward(self, x: Float[Tensor, "b d r c"]) -> Float[Tensor, "b 1 h w"]:
        """Decode embeddings; on the CPU every image alone, and on other devices all together."""
        decode: Callable[[Tensor], Tensor] = super().forward
        if x.device.type != "cpu":
            return decode(x)
        # There, the order in which transposed convolutions sum depends on the number of images and on their strides,
        # and so would the last bit of a score. Only a copy has the same strides every time: those of a dimension of
        # length 1 are arbitrary. Channels last is the faster layout, and large batches are slower than single images.
        return torch.cat([decode(image.clone(memory_format=torch.channels_last)) for image in x.split(1)])


class DinoSaliencyNetwork(nn.Module):
    """DINOv2 ViT with a saliency decoder; one pass gives patch, image and saliency outputs.

    Args:
        width: embedding size.
        depth: number of transformer blocks.
        heads: attention heads per block.
        patch_size: side of a patch in pixels.
        grid: rows (and columns) of patches that the stored position embedding has.
        tap: number of blocks after which patch and image embeddings are read.
        decoder_channels: widths of the saliency decoder.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        patch_size: int = 14,
        grid: int = 37,
        tap: int = 10,
        decoder_channels: tuple[int, int, int] = (256, 128, 64),
    ) -> None:
        super().__init__()
        if not 1 <= tap <= depth:
            raise ValueError(f"`tap` must be a layer in 1..{depth}, got {tap}")
        self.tap = tap
        self.patch_embedding = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.class_position = nn.Parameter(torch.zeros(1, 1, width))
        self.patch_position = nn.Parameter(torch.zeros(1, grid * grid, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = SaliencyDecoder(width, decoder_channels)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def positions(self, rows: int, columns: int) -> Float[Tensor, "1 n d"]:
        """Return the position embedding resampled to a grid of ``rows`` x ``columns`` patches."""
        _, n, d = self.patch_position.shape
        side = round(n**0.5)
        grid = self.patch_position.view(1, side, side, d).permute(0, 3, 1, 2)
        if (rows, columns) != (side, side):
            grid = functional.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
        return grid.flatten(2).transpose(1, 2)

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Tokens:
        """Embed RGB images in [0, 1] whose sides are multiples of the patch size."""
        x = self.patch_embedding((images - self.mean) / self.std)
        b, d, rows, columns = x.shape
        x = x.flatten(2).transpose(1, 2) + self.positions(rows, columns)
        x = torch.cat([(self.class_token + self.class_position).expand(b, -1, -1), x], dim=1)
        tapped = x
        for layer, block in enumerate(self.blocks, start=1):
            x = block(x)
            if layer == self.tap:
                tapped = self.norm(x)
        last = self.norm(x)[:, 1:].transpose(1, 2).reshape(b, d, rows, columns)
        return Tokens(
            patches=tapped[:, 1:].reshape(b, rows, columns, d),
            image=tapped[:, 0],
            saliency=self.decoder(last)[:, 0],
        )
