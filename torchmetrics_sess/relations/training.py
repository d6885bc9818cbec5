"""Training a relation head on tokens: the Lightning module, its data, and the files that come out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from torchmetrics_sess.relations.loss import bce_loss, candidate_pairs, hard_predicate_mean, zlpr_loss
from torchmetrics_sess.relations.ram import RelationHead
from torchmetrics_sess.relations.recall import RelationRecall
from torchmetrics_sess.relations.shards import TokenBatch, TokenDataset, TokenRecord, collate

SCRATCH = "scratch"
_LOSSES = {"zlpr": zlpr_loss, "bce": bce_loss}


class RelationTraining(LightningModule):
    """Trains a ``RelationHead``, and validates it by ``RelationRecall``.

    By default as RelateAnything was trained: AdamW, the learning rate a tenth after epochs 6 and 10, the ZLPR loss of
    every predicate weighted by itself, the mean over images. Unlike there, images of different numbers of objects share
    a batch, each counting as if it were alone, and no object is related to itself.

    Args:
        input_size: length of a token; the command line takes it from the data.
        hidden_size: width of the transformer.
        num_attention_heads: heads of each of its layers.
        intermediate_size: width of its feed-forward blocks.
        feature_size: length of the subject and object vectors.
        dropout: in the transformer, while training.
        start: where weights come from: ``"scratch"``; the name or folder of a BERT of Hugging Face whose first two
            layers to take, such as ``"bert-base-uncased"``; or the path of a checkpoint that
            ``RelationHead.from_checkpoint`` reads, whose sizes then count.
        loss: ``"zlpr"`` or ``"bce"``.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        milestones: epochs after which the learning rate is multiplied by ``gamma``.
        gamma: see there.
        ema_decay: validate and keep an exponential moving average of the weights, such as .999; ``None`` for the
            weights themselves.
        bf16_on_cuda: run the layers of the network in bfloat16 where the device is CUDA.
        seed: of dropout, in every epoch anew: a run that was cut off ends as it would have.

    Raises:
        ValueError: if a setting is out of range, or ``start`` is nothing that weights can be read from.
    """

    head: RelationHead
    average: AveragedModel | None

    def __init__(
        self,
        input_size: int = 256,
        hidden_size: int = 768,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        feature_size: int = 512,
        dropout: float = 0.1,
        start: str = "bert-base-uncased",
        loss: Literal["zlpr", "bce"] = "zlpr",
        learning_rate: float = 1e-4,
        weight_decay: float = 0.05,
        milestones: tuple[int, ...] = (6, 10),
        gamma: float = 0.1,
        ema_decay: float | None = None,
        bf16_on_cuda: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(f"`ema_decay` must be between 0 and 1 or None, got {ema_decay}")
        self.save_hyperparameters()
        self.loss_name: Literal["zlpr", "bce"] = loss
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.milestones = milestones
        self.gamma = gamma
        self.bf16_on_cuda = bf16_on_cuda
        self.seed = seed
        sizes = {
            "input_size": input_size,
            "hidden_size": hidden_size,
            "num_attention_heads": num_attention_heads,
            "intermediate_size": intermediate_size,
            "feature_size": feature_size,
        }
        self.head = _start(start, sizes, dropout)
        self.head.requires_grad_(True).train()
        # Objects have no words: nothing reads this table, and processes would wait for its gradient.
        self.head.model.embeddings.word_embeddings.requires_grad_(False)
        self.average = None
        if ema_decay is not None:
            self.average = AveragedModel(self.head, multi_avg_fn=get_ema_multi_avg_fn(ema_decay))
        self.recall, self.psg_recall = RelationRecall("ram"), RelationRecall("predcls")

    @property
    def trained_head(self) -> RelationHead:
        """The head that is validated and kept: the average, if there is one."""
        if self.average is None:
            return self.head
        head = self.average.module
        if not isinstance(head, RelationHead):
            raise TypeError(f"`average` must hold a RelationHead, got {type(head).__name__}")
        return head

    def forward(self, batch: TokenBatch) -> Float[Tensor, "b p k k"]:
        """Return the probabilities of all triplets, by the weights that are kept."""
        logits: Tensor = self.trained_head(batch.tokens, batch.valid, self._layer_dtype())
        return logits.sigmoid()

    def batch_loss(self, batch: TokenBatch) -> Float[Tensor, ""]:
        """Return the mean over the images of their losses."""
        logits = self.head.logits(batch.tokens, batch.valid, self._layer_dtype())
        return hard_predicate_mean(_LOSSES[self.loss_name](logits, batch.target, candidate_pairs(batch.valid))).mean()

    def on_train_epoch_start(self) -> None:
        """Make the learning rate depend on the epoch alone.

        A scheduler has a state of its own, which Lightning saves before the step that ends an epoch.
        """
        passed = sum(self.current_epoch >= milestone for milestone in self.milestones)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rate * self.gamma**passed

    def on_train_batch_start(self, batch: TokenBatch, batch_index: int) -> None:
        """Make dropout depend on the epoch and the process alone.

        Loaders draw random numbers too, and in the first epoch of a run they do so earlier than in the others.
        """
        if batch_index == 0:
            torch.manual_seed(self.seed + 1_000_003 * self.current_epoch + self.global_rank)

    def training_step(self, batch: TokenBatch, batch_index: int) -> Float[Tensor, ""]:
        """Return the loss of a batch."""
        loss = self.batch_loss(batch)
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True, batch_size=len(batch.valid))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: TokenBatch, batch_index: int) -> None:
        """Follow the weights with their average."""
        if self.average is not None:
            self.average.update_parameters(self.head)

    def validation_step(self, batch: TokenBatch, batch_index: int) -> None:
        """Count the images of a batch in."""
        counts = batch.valid.sum(1).tolist()
        for scores, n, relations in zip(self(batch), counts, batch.relations, strict=True):
            for recall in (self.recall, self.psg_recall):
                recall.update(scores[:, :n, :n], relations)

    def on_validation_epoch_end(self) -> None:
        """Log the recall of all images, whichever process they came to."""
        for recall in (self.recall, self.psg_recall):
            # Every process holds the same value already.
            self.log_dict({f"val/{name}": value.float() for name, value in recall.compute().items()})
            recall.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW; its learning rate is set where an epoch starts."""
        trained = [parameter for parameter in self.head.parameters() if parameter.requires_grad]
        return torch.optim.AdamW(
            trained, lr=self.learning_rate, weight_decay=self.weight_decay, eps=1e-8, betas=(0.9, 0.999)
        )

    def _layer_dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.bf16_on_cuda and self.device.type == "cuda" else torch.float32


