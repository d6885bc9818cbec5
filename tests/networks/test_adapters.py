from __future__ import annotations

import pytest
import torch
from torch import nn

from torchmetrics_sess.networks.adapters import adapter_state, add_adapters, merge_adapters


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, stride=2)
        self.head = nn.Sequential(nn.Linear(6, 5), nn.GELU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.patches(x).flatten(2).mT)
        return out


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def small() -> Small:
    torch.manual_seed(0)
    return Small()


def test_an_adapter_that_learned_nothing_changes_nothing(images: torch.Tensor) -> None:
    network = small()
    before = network(images)
    add_adapters(network, ["patches", "head.0"], rank=2)
    assert torch.allclose(network(images), before, atol=1e-6)


def test_only_adapters_learn(images: torch.Tensor) -> None:
    network = small()
    add_adapters(network, ["head.0"], rank=2)
    network(images).sum().backward()
    assert {name for name, p in network.named_parameters() if p.grad is not None} == {"head.0.down", "head.0.up"}


def test_merged_adapters_give_what_adapters_give(images: torch.Tensor) -> None:
    network = small()
    add_adapters(network, ["patches", "head.0"], rank=2)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(".up"):
                value.normal_()
    merged = small()
    merge_adapters(merged, adapter_state(network))
    assert not torch.allclose(merged(images), small()(images), atol=1e-2)
    assert torch.allclose(merged(images), network(images), atol=1e-5)


def test_a_state_of_another_network_is_refused() -> None:
    state = {"head.7.down": torch.zeros(2, 6), "head.7.up": torch.zeros(5, 2)}
    with pytest.raises(ValueError, match=r"`state` does not fit the network at 'head\.7'"):
        merge_adapters(small(), state)
    with pytest.raises(ValueError, match=r"`state` does not fit the network at 'head\.0'"):
        merge_adapters(small(), {"head.0.down": torch.zeros(2, 9), "head.0.up": torch.zeros(5, 2)})


def test_only_layers_with_weights_can_be_adapted() -> None:
    with pytest.raises(TypeError, match=r"linear layers or convolutions, got 'head\.1'"):
        add_adapters(small(), ["head.1"], rank=2)
