"""BatchNorm over the rows of all ranks: one implementation for every backend.

``torch.nn.SyncBatchNorm`` needs a GPU, and waits for ranks that hold no row. Here every call of
``torch.nn.functional.batch_norm`` that takes statistics takes them over all ranks while
:class:`Joined` lasts, whatever layer makes it; the layers, and the names of their weights, stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from inspect import signature
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm
from torch.overrides import TorchFunctionMode

from counterpoise.core import ranks

_ARGUMENTS = signature(F.batch_norm)
_single: ContextVar[bool | None] = ContextVar("single", default=None)


def list_layers(module: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers that are in training mode, and so take statistics."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.training]


@contextmanager
def running_statistics(module: nn.Module, active: bool) -> Iterator[None]:
    """Let BatchNorm normalise by its running statistics, and leave these as they are."""
    layers = list_layers(module) if active else []
    for layer in layers:
        layer.eval()
    try:
        yield
    finally:
        for layer in layers:
            layer.train()


def is_single(rows: int) -> bool:
    """Whether a batch, of which this rank has ``rows``, is a single row over all ranks."""
    joined = _single.get()
    return rows == 1 if joined is None else joined


@contextmanager
def join_ranks(module: nn.Module, total: int, real: bool) -> Iterator[None]:
    """Let the BatchNorm of a module take statistics over all ranks, each of which calls it.

    Args:
        module: what is called.
        total: rows of the global batch. One alone has no statistics: nobody waits for anybody.
        real: whether the rows of this rank count; a row that only stands in for none does not.
    """
    token = _single.set(total == 1)
    try:
        with keep_apart(module), Joined(real) if total > 1 else ExitStack():
            yield
    finally:
        _single.reset(token)


@contextmanager
def keep_apart(module: nn.Module) -> Iterator[None]:
    """Let ``SyncBatchNorm`` do what BatchNorm does: it would wait for ranks that do not call it."""
    layers = [m for m in list_layers(module) if isinstance(m, SyncBatchNorm)]
    for layer in layers:
        vars(layer)["forward"] = MethodType(_BatchNorm.forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


class Joined(TorchFunctionMode):
    """While it lasts, BatchNorm takes its statistics over the rows of all ranks.

    Args:
        real: whether the rows of this rank count.
    """

    def __init__(self, real: bool) -> None:
        super().__init__()
        self.real = real

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func is not F.batch_norm:
            return func(*args, **(kwargs or {}))
        given = _ARGUMENTS.bind(*args, **(kwargs or {}))
        given.apply_defaults()
        x, mean, var, weight, bias, training, momentum, eps = given.args
        if not training:
            return func(*args, **(kwargs or {}))
        return normalize(x, self.real, (mean, var), (weight, bias), momentum, eps)


def normalize(
    x: Tensor,
    real: bool,
    running: tuple[Tensor | None, Tensor | None],
    affine: tuple[Tensor | None, Tensor | None],
    momentum: float,
    eps: float,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` with the statistics of all ranks' rows.

    Args:
        x: [N, C, ...], the rows of this rank.
        real: whether they count.
        running: mean and variance [C], moved by ``momentum`` towards those of this batch.
        affine: weight and bias [C].
        momentum: from 0 to 1.
        eps: added to the variance.
    """
    (running_mean, running_var), (weight, bias) = running, affine
    with torch.no_grad():
        count, mean, squares = merge_moments(ranks.stack(measure_moments(x, real)))
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
        if running_var is not None:
            unbiased = squares / (count - 1).clamp(min=1)
            running_var.lerp_(unbiased.to(running_var), momentum)
        inverse = (squares / count + eps).rsqrt()
    made = cast(Any, _Normalize).apply(x, weight, bias, mean, inverse, count, real)
    return cast(Tensor, made)


def measure_moments(x: Tensor, real: bool) -> Tensor:
    """[2 C + 1]: mean and sum of squared distances from it of each channel, and their number."""
    channels = x.shape[1]
    rows = to_float(x)
    number = rows.numel() // channels if real else 0
    found = rows.new_zeros(2 * channels + 1)
    if number:
        var, mean = torch.var_mean(rows, _list_axes(x), correction=0)
        found[:channels], found[channels:-1], found[-1] = mean, var * number, number
    return found


