"""What a model answers to inputs that are drawn alike everywhere: whether it is the one packed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Input
from counterpoise.core.device import float32
from counterpoise.data.cells import Spec
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.models.multimodal import MultimodalModel

ROWS = 2
# Of the largest logit: what other processors and versions of PyTorch change, and no other part.
NEAR = {"fp32": 1e-3, "bf16": 0.1}

Probe = list[list[float | None]]


def draw_samples(spec: Spec) -> Input:
    """A few samples of anything, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    found: dict[str, Tensor] = {}
    for key, (name, shape) in spec.items():
        dtype = getattr(torch, name)
        if name.startswith("int"):  # tokens: every vocabulary has this one
            found[key] = torch.ones(ROWS, *shape, dtype=dtype)
        elif dtype.is_floating_point:
            found[key] = torch.rand(ROWS, *shape, generator=generator).to(dtype)
        else:
            found[key] = torch.randint(0, 256, (ROWS, *shape), generator=generator).to(dtype)
    return found[""] if set(found) == {""} else found


@float32()
def ask(model: MultimodalModel, method: Method, specs: Mapping[str, Spec]) -> Tensor:
    """[ROWS, K], the logits of a model in evaluation mode for samples that are drawn."""
    inputs = {m: draw_samples(specs[m]) for m in model.modalities}
    batch = Batch(inputs, target=torch.zeros(ROWS)).to(model.device)
    with torch.no_grad():
        return method.predict(model, batch).float().cpu()


def check_answers(wanted: Probe, model: MultimodalModel, method: Method, found: Tensor) -> None:
    """Raise :class:`InputError` unless a model answers as the one that was packed.

    Args:
        wanted: what that gave; ``None`` where it was not finite.
        model: the one that was opened.
        method: that predicts.
        found: what they give.
    """
    pairs = [
        (a, b)
        for row, other in zip(wanted, found.tolist(), strict=True)
        for a, b in zip(row, other, strict=True)
        if a is not None
    ]
    far = max((abs(a - b) for a, b in pairs), default=0.0)
    most = max((abs(a) for a, _ in pairs), default=1.0)
    if not far <= NEAR[model.precision] * max(1.0, most):  # NaN is far, too
        raise InputError(
            f"it answers otherwise than when it was packed (a logit differs by {far:.3g}), so a "
            "part that was passed is not the one that was packed, or the method "
            f"({method.label()}) is another"
        )
