"""Fusions, encoders and their inputs for the tests of models that are exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, combinations
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise import FUSIONS
from counterpoise.core.batch import Input, map_tensors
from counterpoise.core.presence import dense, known
from counterpoise.encoders import (
    GRU,
    LSTM,
    MLP,
    CNN1d,
    CNN2d,
    ResNet18,
    Standardize,
    Steps,
    Tokens,
    Transformer,
)
from counterpoise.encoders.adapter import feed
from counterpoise.fusion import Fusion

WIDTHS = {"a": 3, "b": 5, "c": 4}
K, T, SIZES = 4, 5, (1, 7)
SMALL: dict[str, dict[str, Any]] = {
    "bottleneck": {"heads": 2, "length": 16, "fuse_at": 1},
    "early-lstm": {"hidden": 4},
    "memory-fusion": {"memory": 3, "head": 5, "hidden": 4, "attention": 8, "proposal": 8},
    "boosted": {"layers": 3, "hidden": 6},
}
# Fusion and policy of unimodal logits: all that there are.
FUSED = [(name, policy) for name, kind in FUSIONS.items() for policy in kind.policies]
SUBSETS = list(chain.from_iterable(combinations(WIDTHS, k) for k in range(len(WIDTHS) + 1)))


def fusion_of(name: str, policy: str, widths: Mapping[str, int] = WIDTHS) -> Fusion:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        fusion = FUSIONS[name](dict(widths), K, policy, **SMALL.get(name, {}))
        if name == "boosted":
            fusion.grow("b")
        if name == "mmtm":
            fusion.feature_mean.normal_()
        return fusion.eval()


def mixed_masks(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """All subsets in turn, from one with everything on; with 7 rows all but the empty one."""
    numbers = (7 - torch.arange(rows) + seed) % 8
    return {m: (numbers >> k & 1).bool() for k, m in enumerate(WIDTHS)}


def some_features(fusion: Fusion, masks: Mapping[str, Tensor], seed: int = 0) -> dict[str, Tensor]:
    """As encoders give them: zero rows where absent; sequences have padding in front."""
    source = torch.Generator().manual_seed(seed)
    found = {}
    for name, width in fusion.widths.items():
        rows = len(masks[name])
        shape = (rows, T, width) if fusion.steps else (rows, width)
        values = torch.randn(shape, generator=source) * masks[name].view(-1, *[1] * (len(shape) - 1))
        if fusion.steps:
            values[rows // 2, :2] = 0
        found[name] = values
    return found


class Fused(nn.Module):
    """A fusion to be exported: features and masks by modality -> logits, and each one's own.

    Args:
        fusion: what is exported.
        subset: the modalities that every row has, while no row has the others; ``None``: masks
            are inputs.
    """

    def __init__(self, fusion: Fusion, subset: Sequence[str] | None = None) -> None:
        super().__init__()
        self.fusion, self.subset = fusion, subset

    def forward(
        self, features: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        with dense():
            if self.subset is not None:
                like = next(iter(features.values()))[..., 0]
                like = like[:, 0] if like.dim() > 1 else like
                features, masks = self.complete(features, like)
            out = self.fusion(features, masks)
            wanted = self.fusion.widths if self.subset is None else self.subset
            return out.logits, {m: out.unimodal[m] for m in wanted}

    def complete(
        self, features: Mapping[str, Tensor], like: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        assert self.subset is not None
        steps = (1,) if self.fusion.steps else ()
        whole = {
            m: features[m] if m in self.subset else like.new_zeros(like.shape[0], *steps, w)
            for m, w in self.fusion.widths.items()
        }
        return whole, {m: known(like, m in self.subset) for m in self.fusion.widths}


class Encoded(nn.Module):
    """An encoder to be exported."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, inputs: Input) -> Tensor:
        with dense():
            found: Tensor = feed(self.encoder, inputs)
        return found


def numbers(*shape: int) -> Callable[[int], Tensor]:
    return lambda rows: torch.randn(rows, *shape, generator=torch.Generator().manual_seed(rows))