def merge_moments(every: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Those of all ranks [R, 2 C + 1] as one: number [], mean [C], sum of squared distances [C].

    Chan's formula, in which nothing cancels where means are far from zero.
    """
    means, squares = every[:, :-1].chunk(2, 1)
    counts = every[:, -1:]
    count = counts.sum().clamp(min=1)
    mean = (means * counts).sum(0) / count
    return count, mean, squares.sum(0) + ((means - mean).square() * counts).sum(0)


def to_float(x: Tensor) -> Tensor:
    """In float32, or float64 where it is."""
    return x if x.dtype == torch.float64 else x.float()


def _list_axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


class _Normalize(torch.autograd.Function):
    """``(x - mean) * inverse * weight + bias``, where mean and inverse depend on all ranks' x."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        inverse: Tensor,
        count: Tensor,
        real: bool,
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.real, ctx.shape = real, [1, -1, *[1] * (x.dim() - 2)]
        ctx.save_for_backward(x, weight, mean, inverse, count)
        scale = inverse if weight is None else inverse * weight
        y = (to_float(x) - mean.view(ctx.shape)) * scale.view(ctx.shape)
        return (y if bias is None else y + bias.view(ctx.shape)).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        if gradient is None:  # on no rank: the ties of features see to that
            return (None,) * 7
        x, weight, mean, inverse, count = ctx.saved_tensors
        shape, axes = ctx.shape, _list_axes(x)
        gradient, scaled = (
            to_float(gradient),
            (to_float(x) - mean.view(shape)) * inverse.view(shape),
        )
        sums = torch.stack([gradient.sum(axes), (gradient * scaled).sum(axes)])
        if not ctx.real:
            sums = torch.zeros_like(sums)
        back = None
        if ctx.needs_input_grad[0]:
            means = sum_gradients(sums) / count
            back = gradient - means[0].view(shape) - scaled * means[1].view(shape)
            back = back * (inverse if weight is None else inverse * weight).view(shape)
            back = (back if ctx.real else torch.zeros_like(back)).to(x.dtype)
        own = [sums[1].to(x if weight is None else weight), sums[0].to(x)]
        wanted = [g if ctx.needs_input_grad[k] else None for k, g in ((1, own[0]), (2, own[1]))]
        return (back, *wanted, None, None, None, None)


def sum_gradients(sums: Tensor) -> Tensor:
    """The sums [2, C] of all ranks that the gradient of a row depends on."""
    return ranks.all_sum(sums)


class Features(dict[str, Tensor]):
    """Features by modality, tied over the ranks where encoders take statistics over them.

    Attributes:
        tie: [], 0, through which whatever is computed from the features has to go back; ``None``
            where they are not tied.
    """

    tie: Tensor | None = None

    def bind(self, logits: Tensor) -> Tensor:
        """``logits`` as they are, whose backward pass goes through the tie on every rank."""
        return logits if self.tie is None else logits + self.tie


def tie(
    features: Features, names: Sequence[str], after: Callable[[], None] | None = None
) -> Features:
    """Make all ranks go back through the same encoders, whatever their own rows say.

    A rank may leave out a modality that none of its rows has; encoders that sum gradients over the
    ranks would then wait for it. Gradients that some rank has are zeros on the others; one that no
    rank has stays ``None``.

    Args:
        features: by modality, as the encoders give them.
        names: the modalities that are tied.
        after: is called at the end of each backward pass, before what encoders do there themselves.
    """
    if not names or not torch.is_grad_enabled():
        return features
    features.tie, *tied = cast(Any, _Tie).apply(after, *(features[name] for name in names))
    features.update(zip(names, tied, strict=True))
    return features


class _Tie(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, after: Callable[[], None] | None, *features: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.after = after
        ctx.like = [z.new_empty(()).expand(z.shape) for z in features]
        return (features[0].new_zeros(()), *(z.view_as(z) for z in features))

    @staticmethod
    def backward(ctx: Any, _: Tensor | None, *gradients: Tensor | None) -> Any:
        used = ranks.host_sum(torch.tensor([g is not None for g in gradients], dtype=torch.int64))
        if ctx.after is not None:
            cast(Any, torch.autograd.Variable)._execution_engine.queue_callback(ctx.after)
        filled = (
            torch.zeros_like(like, memory_format=torch.contiguous_format)
            if g is None and number
            else g
            for g, like, number in zip(gradients, ctx.like, used.tolist(), strict=True)
        )
        return (None, *filled)
