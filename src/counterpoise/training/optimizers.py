"""Optimisers, by name: PyTorch's own."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

from counterpoise.core.declared import Bounds, Rule, read_rule, read_rules
from counterpoise.core.registry import Registry
from counterpoise.errors import InputError

if TYPE_CHECKING:  # names are checked without torch
    from torch import nn
    from torch.optim import Optimizer

BOUNDS: dict[str, Any] = {
    "betas": Annotated[tuple[float, float], Bounds(0, below=1)],
    "eps": Annotated[float, Bounds(above=0)],
    "dampening": Annotated[float, Bounds(0, 1)],
}
SETTINGS = ("lr", "momentum", "weight_decay")  # they have settings of their own


def optimizer_options(kind: type[Optimizer]) -> dict[str, Any]:
    """Option -> default: what the constructor takes besides parameters and what is a setting."""
    parameters = list(inspect.signature(kind).parameters.values())[1:]
    return {p.name: p.default for p in parameters if p.name not in SETTINGS}


def optimizer_rules(kind: type[Optimizer]) -> dict[str, Rule]:
    """Option -> what it may be: its annotations, which give PyTorch's numbers no ends."""
    own = {name: read_rule(hint) for name, hint in BOUNDS.items()}
    return {**read_rules(kind), **(own if kind.__module__.startswith("torch.") else {})}


OPTIMIZERS: Registry[Optimizer] = Registry(
    "optimizer",
    "torch.optim:Optimizer",
    {"sgd": "torch.optim:SGD", "adam": "torch.optim:Adam", "adamw": "torch.optim:AdamW"},
    group="counterpoise.optimizers",
    options=optimizer_options,
    rules=optimizer_rules,
)


def build_optimizer(
    label: str, parameters: Iterable[nn.Parameter], *, lr: float, **settings: float
) -> Optimizer:
    """The optimiser of a label, such as ``"sgd:nesterov=true"`` or ``"adamw:betas=[0.9,0.98]"``.

    Args:
        label: a name in ``OPTIMIZERS``, with options of that class.
        parameters: what it moves.
        lr: learning rate.
        settings: ``momentum`` and ``weight_decay``; each goes to the classes that know it.

    Raises:
        InputError: an unknown name or option, or a value that the class refuses.
    """
    kind, options = OPTIMIZERS.resolve(label)
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    known = inspect.signature(kind).parameters
    used = {name: value for name, value in settings.items() if name in known}
    arguments: dict[str, Any] = {"lr": lr, **used, **options}
    try:
        return kind(parameters, **arguments)
    except (TypeError, ValueError, RuntimeError, LookupError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"optimizer {label!r} cannot be made: {reason}") from None