def sequences(channels: int = 3, steps: int = 9) -> Callable[[int], Tensor]:
    """With zeros within, zeros at the end, and one that is nothing but zeros."""

    def make(rows: int) -> Tensor:
        found = numbers(channels, steps)(rows)
        for row in range(rows):
            found[row, :, steps - row % (steps + 1) :] = 0
        found[0, :, 2] = 0
        return found

    return make


def pixels(*shape: int) -> Callable[[int], Tensor]:
    source = torch.Generator().manual_seed(0)
    return lambda rows: torch.randint(
        0, 256, (rows, *shape), dtype=torch.uint8, generator=source.manual_seed(rows)
    )


def tokens(masked: bool = True, length: int = 7) -> Callable[[int], Input]:
    """Token numbers, with gaps in the masks and one row without any token."""

    def make(rows: int) -> Input:
        source = torch.Generator().manual_seed(rows)
        ids = torch.randint(2, 20, (rows, length), generator=source)
        mask = (torch.arange(length) < length - torch.arange(rows)[:, None] % (length + 1)).long()
        mask[0, 2] = 0
        return {"input_ids": ids, "attention_mask": mask} if masked else ids * mask

    return make


def standardised(padding: bool, inner: bool) -> nn.Module:
    mean, std = torch.tensor([[0.5], [-1.0], [0.0]]), torch.tensor([[2.0], [0.5], [0.0]])
    return Standardize(mean, std, padding, inner)


Case = tuple[Callable[[], nn.Module], Callable[[int], Input]]
ENCODED: dict[str, Case] = {
    "mlp": (lambda: MLP(5, 8), numbers(5)),
    "cnn1d": (lambda: CNN1d(3, 8), sequences()),
    "cnn2d": (lambda: CNN2d(None, 8), numbers(12, 10)),
    "cnn2d, colours": (lambda: CNN2d(3, 8), numbers(3, 12, 10)),
    "resnet18": (lambda: ResNet18(3), pixels(3, 40, 36)),
    "resnet18, crop": (lambda: ResNet18(3, crop=32, white=2.0), numbers(3, 40, 36)),
    "resnet18, frames": (lambda: ResNet18(3, steps=True), pixels(2, 3, 32, 40)),
    "resnet18, spectrograms": (lambda: ResNet18(1), numbers(40, 33)),
    "steps": (Steps, sequences()),
    "standardize": (lambda: standardised(False, True), sequences()),
    "standardize, padding": (lambda: standardised(True, True), sequences()),
    "standardize, padding at the end": (lambda: standardised(True, False), sequences()),
    "transformer": (lambda: Transformer(3, 9, 8), sequences()),
    "transformer, steps": (lambda: Transformer(3, 9, 8, steps=True), sequences()),
    "transformer, no padding": (lambda: Transformer(3, 9, 8, padding=False), sequences()),
    "transformer, sinusoidal": (
        lambda: Transformer(3, 5, 8, positions="sinusoidal", pool="max"),
        sequences(),
    ),
    "transformer, last": (lambda: Transformer(3, 9, 8, pool="last"), sequences()),
    "tokens": (lambda: Tokens(7, 8, vocabulary=20), tokens()),
    "tokens, bag": (lambda: Tokens(7, 8, vocabulary=20, layers=0), tokens()),
    "tokens, no mask": (lambda: Tokens(7, 8, vocabulary=15, pool="first"), tokens(masked=False)),
    "tokens, steps": (lambda: Tokens(7, 8, vocabulary=20, layers=0, steps=True), tokens()),
}
for kind in (LSTM, GRU):
    for both in (False, True):
        for layers in (1, 2):
            for how in ({}, {"pool": "mean"}, {"steps": True}, {"padding": False}):
                label = f"{kind.name}, both={both}, layers={layers}, {how}"
                options: dict[str, Any] = {"bidirectional": both, "layers": layers, **how}
                ENCODED[label] = (lambda k=kind, o=options: k(3, 4, **o), sequences())
                more = options | {"vocabulary": 20}
                ENCODED[f"{label}, tokens"] = (lambda k=kind, o=more: k(4, 4, **o), tokens())


def encoder_of(case: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        encoder = ENCODED[case][0]()
        for module in encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
        return encoder.eval()


def first_rows(inputs: Any, rows: int) -> Any:
    return map_tensors(inputs, lambda x: x[:rows])
