"""One model per modality, trained side by side and evaluated together."""

from __future__ import annotations

from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Late, Sum


class Unimodal(Method):
    """One model per modality, trained side by side and evaluated together.

    This is the reference of the co-learning verdict: what each modality can do on its own.

    Formula:
        ``L = sum_m L_m``, ``L_m`` the mean of ``CE(u_m, y)`` over the samples that have ``m``. No
        parameter is shared and no loss mixes modalities, so this is training each alone, in one
        run. The prediction from several modalities is the mean of their logits, ``f = mean_m u_m``.

        With gradient clipping (``max_norm``) the norm is taken over all of them, which ties them;
        leave it off for a clean reference.

    Cost: that of joint training.

    State: none.

    Missing: each model learns from the samples that have its modality; the mean is over the present
    modalities.
    """

    name = "unimodal"
    summary = "one model per modality, evaluated together: the reference"
    paper = "the reference of every paper in the field"
    fusions = (Late, Sum)
    policies = ("slice", "ablate")

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        used = {m: mask for m, mask in batch.present.items() if ctx.any(mask)}
        return {m: ctx.loss(out.unimodal[m], batch, mask) for m, mask in used.items()}
