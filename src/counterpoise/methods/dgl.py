"""DGL: the fused loss trains the fusion only, unimodal losses train the encoders only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from torch import Tensor, nn
from torch.func import functional_call

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.models.multimodal import MultimodalModel


class DGL(Method):
    """The fused loss trains the fusion only; the encoders learn from unimodal losses only.

    The trivial baseline to compare it with is multi-loss, in which the unimodal losses also train
    the fusion and the fused loss also trains the encoders. Regression is refused: where the fused
    value is a sum, the encoders would drive each part to the target while the fusion drives the sum
    to it, and the two never settle.

    Problem: the fused loss reaches an encoder through a fusion that already relies on the others,
    which damps the encoder's gradient; the unimodal losses disturb the fusion.

    Formula:
        ``f = F(sg z_1, ..., sg z_M)``, ``L_J = CE(f, y)``: its gradient reaches the fusion ``F``
        only.

        ``u_m = F(0, ..., z_m, ..., 0)`` with the parameters of ``F`` held constant,
        ``L_U = alpha * sum_m CE(u_m, y)``: its gradient reaches the encoders only.

        One step on ``L_J + L_U``.

    Args:
        alpha: weight of the unimodal losses; 0 leaves the encoders as they are.

    Cost: that of joint training; the fusion alone runs ``M + 2`` times in a step.

    State: none.

    Missing: a modality's loss is a mean over the samples that have it, and absent features are
    zeros in the fused loss. The fusion is trained on samples as they come, complete or not, and
    used for all predictions.

    Differs: the published code runs two backward passes and drops the fusion's gradient in
    between; holding its parameters constant gives the same gradients in one. It clips the gradient
    norm to 40 (``max_norm`` of the run); ``alpha`` is 4 to 5 on CREMA-D, 2 to 3 on Kinetics-Sounds.
    """

    name = "dgl"
    summary = "fusion and encoders learn from separate losses (DGL)"
    paper = (
        "Wei et al.: Boosting Multimodal Learning via Disentangled Gradient Learning, ICCV 2025, "
        "arXiv 2507.10213"
    )
    unimodal = "ablate"
    for_encoders = True
    policies = ("ablate",)
    tasks = (Classification, MultiLabel)

    def __init__(self, *, alpha: Annotated[float, Bounds(0)] = 4.0) -> None:
        super().__init__()
        self.alpha = alpha

    def transform(self, batch: Batch, ctx: Context) -> Batch:
        # Encoded here, once, so that ``losses`` has the features before any part of the fusion.
        batch = batch.among(ctx.model.modalities)
        return replace(batch, features=ctx.model.encode(batch))

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        features = ctx.model.encode(batch)
        apart = {m: z.detach() for m, z in features.items()}
        losses = {"fused": ctx.loss(ctx.model.fuse(apart, batch.present).logits, batch)}
        here = [m for m, mask in batch.present.items() if self.alpha > 0 and ctx.any(mask)]
        for name, logits in unimodal_logits(ctx.model, features, batch.present, here):
            loss = ctx.loss(logits, batch, batch.present[name])
            losses[f"{name} alone"] = self.alpha * loss
        return losses


class _Alone(nn.Module):
    """A fusion's unimodal logits, as a module whose parameters can be replaced for a call."""

    def __init__(self, model: MultimodalModel) -> None:
        super().__init__()
        self.fusion, self.fuse = model.fusion, model.fuse

    def forward(
        self, features: Mapping[str, Tensor], present: Mapping[str, Tensor], names: Sequence[str]
    ) -> list[tuple[str, Tensor]]:
        out = self.fuse(features, present)
        return [(name, out.unimodal[name]) for name in names]


def unimodal_logits(
    model: MultimodalModel,
    features: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    names: Sequence[str],
) -> list[tuple[str, Tensor]]:
    """The unimodal logits [B, K] of some modalities, with no gradient for the fusion itself."""
    alone = _Alone(model)
    constants = {name: p.detach() for name, p in alone.named_parameters()}
    found: list[tuple[str, Tensor]] = functional_call(alone, constants, (features, present, names))
    return found