class RelationData(LightningDataModule):
    """Tokens that ``sess relations extract`` has written.

    Args:
        folder: where they are.
        batch_size: images per step and process.
        seed: of the order in which images are seen, in every epoch another one.

    Raises:
        ValueError: if there are none, or some are missing.
    """

    def __init__(self, folder: str, batch_size: int = 4, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1, got {batch_size}")
        self.batch_size = batch_size
        self.seed = seed
        self.training = TokenDataset(folder, "train")
        self.validation = TokenDataset(folder, "test")
        self.token_size = self.training.token_size

    def train_dataloader(self) -> DataLoader[TokenRecord]:
        """Return batches in an order that depends on the seed and the epoch alone."""
        sampler: DistributedSampler[TokenRecord] = DistributedSampler(self.training, *self._place(), seed=self.seed)
        return DataLoader(self.training, self.batch_size, sampler=sampler, collate_fn=collate)

    def val_dataloader(self) -> DataLoader[TokenRecord]:
        """Return batches in which every image comes to one process, once."""
        sampler = EveryImageOnce(self.validation, *self._place())
        return DataLoader(self.validation, self.batch_size, sampler=sampler, collate_fn=collate)

    def _place(self) -> tuple[int, int]:
        return (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)


class EveryImageOnce(DistributedSampler[TokenRecord]):
    """Shares images among processes without repeating some, so that metrics are those of one process.

    Examples:
        >>> [list(EveryImageOnce(range(5), 2, rank)) for rank in (0, 1)]
        [[0, 2, 4], [1, 3]]
    """

    def __iter__(self) -> Any:
        """Return the indices of this process."""
        return iter(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]

    def __len__(self) -> int:
        """Return how many they are."""
        return len(range(self.rank, len(self.dataset), self.num_replicas))  # type: ignore[arg-type]


class ExportHead(Callback):
    """Writes the head after every epoch, in a file that presets and ``RelationHead.from_checkpoint`` read.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, from the first process."""
        if trainer.is_global_zero and isinstance(pl_module, RelationTraining):
            pl_module.trained_head.save(self.path)


def _start(start: str, sizes: dict[str, int], dropout: float) -> RelationHead:
    """Build the head with the weights that ``start`` names; see ``RelationTraining``."""
    if start == SCRATCH:
        return _fresh(sizes, dropout)
    path = Path(start)
    if path.is_file():
        head = RelationHead.from_checkpoint(path, dropout=dropout)
        if head.input_size != sizes["input_size"]:
            raise ValueError(
                f"`start` is {start}, which reads tokens of {head.input_size} numbers, but those of the data have "
                f"{sizes['input_size']}"
            )
        return head
    if path.suffix in (".pth", ".safetensors"):
        raise ValueError(f"`start` must be {SCRATCH!r}, a BERT or the path of a checkpoint: there is no file {start}")
    head = _fresh(sizes, dropout)
    layers = _bert_layers(start)
    try:
        head.model.encoder.layer.load_state_dict(layers)
    except RuntimeError as error:
        raise ValueError(f"`start` is {start}, whose layers do not have the sizes asked for: {error}") from error
    return head


def _fresh(sizes: dict[str, int], dropout: float) -> RelationHead:
    return RelationHead(**sizes, dropout=dropout, vocab_size=1, max_position_embeddings=2)


def _bert_layers(name: str) -> dict[str, Tensor]:
    from transformers import BertModel

    from torchmetrics_sess.weights import is_offline

    try:
        bert = BertModel.from_pretrained(
            name, num_hidden_layers=2, add_pooling_layer=False, use_safetensors=True, local_files_only=is_offline()
        )
    except OSError as error:
        raise ValueError(
            f"`start` is {name!r}, and no such BERT could be had; pass {SCRATCH!r} for random weights. {error}"
        ) from error
    layers: dict[str, Tensor] = bert.encoder.layer.state_dict()
    return layers
