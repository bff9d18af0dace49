"""A small transformer and a small ResNet, truly trained with torch, and what was done with them afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Arrays = dict[str, np.ndarray[Any, Any]]
Loss = Callable[[nn.Module], Tensor]
WORDS, WIDTH, RANK = 120, 48, 4


class Block(nn.Module):
    """Attention and an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.norm(x + self.down(torch.relu(self.up(x))))


class Transformer(nn.Module):
    """Two blocks over an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Residual(nn.Module):
    """Two convolutions and what goes past them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(24, 24, 3, padding=1, bias=False) for _ in range(2))
        self.bn1, self.bn2 = nn.BatchNorm2d(24), nn.BatchNorm2d(24)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class ResNet(nn.Module):
    """Two residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, padding=1)
        self.layer1 = nn.Sequential(Residual(), Residual())
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer1(torch.relu(self.conv1(x))).mean(dim=(2, 3)))


class _Adapted(nn.Module):
    """A weight with a low-rank addition (Hu et al. 2021)."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, weight.shape[1]) * 0.02)
        self.up = nn.Parameter(torch.zeros(weight.shape[0], RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def _words() -> Loss:
    generator = torch.Generator().manual_seed(1)
    order = torch.randperm(WORDS, generator=generator)

    def loss(model: nn.Module) -> Tensor:
        x = torch.randint(0, WORDS, (8, 10), generator=generator)
        return functional.cross_entropy(model(x).flatten(0, 1), order[x].flatten())

    return loss


def _pictures() -> Loss:
    generator = torch.Generator().manual_seed(2)
    kinds = torch.randn(10, 3, 8, 8, generator=generator)

    def loss(model: nn.Module) -> Tensor:
        label = torch.randint(0, 10, (16,), generator=generator)
        noise = torch.randn(16, 3, 8, 8, generator=generator)
        return functional.cross_entropy(model(kinds[label] + noise), label)

    return loss


def _train(
    model: nn.Module, loss: Loss, steps: int, rate: float, parameters: Iterable[nn.Parameter] | None = None
) -> nn.Module:
    optimizer = torch.optim.Adam(list(parameters if parameters is not None else model.parameters()), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    return model


def _arrays(model: nn.Module) -> Arrays:
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


@cache
def transformers() -> dict[str, Arrays]:
    """``base``, then each trained on from it: ``full``, ``head`` alone, ``LoRA`` in the MLPs and merged."""
    from torch.nn.utils import parametrize

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        loss = _words()
        base = _train(Transformer(), loss, 60, 2e-3)
        found = {"base": _arrays(base)}
        found["full"] = _arrays(_train(copy.deepcopy(base), loss, 25, 1e-4))
        head = copy.deepcopy(base)
        found["head"] = _arrays(_train(head, loss, 15, 1e-3, head.head.parameters()))
        adapted = copy.deepcopy(base)
        linears = [linear for layer in adapted.layers for linear in (layer.up, layer.down)]
        factors: list[nn.Parameter] = []
        for linear in linears:
            addition = _Adapted(linear.weight)
            parametrize.register_parametrization(linear, "weight", addition)
            factors += [addition.down, addition.up]
        _train(adapted, loss, 40, 5e-3, factors)
        for linear in linears:
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
        found["LoRA"] = _arrays(adapted)
        return found
    finally:
        torch.set_num_threads(threads)


@cache
def resnets() -> dict[str, Arrays]:
    """``base``, ``full`` trained on from it, and ``new head`` for 7 classes with the rest frozen."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(3)
        loss = _pictures()
        base = _train(ResNet(), loss, 30, 2e-3)
        full = _train(copy.deepcopy(base), loss, 15, 2e-4)
        head = copy.deepcopy(base)
        head.fc = nn.Linear(24, 7)
        return {"base": _arrays(base), "full": _arrays(full), "new head": _arrays(head)}
    finally:
        torch.set_num_threads(threads)
