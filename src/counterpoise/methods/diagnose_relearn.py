"""Diagnosing & Re-learning: soft re-initialisation by how far each encoder has overfitted."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from counterpoise.core import ranks
from counterpoise.core.declared import Bounds
from counterpoise.core.shards import own
from counterpoise.core.tasks import Classification
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.models.frozen import is_frozen

from .measures import cluster_purity


class DiagnoseRelearn(Method):
    """Joint training that now and then pulls overfitted encoders back to their start (D&R).

    Problem: one encoder overfits while another has hardly begun to learn. The difference shows in
    how well its features separate the classes, on data it trains on and on data it does not. A low
    score alone is not held against a modality, which may simply carry little information.

    Formula:
        After epoch ``e`` with ``e mod every = 0`` (never after the first, nor after the last, when
        nothing more would be learnt), at most ``times`` times, and for each modality on its own:
        scale the features of the training and of the validation split to [-1, 1] per dimension and
        cluster them by k-means (best of 10 starts) into as many clusters as classes. The purity is
        ``P = (1/N) sum_cluster max_class count``. With ``g = |P_train - P_val|`` and
        ``a = tanh(strength * g)``, ``theta := a theta_0 + (1 - a) theta`` for every parameter of
        the encoder. The head is left alone.

    Args:
        strength: ``lambda``.
        every: epochs between re-initialisations; ``None`` takes 2/9 of the run (the paper: 20 of
        90).
        times: the largest number of re-initialisations.
        least: the fewest samples per class, in each split, by which a modality is judged. One with
            fewer is left alone, and a warning says so, since clusters of so few samples are pure by
            chance.
        batch_norm: what becomes of the running statistics: ``"recompute"`` them in a pass over the
            training data, ``"interpolate"`` them like the weights, or ``"keep"`` (the published
            code).
        moments: what becomes of the optimiser's state of the encoder: ``"scale"`` it by ``1 - a``,
            ``"reset"`` it, or ``"keep"`` (the published code).

    Cost: each diagnosis adds one pass over training and validation data and two clusterings for
    each modality.

    State: ``start.*`` (the encoders' first weights), ``done`` (the number of re-initialisations so
    far), ``purities`` [M, 2] (train, validation) and ``pulls`` [M] (``a``) of the last one.

    Missing: a modality is judged on the samples that have it.

    Differs: the published code interpolates only parameters, so that BatchNorm's running statistics
    and the momentum still belong to the old weights. It diagnoses on features from the shuffled,
    augmented training loader and, in some ports, on the test set; here both are the plain splits,
    and the test split cannot be reached. As in the paper, the gap is an absolute value: an encoder
    with a higher purity on *validation* data is pulled back too.
    """

    name = "diagnose-relearn"
    summary = "pull overfitted encoders back to their start, softly (D&R)"
    paper = "Wei, Li, Feng, Hu: Diagnosing and Re-learning, ECCV 2024, arXiv 2407.09705"
    tasks = (Classification,)
    for_encoders = True

    done: Tensor
    purities: Tensor
    pulls: Tensor

    def __init__(
        self,
        *,
        strength: Annotated[float, Bounds(0)] = 3.0,
        every: Annotated[int | None, Bounds(1)] = None,
        times: Annotated[int, Bounds(0)] = 3,
        least: Annotated[int, Bounds(0)] = 5,
        batch_norm: Literal["recompute", "interpolate", "keep"] = "recompute",
        moments: Literal["scale", "reset", "keep"] = "scale",
    ) -> None:
        super().__init__()
        self.strength, self.every, self.times, self.least = strength, every, times, least
        self.batch_norm, self.moments = batch_norm, moments
        self.start = nn.Module()

    def setup(self, ctx: Context) -> None:
        for k, encoder in enumerate(ctx.model.encoders.values()):
            snapshot = nn.Module()
            for j, tensor in enumerate([] if is_frozen(encoder) else _list_tensors(encoder)):
                snapshot.register_buffer(str(j), tensor.detach().clone())
            self.start.add_module(str(k), snapshot)
        count = len(ctx.model.encoders)
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self.register_buffer("purities", torch.full((count, 2), torch.nan))
        self.register_buffer("pulls", torch.zeros(count))

    def epoch_start(self, ctx: Context) -> None:
        if ctx.epoch == 0 and ctx.model.frozen:
            warnings.warn(
                f"diagnose-relearn leaves {' and '.join(map(repr, ctx.model.frozen))} alone: what "
                "is frozen learns nothing, so there is nothing to learn again",
                RuntimeWarning,
                stacklevel=2,
            )

    def epoch_end(self, ctx: Context) -> None:
        every = self.every or max(1, round(ctx.epochs * 20 / 90))
        if ctx.epoch in (0, ctx.epochs - 1) or ctx.epoch % every or int(self.done) >= self.times:
            return
        self.done += 1
        self.purities.fill_(torch.nan)
        self.pulls.zero_()
        train, validation = ctx.features("train"), ctx.features("validation")
        for k, name in enumerate(ctx.model.modalities):
            if name in ctx.model.frozen:
                continue
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
        now, start = list(_list_tensors(encoder)), list(self.start.get_submodule(str(k)).buffers())
        with torch.no_grad():
            for tensor, first in zip(now, start, strict=True):
                moved = id(tensor) in parameters or self.batch_norm == "interpolate"
                if moved and tensor.is_floating_point():
                    own(tensor).lerp_(own(first), pull)
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


def _list_tensors(module: nn.Module) -> list[Tensor]:
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
    with torch.no_grad(), ranks.alone():  # each takes the whole batches
        # Shuffled: in data ordered by class, a batch would be of one class and vary too little.
        for batch in ctx.loaders["train"].whole(shuffled=ctx.epoch):
            ctx.model.encode(batch.only(name))
    ctx.model.train(training)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
