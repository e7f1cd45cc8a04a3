"""MMCosine: a head that sees the directions of features and class weights only."""

from __future__ import annotations

from typing import Annotated, cast

from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.fusion import Cosine


class MMCosine(Method):
    """Joint training of a head of scaled cosines, one for each modality and class (MMCosine).

    Problem: the modality with the longest features, or the longest columns in the head, determines
    the logits, whatever it knows. Here only directions count, and every modality has the same
    range.

    Formula:
        ``u_mc = scale * <W_mc, z_m> / (|W_mc| |z_m|)``, without bias; ``f = sum_m u_m``;
        ``L = CE(f, y)``. Prediction uses the same formula. The gradient that reaches ``z_m`` is
        orthogonal to it.

    Args:
        scale: factor ``s`` on the cosines of every modality, whose range is then ``-s .. s``. The
            published code takes 10, another benchmark 15.

    Cost: that of joint training, plus one division for each feature and weight.

    State: none; the scale is a buffer of the fusion and belongs to the model's weights.

    Missing: ``f = (M / A) sum_m u_m`` over the ``A`` modalities that are present, so that the range
    of the logits is that of a complete sample.

    Differs: the published code can add a supervised contrastive loss, with weight 0 by default;
    it is left out. The rescaling of incomplete samples is ours, and so is any number of
    modalities.
    """

    name = "mmcosine"
    summary = "joint, with a head that sees directions only (MMCosine)"
    paper = (
        "Xu, Feng, Zhang, Hu: MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual "
        "Fine-Grained Learning, ICASSP 2023, arXiv 2303.05338"
    )
    fusions = (Cosine,)
    policies = ("slice", "ablate")
    tasks = (Classification, MultiLabel)

    def __init__(self, *, scale: Annotated[float, Bounds(1e-6)] = 10.0) -> None:
        super().__init__()
        self.scale = scale

    def setup(self, ctx: Context) -> None:
        cast(Cosine, ctx.model.fusion).scale.fill_(self.scale)
