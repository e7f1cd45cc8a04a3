"""One model per modality, trained side by side and evaluated together."""

from __future__ import annotations

from torch import Tensor

from counterpoise.batch import Batch, Output
from counterpoise.context import Context
from counterpoise.fusion import Late, Sum
from counterpoise.method import Method


class Unimodal(Method):
    """One model per modality, each with its own head and its own loss.

    ``L = sum_m mean over samples with m of CE(u_m, y)``. No parameter is shared and no loss mixes
    modalities, so this is training each alone, in one run. All modalities together are predicted
    by the mean of their logits. It is the reference for every modality: what it can do when
    nothing else is there.
    """

    name = "unimodal"
    summary = "one model per modality, evaluated together: the reference"
    paper = "the reference of every paper in the field"
    fusions = (Late, Sum)
    policies = ("slice", "ablate")

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        used = {m: mask for m, mask in batch.present.items() if ctx.any(mask)}
        return {m: ctx.loss(out.unimodal[m], batch, mask) for m, mask in used.items()}
