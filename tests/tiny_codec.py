"""The smallest codec there is, for tests that train one."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn


class TinyCodec(LightningModule):
    """One convolution, which begins by making images paler."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Conv2d(3, 3, 1)
        self.network.weight = nn.Parameter(0.7 * torch.eye(3)[:, :, None, None])
        self.network.bias = nn.Parameter(torch.full((3,), 0.1))

    def forward(self, images: Tensor) -> Tensor:
        reconstruction: Tensor = self.network(images).clamp(0, 1)
        return reconstruction
