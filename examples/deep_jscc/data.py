"""Random crops of some photographs to train on, and other photographs, whole, to validate on."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from examples.deep_jscc.network import BLOCK
from examples.photographs import load_photographs, pixels

TRAINING = (
    "brick",
    "camera",
    "china",
    "flower",
    "grass",
    "gravel",
    "hubble_deep_field",
    "motorcycle_left",
    "motorcycle_right",
    "retina",
)
VALIDATION = ("astronaut", "chelsea", "coffee", "rocket")


class PhotographData(LightningDataModule):
    """The photographs that ship with scikit-image and scikit-learn.

    Args:
        crop_size: height and width of the crops to train on, a multiple of 4.
        crops: how many of them make an epoch.
        batch_size: crops per batch; photographs are validated one by one, as their sizes differ.
        longer_side: what photographs are shrunk to; the shorter side must stay above 160 pixels for MS-SSIM.
    """

    def __init__(self, crop_size: int = 64, crops: int = 8000, batch_size: int = 8, longer_side: int = 512) -> None:
        super().__init__()
        self.crop_size = crop_size
        self.crops = crops
        self.batch_size = batch_size
        self.longer_side = longer_side

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Return batches of crops, ``[batch_size, 3, crop_size, crop_size]``."""
        photographs = load_photographs(TRAINING, self.longer_side).values()
        crops = RandomCrops([pixels(photograph) for photograph in photographs], self.crop_size, self.crops)
        return DataLoader(crops, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Return photographs, ``[1, 3, H, W]``, each with its number."""
        photographs = load_photographs(VALIDATION, self.longer_side).values()
        return DataLoader(WholePhotographs([pixels(photograph) for photograph in photographs]))

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """Return the same as for validation."""
        return self.val_dataloader()


class RandomCrops(Dataset[Tensor]):
    """Crops, some mirrored, whose number decides on where they lie: every process and every run has the same ones."""

    def __init__(self, photographs: list[Float[Tensor, "3 _ _"]], size: int, count: int) -> None:
        self.photographs = photographs
        self.size = size
        self.count = count

    def __len__(self) -> int:
        """Return how many there are."""
        return self.count

    def __getitem__(self, index: int) -> Float[Tensor, "3 size size"]:
        """Return one of them."""
        random = np.random.default_rng(index)
        photograph = self.photographs[random.integers(len(self.photographs))]
        top, left = (random.integers(side - self.size + 1) for side in photograph.shape[1:])
        crop = photograph[:, top : top + self.size, left : left + self.size]
        return crop.flip(2) if random.random() < 0.5 else crop


class WholePhotographs(Dataset[tuple[Tensor, int]]):
    """Photographs of whole blocks, each with its number, which decides on the noise that it meets."""

    def __init__(self, photographs: list[Float[Tensor, "3 _ _"]]) -> None:
        self.photographs = photographs

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.photographs)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 h w"], int]:
        """Return one of them."""
        photograph = self.photographs[index]
        height, width = (side // BLOCK * BLOCK for side in photograph.shape[1:])
        return photograph[:, :height, :width], index
