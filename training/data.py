"""Damaged scenes in batches, each beside what the network makes of the clean scene."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms.functional import pil_to_tensor

from training.damage import damage
from training.learned_codecs import load_codecs
from training.module import Batch, Views, load_network
from training.scenes import Sources, make_scene

PATCH = 14


class Scenes(Dataset[Batch]):
    """A fixed set of scenes; every visit damages one anew.

    Args:
        sources: photographs and cut-outs.
        count: how many scenes.
        grid: rows (and columns) of patches that a whole scene is squashed to.
        window: side in patches of the part of a scene that is looked at; every fourth scene is looked at whole.
        seed: of all chance.
        network: which network to learn from.
    """

    def __init__(
        self, sources: Sources, count: int, grid: int, window: int, seed: int, network: Literal["lite", "tiny"]
    ) -> None:
        self.sources, self.count, self.grid, self.window, self.seed = sources, count, grid, window, seed
        base, _, _ = load_network(network)
        self.teacher = Views(base, grid)
        self.codecs = load_codecs(sources.codecs)
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        """Return the number of scenes."""
        return self.count

    def whole(self, index: int) -> bool:
        """Tell whether a scene is looked at whole."""
        return index % 4 == 0

    def __getitem__(self, visit: tuple[int, int]) -> Batch:
        """Return a batch of one: a scene, damaged as the step of training says.

        Args:
            visit: number of the scene, number of the step.
        """
        index, step = visit
        scene = make_scene(self.sources, (self.seed, index))
        random = np.random.default_rng((self.seed, index, step + 1))
        place = np.random.default_rng((self.seed, index))
        spare = 0 if self.whole(index) else self.grid - self.window
        top, left = (int(place.integers(spare + 1)) for _ in range(2))
        side = self.grid - spare
        clean, last = self._clean(index, scene, top, left, side)
        damaged, visibility = damage(scene, random, codecs=self.codecs)
        window = squash(damaged, self.grid)[:, top * PATCH : (top + side) * PATCH, left * PATCH : (left + side) * PATCH]
        at = torch.tensor(top), torch.tensor(left)
        return Batch(window, *at, clean, last, torch.tensor(visibility, dtype=torch.float32))

    @torch.no_grad()
    def _clean(self, index: int, scene: object, top: int, left: int, side: int) -> tuple[Tensor, Tensor]:
        if index not in self.seen:
            zero = torch.zeros(1, dtype=torch.long)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                outputs = self.teacher(squash(scene, self.grid)[None], zero, zero)
            kept = []
            for output in outputs:
                d = output.shape[-1]
                patches = output[0, :-1].view(self.grid, self.grid, d)[top : top + side, left : left + side]
                kept.append(torch.cat([patches.reshape(-1, d), output[0, -1:]]).half())
            self.seen[index] = (kept[0], kept[1])
        return self.seen[index]


class Visits(Sampler[list[tuple[int, int]]]):
    """Batches of scenes that are of one size; where to go on after a cut is a matter of the step alone.

    Args:
        scenes: what to visit.
        steps: how many batches.
        batch_size: windows in a batch; of whole scenes, it holds as many as have as many patches.
        seed: of the order.
        start: the first step.
    """

    def __init__(self, scenes: Scenes, steps: int, batch_size: int, seed: int, start: int = 0) -> None:
        self.scenes, self.steps, self.batch_size, self.seed, self.start = scenes, steps, batch_size, seed, start

    def __len__(self) -> int:
        """Return the number of batches, those before the start included: so Lightning counts after a cut."""
        return self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield batches."""
        few = max(1, round(self.batch_size * (self.scenes.window / self.scenes.grid) ** 2))
        groups = [[i for i in range(len(self.scenes)) if self.scenes.whole(i) == whole] for whole in (True, False)]
        for step in range(self.start, self.steps):
            random = np.random.default_rng((self.seed, step))
            whole = random.random() < 0.25
            group = groups[0 if whole else 1]
            chosen = random.choice(group, min(few if whole else self.batch_size, len(group)), replace=False)
            yield [(int(index), step) for index in chosen]


class DamagedScenes(LightningDataModule):
    """Gives ``SeeThroughDamage`` its batches.

    Args:
        folder: what ``collect.py`` made.
        listed: which of it may be used, in the form of ``sources.csv``.
        count: how many scenes.
        steps: how many batches to train on.
        batch_size: scenes in a batch.
        grid: rows (and columns) of patches of a whole scene.
        window: side in patches of the part that is looked at.
        seed: of all chance.
        network: which network to learn from.
        workers: processes that prepare batches: 0, or 1, as each remembers what it has seen clean.
    """

    def __init__(
        self,
        folder: str = "training/sources",
        listed: str | None = "training/sources.csv",
        count: int = 800,
        steps: int = 4000,
        batch_size: int = 4,
        grid: int = 24,
        window: int = 16,
        seed: int = 0,
        network: Literal["lite", "tiny"] = "lite",
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> DataLoader[Batch]:
        """Go on at the step that training has reached."""
        h = self.hparams
        sources = Sources.of(Path(h["folder"]), None if h["listed"] is None else Path(h["listed"]))
        scenes = Scenes(sources, h["count"], h["grid"], h["window"], h["seed"], h["network"])
        start = self.trainer.global_step if self.trainer else 0
        visits = Visits(scenes, h["steps"], h["batch_size"], h["seed"], start)
        return DataLoader(scenes, batch_sampler=visits, num_workers=h["workers"], persistent_workers=h["workers"] > 0)


def squash(image: object, grid: int) -> Tensor:
    """Resize an image to the square that the network sees, as ``lite`` does."""
    pixels = pil_to_tensor(image)[None].float() / 255
    side = grid * PATCH
    return functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)[0]
