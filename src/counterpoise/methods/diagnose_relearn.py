"""Diagnosing & Re-learning: soft re-initialisation by how far each encoder has overfitted."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from counterpoise.core import ranks
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import check_choice, check_number

from .measures import cluster_purity


class DiagnoseRelearn(Method):
    """Joint training that now and then pulls overfitted encoders back to their start (D&R).

    Problem: one encoder overfits while another has hardly begun. How well the features of an
    encoder separate the classes, on data it trains on and on data it does not, tells them apart; a
    low score alone is not held against a modality, which may simply be poor.

    Formula:
        After epoch ``e`` with ``e mod every = 0`` (never the first, nor the last, after which
        nothing would be learnt again), at most ``times`` times, for each modality on its own:
        features of the training and of the validation split, scaled to [-1, 1] per dimension,
        clustered by k-means (best of 10 starts) into as many clusters as classes; purity ``P =
        (1/N) sum_cluster max_class count``; ``g = |P_train - P_val|``, ``a = tanh(strength * g)``;
        ``theta := a theta_0 + (1 - a) theta`` for every parameter of the encoder. The head is left
        alone.

    Args:
        strength: ``lambda``.
        every: epochs between re-initialisations; ``None`` takes 2/9 of the run (the paper: 20 of
        90).
        times: how many at most.
        least: fewest samples per class, in each split, that a modality is judged by; one with
            fewer is left alone, and a warning says so: the clusters of so few are pure by chance.
        batch_norm: running statistics after one: ``"recompute"`` in a pass over the training data,
            ``"interpolate"`` as the weights, or ``"keep"`` (the published code).
        moments: the optimiser's state of the encoder: ``"scale"`` by ``1 - a``, ``"reset"``, or
            ``"keep"`` (the published code).

    Cost: each diagnosis adds one pass over training and validation data and two clusterings for
    each modality.

    State: ``start.*`` (the encoders' first weights), ``done`` (re-initialisations so far),
    ``purities`` [M, 2] (train, validation) and ``pulls`` [M] (``a``) of the last one.

    Missing: a modality is judged by the samples that have it.

    Differs: the published code interpolates parameters only, so BatchNorm's running statistics and
    the momentum still belong to the old weights. It diagnoses on features from the shuffled,
    augmented training loader and, in some ports, on the test set; here both are the plain splits,
    and the test split is out of reach. The gap is an absolute value, as in the paper: an encoder
    whose *validation* purity is the higher one is pulled too.
    """

    name = "diagnose-relearn"
    summary = "pull overfitted encoders back to their start, softly (D&R)"
    paper = "Wei, Li, Feng, Hu: Diagnosing and Re-learning, ECCV 2024, arXiv 2407.09705"
    tasks = (Classification,)

    done: Tensor
    purities: Tensor
    pulls: Tensor

    def __init__(
        self,
        *,
        strength: float = 3.0,
        every: int | None = None,
        times: int = 3,
        least: int = 5,
        batch_norm: str = "recompute",
        moments: str = "scale",
    ) -> None:
        super().__init__()
        check_number("strength", strength, 0)
        if every is not None:
            check_number("every", every, 1, whole=True)
        check_number("times", times, 0, whole=True)
        check_number("least", least, 0, whole=True)
        check_choice("batch_norm", batch_norm, ("recompute", "interpolate", "keep"))
        check_choice("moments", moments, ("scale", "reset", "keep"))
        self.strength, self.every, self.times, self.least = strength, every, times, least
        self.batch_norm, self.moments = batch_norm, moments
        self.start = nn.Module()

    def setup(self, ctx: Context) -> None:
        for k, encoder in enumerate(ctx.model.encoders.values()):
            snapshot = nn.Module()
            for j, tensor in enumerate(_tensors(encoder)):
                snapshot.register_buffer(str(j), tensor.detach().clone())
            self.start.add_module(str(k), snapshot)
        count = len(ctx.model.encoders)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_buffer("purities", torch.full((count, 2), torch.nan))
        self.register_buffer("pulls", torch.zeros(count))

    def epoch_end(self, ctx: Context) -> None:
        every = self.every or max(1, round(ctx.epochs * 20 / 90))
        if ctx.epoch in (0, ctx.epochs - 1) or ctx.epoch % every or int(self.done) >= self.times:
            return
        self.done += 1
        self.purities.fill_(torch.nan)
        self.pulls.zero_()
        train, validation = ctx.features("train"), ctx.features("validation")
        for k, name in enumerate(ctx.model.modalities):
            count = min(len(train[name][1]), len(validation[name][1]))
            if count < self.least * ctx.task.outputs:
                warnings.warn(
                    f"diagnose-relearn leaves {name!r} alone: {count} samples in a split for "
                    f"{ctx.task.outputs} classes, and least={self.least} per class",
                    RuntimeWarning,
                    stacklevel=2,
                )
                continue
            sides = (train[name], validation[name])
            pair = [cluster_purity(z, y, ctx.task.outputs) for z, y in sides]
            # Averaging makes the answer the same on every rank to the last bit.
            both = ranks.all_sum(self.purities.new_tensor(pair)) / ranks.world()
            self.purities[k] = both
            self.pulls[k] = math.tanh(self.strength * abs(float(both[0]) - float(both[1])))
            self.relearn(k, float(self.pulls[k]), ctx)

    def relearn(self, k: int, pull: float, ctx: Context) -> None:
        """Move the ``k``-th encoder to ``pull * start + (1 - pull) * now``."""
        if pull == 0:
            return
        name = ctx.model.modalities[k]
        encoder = ctx.model.encoders[name]
        parameters = {id(p) for p in encoder.parameters()}
        now, start = list(_tensors(encoder)), list(self.start.get_submodule(str(k)).buffers())
        with torch.no_grad():
            for tensor, first in zip(now, start, strict=True):
                moved = id(tensor) in parameters or self.batch_norm == "interpolate"
                if moved and tensor.is_floating_point():
                    tensor.lerp_(first, pull)
        for parameter in encoder.parameters():
            state = ctx.optimizer.state.get(parameter, {})
            if self.moments == "reset":
                ctx.optimizer.state.pop(parameter, None)
            elif self.moments == "scale":
                for key, value in state.items():
                    if key != "step" and isinstance(value, Tensor):
                        value.mul_(1 - pull)
        if self.batch_norm == "recompute":
            recompute_batch_norm(name, ctx)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def recompute_batch_norm(name: str, ctx: Context) -> None:
    """Set an encoder's running statistics to their average over one pass of the training data."""
    layers = [m for m in ctx.model.encoders[name].modules() if isinstance(m, _BatchNorm)]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average
    training = ctx.model.training
    ctx.model.train()
    with torch.no_grad():
        # Shuffled: in data ordered by class, a batch would be of one class and vary too little.
        for batch in ctx.loaders["train"].whole(shuffled=ctx.epoch):
            ctx.model.encode(batch.only(name))
    ctx.model.train(training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
