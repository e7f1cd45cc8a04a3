"""Models as people have them, to be wrapped."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import counterpoise as cp
from counterpoise import wrap

ENCODERS = {"a": "first", "b": "second"}


def encoder(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, width))


class Plain(nn.Module):
    """Side by side, the second first; answers by a dict."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.first, self.second = encoder(4, 6), encoder(5, 3)
        self.head = nn.Linear(9, 3, bias=bias)

    def join(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y, x], 1)

    def forward(self, one: Tensor, two: Tensor) -> dict[str, Tensor]:
        joined = self.join(self.first(one), self.second(two))
        return {"joined": joined, "logits": self.head(joined)}


class Gate(nn.Module):
    """Projections, one the other's gate, a bare parameter and a buffer; inputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = encoder(4, 6), encoder(5, 3)
        self.maps = nn.ModuleDict({"x": nn.Linear(6, 7), "y": nn.Linear(3, 7)})
        self.norm, self.dropout = nn.BatchNorm1d(7), nn.Dropout(0.0)
        self.token = nn.Parameter(torch.full((7,), 0.1))
        self.register_buffer("scale", torch.tensor(2.0))
        self.classifier = nn.Linear(7, 3)

    def forward(self, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        assert len(a) == b.size(0) and a.shape[0] == b.shape[0] and a.device == b.device
        x, y = self.maps["x"](self.first(a.float())), self.maps["y"](self.second(b))
        h = self.dropout(self.norm(x.sigmoid() * y + self.token)) * self.scale
        return h, self.classifier(h)


def made(kind: type[nn.Module], *arguments: Any, **options: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(*arguments, **options)


def head_of(model: nn.Module) -> str:
    return "classifier" if isinstance(model, Gate) else "head"


def wrapped(model: nn.Module, **options: Any) -> cp.MultimodalModel:
    return wrap(model, ENCODERS, head_of(model), **options)


def own_logits(model: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    return model(a=a, b=b)[1] if isinstance(model, Gate) else model(a, b)["logits"]


class Pooling(nn.Module):
    """Convolutions whose maps forward pools, and inputs in one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.nets = nn.ModuleDict({"a": nn.Conv1d(2, 6, 3), "b": nn.Conv1d(2, 5, 3)})
        self.bias = nn.Parameter(torch.zeros(11))
        self.fuse = nn.Sequential(nn.Linear(11, 4), nn.ReLU(), nn.Linear(4, 3))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.end(self.nets["a"](inputs["a"]).mean(2), self.nets["b"](inputs["b"]).mean(2))

    def end(self, x: Tensor, y: Tensor) -> Tensor:
        return self.fuse(torch.cat([x, y], 1) + self.bias)
