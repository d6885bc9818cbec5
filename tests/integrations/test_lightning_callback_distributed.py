"""The callback in two processes that Lightning starts, of which one at times sees no image."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fork_server import START_METHOD
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from lightning.pytorch.strategies import DDPStrategy
from PIL import Image
from stub_extractor import stub_images, stub_preset
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_codec import TinyCodec
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, Sampler

from torchmetrics_sess.explanation import explain
from torchmetrics_sess.functional import semantic_similarity_score
from torchmetrics_sess.integrations import SeSSCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*`isinstance.treespec, LeafSpec.` is deprecated.*"),
]

IMAGES = stub_images(7, seed=11)
# Which images each of two processes sees, by dataloader, by epoch. In the first epoch, one sees none at all; in the
# second, one none of the second dataloader. The third one is shared out by a sampler that repeats nothing.
SHARES: list[list[list[list[int]]]] = [
    [[[0, 1, 2], []], [[3], []], [[], []]],
    [[[0], [1, 2, 3]], [[], [4, 5, 6]], [[0, 2, 4, 6], [1, 3, 5]]],
]


class Shares(IterableDataset[Tensor]):
    """Some of the images."""

    def __init__(self, indices: list[int]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[Tensor]:
        return iter(IMAGES[self.indices])


class Codec(TinyCodec):
    """One that learns nothing, so that it can be known in advance what it scores."""

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        return nn.functional.mse_loss(self(batch), batch)

    def validation_step(self, batch: Tensor, index: int, dataloader_idx: int) -> Any:
        return {"preds": self(batch), "target": batch}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0)

    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(Shares([0]))

    def val_dataloader(self) -> list[DataLoader[Tensor]]:
        shares = SHARES[self.trainer.current_epoch]
        loaders = [DataLoader(Shares(by_process[self.global_rank]), batch_size=2) for by_process in shares]
        if self.trainer.current_epoch == 1:
            images: Any = IMAGES
            sampler: Sampler[Any] = UnrepeatedDistributedSampler(
                images, num_replicas=self.trainer.world_size, rank=self.global_rank, shuffle=False
            )
            loaders[2] = DataLoader(images, batch_size=2, sampler=sampler)
        return loaders


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> EventAccumulator:
    """What TensorBoard was told in a training of two epochs."""
    logger = TensorBoardLogger(tmp_path_factory.mktemp("logs"), version=0)
    Trainer(
        accelerator="cpu",
        strategy=DDPStrategy(start_method=START_METHOD),
        devices=2,
        max_epochs=2,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        logger=logger,
        callbacks=[SeSSCallback(preset=stub_preset())],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(Codec())
    return EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()


@pytest.mark.parametrize(("epoch", "dataloader"), [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)])
def test_of_all_processes_together(epoch: int, dataloader: int, events: EventAccumulator) -> None:
    originals = IMAGES[[index for share in SHARES[epoch][dataloader] for index in share]]
    with torch.no_grad():
        reconstructions = Codec()(originals)
    scores = semantic_similarity_score(reconstructions, originals, stub_preset(), reduction="none").reshape(-1)
    [logged] = [event for event in events.Scalars(f"val/sess/dataloader_idx_{dataloader}") if event.step == epoch]
    assert logged.value == pytest.approx(scores.mean().item(), abs=1e-7)

    [drawn] = [
        image for image in events.Images(f"val/sess_worst/dataloader_idx_{dataloader}") if image.step == epoch + 1
    ]
    worst = scores.argmin()
    plot = io.BytesIO()
    explain(reconstructions[worst], originals[worst], stub_preset()).plot()[0].savefig(plot, dpi="figure")
    shown, right = (Image.open(file).convert("RGB") for file in (io.BytesIO(drawn.encoded_image_string), plot))
    assert np.array_equal(np.asarray(shown), np.asarray(right))


def test_a_dataloader_without_images_has_no_score(events: EventAccumulator) -> None:
    assert [event.step for event in events.Scalars("val/sess/dataloader_idx_2")] == [1]
