"""Low-rank adapters: small changes to the layers of a frozen network, learned beside it and merged into it.

Source: Hu et al., *LoRA: Low-Rank Adaptation of Large Language Models*, ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

Adaptable: TypeAlias = nn.Linear | nn.Conv2d
_DOWN, _UP = ".down", ".up"


class Adapter(nn.Module):
    """A layer, and a path of low rank beside it that starts as zero.

    Args:
        layer: a linear layer, or a convolution.
        rank: width of the path.
    """

    def __init__(self, layer: Adaptable, rank: int) -> None:
        super().__init__()
        self.layer = layer
        out, inside = layer.weight.shape[0], layer.weight[0].numel()
        self.down = nn.Parameter(torch.randn(rank, inside) * inside**-0.5)
        self.up = nn.Parameter(torch.zeros(out, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer and add what the path gives."""
        out: Tensor = self.layer(x)
        if isinstance(self.layer, nn.Conv2d):
            down = self.down.view(-1, *self.layer.weight.shape[1:])
            low = nn.functional.conv2d(x, down, stride=self.layer.stride, padding=self.layer.padding)
            return out + nn.functional.conv2d(low, self.up[..., None, None])
        return out + nn.functional.linear(nn.functional.linear(x, self.down), self.up)


def add_adapters(network: nn.Module, names: Iterable[str], rank: int) -> None:
    """Put an adapter around layers of a network, in place.

    Args:
        network: its parameters are frozen; only those of adapters learn.
        names: which layers, by their names as submodules.
        rank: of every adapter.

    Raises:
        TypeError: if a name is not that of a linear layer or convolution.

    Examples:
        >>> network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> add_adapters(network, ["0", "2"], rank=2)
        >>> sorted(adapter_state(network))
        ['0.down', '0.up', '2.down', '2.up']
    """
    network.requires_grad_(False)
    for name in names:
        layer = network.get_submodule(name)
        if not isinstance(layer, Adaptable):
            raise TypeError(f"`names` must be those of linear layers or convolutions, got {name!r}: {type(layer)}")
        network.set_submodule(name, Adapter(layer, rank))


def adapter_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the parameters of all adapters in a network, by the name of their layer and ``.down`` or ``.up``."""
    state = {}
    for name, module in network.named_modules():
        if isinstance(module, Adapter):
            state[name + _DOWN], state[name + _UP] = module.down.detach(), module.up.detach()
    return state


def load_adapters(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Set the parameters of the adapters in a network.

    Args:
        network: with adapters.
        state: what ``adapter_state`` gives, of any floating dtype.

    Raises:
        ValueError: if ``state`` is of other adapters.
    """
    own = adapter_state(network)
    shapes = [{name: tuple(value.shape) for name, value in each.items()} for each in (own, state)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"`state` must hold the parameters of these adapters, {shapes[0]}, got {shapes[1]}")
    for name, value in own.items():
        value.copy_(state[name])


def merge_adapters(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Add what adapters learned to the weights of their layers, in place: the network then costs what it did before.

    Args:
        network: without adapters.
        state: what ``adapter_state`` gives, of any floating dtype.

    Raises:
        ValueError: if ``state`` names a layer that the network does not have, or sizes do not agree.

    Examples:
        >>> network, x = nn.Sequential(nn.Linear(8, 4)), torch.rand(3, 8)
        >>> state = {"0.down": torch.rand(2, 8), "0.up": torch.rand(4, 2)}
        >>> expected = network(x) + x @ state["0.down"].T @ state["0.up"].T
        >>> merge_adapters(network, state)
        >>> bool(torch.allclose(network(x), expected))
        True
    """
    with torch.no_grad():
        for key in state:
            name = key.removesuffix(_DOWN)
            if name == key:
                continue
            try:
                weight = network.get_parameter(f"{name}.weight")
                delta = state[name + _UP].to(weight) @ state[key].to(weight)
                weight.add_(delta.view_as(weight))
            except (AttributeError, KeyError, RuntimeError) as error:
                raise ValueError(f"`state` does not fit the network at {name!r}: {error}") from error
