"""Models of one's own, wrapped, compute the same without a look at masks, and can be exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from folded import check_each
from own_models import Gate, Plain, made, wrapped
from torch import Tensor, nn
from toy import toy_batch, toy_data

from counterpoise import Batch, MultimodalModel
from counterpoise.core.presence import dense, known

NAMES = ("a", "b")
SUBSETS = (None, ("a",), ("b",), NAMES)
Masks = dict[str, Tensor]


class Fixed(Gate):
    """:class:`Gate` without ``len``, which fixes the number of rows."""

    def forward(self, b: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.maps["x"](self.first(a)), self.maps["y"](self.second(b))
        h = self.dropout(self.norm(x.sigmoid() * y + self.token)) * self.scale
        return h, self.classifier(h)


class Logits(nn.Module):
    """A model with masks as inputs, or of a fixed subset."""

    def __init__(self, model: MultimodalModel, subset: Sequence[str] | None) -> None:
        super().__init__()
        self.model, self.subset = model, subset

    def forward(self, inputs: dict[str, Tensor], masks: Masks) -> Tensor:
        size = next(iter(inputs.values())).shape[0]
        rows = torch.arange(size)
        if self.subset is not None:
            masks = {m: known(rows, m in self.subset) for m in NAMES}
        found: Tensor = self.model(Batch(dict(inputs), masks, torch.zeros(size), rows)).logits
        return found


def samples(rows: int, subset: Sequence[str] | None) -> tuple[dict[str, Any], Masks]:
    batch = toy_batch(toy_data(missing=0.4), rows)
    assert rows < 7 or not any(bool(mask.all()) for mask in batch.present.values())
    masks = {m: torch.full((rows,), m in subset) for m in NAMES} if subset else batch.present
    return {m: batch.inputs[m] for m in subset or NAMES}, masks


def build(kind: type[nn.Module], subset: Sequence[str] | None) -> Logits:
    return Logits(wrapped(made(kind)), subset).eval()


@torch.no_grad()
def check(kind: type[nn.Module], subset: Sequence[str] | None, export: bool) -> None:
    module: Any = build(kind, subset)
    model = module.model
    if export:
        inputs, masks = samples(7, subset)
        masks = {} if subset else masks
        size = {0: torch.export.Dim("batch")}
        shapes = dict.fromkeys(inputs, size), dict.fromkeys(masks, size)
        with dense():
            module = torch.export.export(
                module, (inputs, masks), dynamic_shapes=shapes, strict=False
            ).module()
    for rows in (1, 7):
        inputs, masks = samples(rows, subset)
        wanted = model(Batch(inputs, masks, torch.zeros(rows))).logits
        with dense():
            found = module(inputs, {} if subset else masks)
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_wrapped_models_are_the_same_without_a_look_at_masks() -> None:
    check_each([(kind, s, False) for kind in (Plain, Gate) for s in SUBSETS], check)


@pytest.mark.slow
def test_wrapped_models_export() -> None:
    check_each([(kind, s, True) for kind in (Plain, Fixed) for s in SUBSETS], check)
