"""InfoReg: slow down whoever is ahead, while encoders still gain information quickly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from counterpoise.core import ranks
from counterpoise.core.batch import Batch, Output
from counterpoise.core.declared import Bounds
from counterpoise.core.shards import is_shard, own
from counterpoise.core.tasks import Task
from counterpoise.engine.context import Context
from counterpoise.errors import unknown
from counterpoise.models.multimodal import MultimodalModel

from .multi_loss import MultiLoss

HISTORY = 10  # epochs of traces that the window test uses


class InfoReg(MultiLoss):
    """Joint and unimodal losses; an encoder that is ahead is held near its weights of the epoch's
    start.

    It acts in a modality's *prime learning window*, the epochs in which the information in its
    encoder (a proxy of the trace of the Fisher matrix) still grows quickly.

    Problem: in the first epochs the modalities that carry most information crowd out the others,
    which never catch up later.

    Formula:
        ``L = CE(f, y) + sum_m CE(u_m, y)``.

        The trace of an epoch is ``Tr_m = sum_W mean(sum_t (dL_t/dW)^2)`` over the weights ``W`` of
        encoder ``m`` that have two dimensions or more, and over the steps ``t``. ``A_m`` is its
        mean over the last 10 epochs (epochs before the first count as 0). The window is open in an
        epoch if ``(A_m - A_m') / A_m > threshold``, where ``A_m'`` is the value one epoch earlier;
        in the first epoch it is always open.

        While it is open, where ``d_m = S_m - mean_{k != m} S_k > 0``:
        ``g_m += b_m exp(tanh d_m) (theta_m - theta_m^e)``, with the encoder's weights ``theta_m^e``
        at the start of the epoch. ``S_m`` is the mean score of ``u_m`` in the batch (for classes,
        the probability of the true one).

    Args:
        strength: ``b``: a number for all, or modality -> number (those not named get 0 and are
            never held).
        threshold: how fast the trace must grow for the window to be open, relative to itself; with
            1 the method never acts.

    Cost: that of joint training, a copy of each encoder and, in the window, an addition to each of
    its gradients.

    State: ``history`` [10, M] (traces of epochs), ``gain`` [M] (what is compared with the
    threshold), ``trace`` [M] (of the current epoch). The copies of the encoders are made again at
    the start of each epoch and are not in the checkpoint.

    Missing: scores are compared pair by pair, on samples that have both modalities. A modality that
    is absent from a batch is not held in that step.

    Differs: the published code compares sums of scores over the batch, so that ``tanh`` saturates
    and the strength is almost constant; it counts the added term in the traces, and opens the
    window of every modality by the trace of audio. Here scores are means, traces leave the term
    out, and each modality has its own window. Its strengths for CREMA-D are 0.95 for audio and 0.1
    for vision; the default holds any modality that is ahead with the first of these. The mean over
    more than two modalities is ours, and so is the gap for regression, which is in standard
    deviations of the target.
    """

    name = "inforeg"
    summary = "hold back who is ahead in the prime learning window (InfoReg)"
    paper = (
        "Huang, Wei, Yang, Hu: Adaptive Unimodal Regulation for Balanced Multimodal Information "
        "Acquisition, CVPR 2025, arXiv 2503.18595"
    )
    unimodal = "slice"
    for_encoders = True

    history: Tensor
    gain: Tensor
    trace: Tensor

    def __init__(
        self,
        *,
        strength: Annotated[float | Mapping[str, float], Bounds(0)] = 0.95,
        threshold: Annotated[float, Bounds(0, 1)] = 0.05,
    ) -> None:
        super().__init__()
        self.strength = dict(strength) if isinstance(strength, Mapping) else strength
        self.threshold = threshold
        self.start = nn.Module()
        self._open: list[bool] = []

    def check(self, model: MultimodalModel, task: Task) -> None:
        super().check(model, task)
        for name in self.strength if isinstance(self.strength, dict) else ():
            if name not in model.modalities:
                raise unknown("modality in strength", name, model.modalities)

    def setup(self, ctx: Context) -> None:
        super().setup(ctx)
        names, device = ctx.model.modalities, ctx.model.device
        for k, name in enumerate(names):
            snapshot = nn.Module()
            for j, p in enumerate(ctx.model.encoder_parameters(name)):
                snapshot.register_buffer(str(j), p.detach().clone(), persistent=False)
            self.start.add_module(str(k), snapshot)
        self.register_buffer("history", torch.zeros(HISTORY, len(names), device=device))
        self.register_buffer("gain", torch.ones(len(names), device=device))
        self.register_buffer("trace", torch.zeros(len(names), device=device))

    def epoch_start(self, ctx: Context) -> None:
        for name, start in zip(ctx.model.modalities, self._list_starts(), strict=True):
            for copied, p in zip(start, ctx.model.encoder_parameters(name), strict=True):
                copied.copy_(p.detach())
        self.trace.zero_()
        self._open = (self.gain > self.threshold).tolist()

    def modulate(self, out: Output, batch: Batch, ctx: Context) -> None:
        names = ctx.model.modalities
        parts = [ctx.model.encoder_parameters(m) for m in names]
        self.trace += torch.stack([fisher_trace(part, self.trace) for part in parts])
        if not any(self._open):
            return
        each = self.strength if isinstance(self.strength, dict) else {}
        one = self.strength if not isinstance(self.strength, dict) else 0.0
        gap = lead(ctx.scores(out, batch))
        strength = torch.tensor([each.get(m, one) for m in names]).to(gap, non_blocking=True)
        hold = torch.where(gap > 0, strength * gap.tanh().exp(), torch.zeros_like(gap))
        for k, start in enumerate(self._list_starts()):
            if self._open[k]:
                pull_to(parts[k], start, hold[k])

    def epoch_end(self, ctx: Context) -> None:
        before = self.history.sum(0)
        self.history.copy_(self.history.roll(-1, 0))
        self.history[-1] = self.trace
        after = self.history.sum(0)
        self.gain.copy_((after - before) / after.clamp(min=torch.finfo(after.dtype).tiny))

    def _list_starts(self) -> list[list[Tensor]]:
        return [list(snapshot.buffers()) for snapshot in self.start.children()]


def lead(scores: Tensor) -> Tensor:
    """[M, M] -> [M]: ``S_m - mean_{k != m} S_k``, each pair on the samples that have both.

    0 where there is nothing to compare with.

    Args:
        scores: entry (m, k) is ``m``'s score on the samples shared with ``k``, NaN where ``m`` is
            absent (:meth:`counterpoise.Context.scores`).
    """
    here = ~scores.diagonal().isnan()
    pairs = here[:, None] & here & ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    gaps = torch.where(pairs, scores - scores.T, torch.zeros_like(scores))
    return gaps.sum(1) / pairs.sum(1).clamp(min=1)


def fisher_trace(parameters: Sequence[nn.Parameter], like: Tensor) -> Tensor:
    """[]: sum of the mean squared gradients of the weights with two dimensions or more."""
    found = [p.grad for p in parameters if p.grad is not None and p.dim() > 1]
    if not found:
        return like.new_zeros(())
    if not any(map(is_shard, found)):
        return torch.stack([g.square().mean() for g in found]).sum()
    # Of an encoder either all of these are split or none.
    return ranks.all_sum(torch.stack([own(g).square().sum() / g.numel() for g in found]).sum())


@torch.no_grad()
def pull_to(parameters: Sequence[nn.Parameter], start: Sequence[Tensor], hold: Tensor) -> None:
    """Add the gradient of ``hold / 2 * |theta - start|^2`` to that of the parameters with one."""
    pairs = [(p, s) for p, s in zip(parameters, start, strict=True) if p.grad is not None]
    if pairs:
        moved = torch._foreach_sub([own(p) for p, _ in pairs], [own(s) for _, s in pairs])
        torch._foreach_mul_(moved, hold)
        torch._foreach_add_([own(p.grad) for p, _ in pairs if p.grad is not None], moved)
