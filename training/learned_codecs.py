"""Small learned codecs whose traces the network of ``lite`` is to see through.

python -m training.learned_codecs --folder training/sources

Each is an autoencoder with noise in its middle: that of a channel, as in joint source-channel coding (Bourtsoulatze et
al., 2019), or that of rounding, as in learned compression (Ballé et al., 2017). What they leave differs with how they
shrink and enlarge, with what they learned from, and for how long: all of it is drawn by chance. The transmitter of
``examples/deep_jscc`` is none of them: it is used for judging.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_sess.atomic import replacing
from training.scenes import Sources


class LearnedCodec(nn.Module):
    """An autoencoder with a noisy channel in its middle; the same seed gives the same shape.

    Args:
        seed: of its shape and of its first numbers.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        random = np.random.default_rng(seed)
        halvings = int(random.choice([2, 3, 4], p=[0.5, 0.35, 0.15]))
        width = int(random.choice([16, 24, 32]))
        self.block = 2**halvings
        # Values for a pixel, of every colour: from a sixth to a hundredth.
        channels = max(2, round(3 * self.block**2 * float(np.exp(random.uniform(np.log(0.01), np.log(0.17))))))
        self.rounds = bool(random.random() < 0.3)
        self.tells_noise = bool(random.random() < 0.5)
        self.absolute_error = bool(random.random() < 0.4)
        self.steps = int(np.exp(random.uniform(np.log(60), np.log(500))))
        activation = [nn.PReLU, nn.ReLU, nn.GELU, nn.Tanh][int(random.integers(4))]
        kernel = int(random.choice([3, 5]))
        upsampling = str(random.choice(["transposed", "shuffle", "nearest", "bilinear"]))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder: list[nn.Module] = []
            for k in range(halvings):
                encoder += [nn.Conv2d(width if k else 3, width, kernel, stride=2, padding=kernel // 2), activation()]
            self.encoder = nn.Sequential(*encoder, nn.Conv2d(width, channels, 3, padding=1))
            decoder: list[nn.Module] = [
                nn.Conv2d(channels + self.tells_noise, width, 3, padding=1),
                activation(),
                nn.Conv2d(width, width, 3, padding=1),
                activation(),
            ]
            for k in range(halvings):
                last = k == halvings - 1
                decoder += _double(upsampling, width, 3 if last else width, kernel)
                if not last:
                    decoder.append(activation())
            self.decoder = nn.Sequential(*decoder)

    def forward(self, images: Tensor, level: Tensor, generator: torch.Generator) -> Tensor:
        """Return what is received, ``[n, 3, h, w]``; sides are multiples of ``block``.

        Args:
            images: in [0, 1].
            level: standard deviation of the noise against that of what is sent, ``[n]``.
            generator: of the noise.
        """
        sent = self.encoder(images - 0.5)
        sent = sent / (sent.square().mean((1, 2, 3), keepdim=True).sqrt() + 1e-6)
        shape, spread = sent.shape, level[:, None, None, None]
        if self.rounds:
            received = sent + 12**0.5 * spread * (torch.rand(shape, generator=generator) - 0.5)
        else:
            received = sent + spread * torch.randn(shape, generator=generator)
        if self.tells_noise:
            received = torch.cat([received, spread.log().expand(-1, 1, *shape[-2:])], dim=1)
        decoded: Tensor = self.decoder(received) + 0.5
        return decoded

    @torch.no_grad()
    def send(self, image: Image.Image, level: float, seed: int) -> Image.Image:
        """Return what arrives of an image."""
        width, height = (-(-side // self.block) * self.block for side in image.size)
        pixels = torch.from_numpy(np.array(image.resize((width, height)))).permute(2, 0, 1)[None] / 255
        received = self(pixels, torch.tensor([level]), torch.Generator().manual_seed(seed))[0]
        levels = (255 * received).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
        return Image.fromarray(levels).resize(image.size)


def _double(upsampling: str, width: int, out: int, kernel: int) -> list[nn.Module]:
    """Return layers that double height and width."""
    if upsampling == "transposed":
        return [nn.ConvTranspose2d(width, out, kernel, stride=2, padding=kernel // 2, output_padding=1)]
    if upsampling == "shuffle":
        return [nn.Conv2d(width, 4 * out, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.Upsample(scale_factor=2, mode=upsampling), nn.Conv2d(width, out, kernel, padding=kernel // 2)]


def noise_level(random: np.random.Generator) -> float:
    """Draw a level of noise: signal-to-noise ratios of -10 to 12 dB."""
    return float(10 ** (-random.uniform(-10, 12) / 20))


def train(codec: LearnedCodec, photographs: Sequence[Path], seed: int, side: int = 64) -> LearnedCodec:
    """Train a codec for as long as its seed says, on crops of photographs."""
    random = np.random.default_rng((seed, 1))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(codec.parameters(), lr=2e-3)
    error = functional.l1_loss if codec.absolute_error else functional.mse_loss
    chosen = random.choice(len(photographs), min(48, len(photographs)), replace=False)
    pictures = [_pixels(photographs[k]) for k in chosen]
    for _ in range(codec.steps):
        crops = np.stack([_crop(pictures[random.integers(len(pictures))], side, random) for _ in range(8)])
        images = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        levels = torch.tensor([noise_level(random) for _ in range(8)])
        loss = error(codec(images, levels, generator), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return codec.eval()


def load_codecs(folder: Path) -> tuple[LearnedCodec, ...]:
    """Return the codecs that lie in a folder, in the order of their seeds."""
    codecs = []
    for path in sorted(folder.glob("*.safetensors")):
        codec = LearnedCodec(int(path.stem))
        codec.load_state_dict(load_file(path))
        codecs.append(codec.eval().requires_grad_(False))
    return tuple(codecs)


def _pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((512, 512))
        return np.asarray(small)


def _crop(pixels: NDArray[np.uint8], side: int, random: np.random.Generator) -> NDArray[np.uint8]:
    top, left = (int(random.integers(length - side + 1)) for length in pixels.shape[:2])
    return pixels[top : top + side, left : left + side]


def main() -> None:
    """Train codecs, each into a file of its own; those that are there already stay."""
    parser = argparse.ArgumentParser(description="Train small learned codecs whose traces are to be seen through.")
    parser.add_argument("--folder", type=Path, default=Path("training/sources"), help="what collect.py made")
    parser.add_argument("--listed", type=Path, default=Path("training/sources.csv"), help="which of it may be used")
    parser.add_argument("--count", type=int, default=24, help="how many (default: %(default)s)")
    arguments = parser.parse_args()
    photographs = Sources.of(arguments.folder, arguments.listed).photographs
    out = arguments.folder / "codecs"
    out.mkdir(exist_ok=True)
    for seed in range(arguments.count):
        path = out / f"{seed:03}.safetensors"
        if not path.exists():
            codec = train(LearnedCodec(seed), photographs, seed)
            with replacing(path) as part:
                save_file(codec.state_dict(), part)
            print(f"{path}: blocks of {codec.block} pixels, {codec.steps} steps")


if __name__ == "__main__":
    main()
