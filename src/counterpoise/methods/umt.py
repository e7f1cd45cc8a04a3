"""UMT: joint training that keeps each encoder near a teacher trained alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.tasks import Task
from counterpoise.engine.context import Context
from counterpoise.engine.loop import train_beside
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import Fusion, Late, Shared
from counterpoise.models.multimodal import MultimodalModel

from .unimodal import Unimodal

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on


class UMT(Method):
    """Joint training that draws each encoder's features to those of a unimodal teacher (UMT).

    Problem: joint training under-learns the features of each modality; a model trained on that
    modality alone has them.

    Formula:
        Before the first epoch, train a teacher for each modality: a copy of the initial encoder,
        trained alone with its own linear head for ``teacher_epochs``, then frozen. Then
        ``L = CE(f, y) + weight * sum_m D_m``, where ``D_m`` is the mean over samples that have
        ``m`` and over feature dimensions of ``(z_m - z_m^teacher)^2``, for sequences, of the mean
        of their steps. The fused head predicts.

        The paper's rule: if a linear probe on the teachers' features is not clearly better than
        the teachers' mean (``ume``), use that; otherwise UMT.

    Args:
        weight: ``lambda``; at 0 this is ``joint``, to the bit.
        teacher_epochs: how long the teachers are trained; ``None`` takes as long as the run.

    Cost: the second forward pass is the teacher's and has no backward pass. Before that, training
    the teachers takes as long as a run of ``unimodal``. All encoders are in memory twice.

    State: ``teachers.*`` (encoders and heads, always in evaluation mode).

    Missing: teachers learn from, and features are compared on, the samples that have the modality.

    Differs: a good ``weight`` depends on the scale of the features; the default is that of a public
    port. In that port the teachers are never put into evaluation mode, so BatchNorm and dropout
    stay active in them and their statistics drift; here they do not change at all.
    """

    name = "umt"
    summary = "draw encoders to teachers trained on one modality (UMT)"
    needs_whole = "it trains copies of them"
    paper = (
        "Du, Li, Liu, Wen, Hua, Wang, Zhao: Improving Multi-Modal Learning with Uni-Modal "
        "Teachers, 2021, arXiv 2106.11059; Du et al., ICML 2023, arXiv 2305.01233"
    )
    passes = (2, 1)
    for_encoders = True
    further = 1.0

    teachers: MultimodalModel

    def __init__(
        self,
        *,
        weight: Annotated[float, Bounds(0)] = 10.0,
        teacher_epochs: Annotated[int | None, Bounds(0)] = None,
    ) -> None:
        super().__init__()
        self.weight, self.teacher_epochs = weight, teacher_epochs

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
        if isinstance(model.fusion, Shared) and model.fusion.maps:
            raise InputError(
                "method 'umt' compares features before the fusion, and a shared fusion maps "
                "encoders of different widths first; give all encoders one width"
            )

    def setup(self, ctx: Context) -> None:
        encoders = {m: copy.deepcopy(encoder) for m, encoder in ctx.model.encoders.items()}
        teachers = MultimodalModel(encoders, _Heads(ctx.model.fusion), ctx.model.precision)
        self.teachers = teachers.to(ctx.model.device).eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if "teachers" in self._modules:
            self.teachers.eval()
        return self

    def epoch_start(self, ctx: Context) -> None:
        if ctx.epoch > 0:
            return
        pupils = copy.deepcopy(self.teachers).requires_grad_(True)
        own, theirs = pupils.encoders.parameters(), ctx.model.encoders.parameters()
        for p, original in zip(own, theirs, strict=True):
            p.requires_grad_(original.requires_grad)
        epochs = ctx.epochs if self.teacher_epochs is None else self.teacher_epochs
        train_beside(Unimodal(), ctx, pupils, epochs)
        self.teachers.load_state_dict(pupils.state_dict())

    def losses(self, out: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        losses = super().losses(out, batch, ctx)
        with torch.no_grad():
            taught = self.teachers.fusion.pooled(self.teachers.encode(batch))
        for name, mask in batch.present.items():
            if ctx.any(mask):
                distance = (out.features[name] - taught[name]).square().mean(1)
                losses[f"{name} to its teacher"] = self.weight * ctx.mean(distance, mask)
        return losses


class _Heads(Late):
    """A classifier a modality, for what the encoders of another fusion give."""

    def __init__(self, fusion: Fusion) -> None:
        super().__init__(fusion.widths, fusion.outputs)
        self.steps = fusion.steps

    def forward(self, features: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Output:
        return super().forward(self.pooled(features), present)
