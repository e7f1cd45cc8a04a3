"""Where tensors lie, and what floats are by default."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from counterpoise.errors import InputError, show


def check_device(name: torch.device | str) -> torch.device:
    """The device of this name; :class:`InputError` if this machine has none such."""
    try:
        device = torch.device(name)
        if device.type == "meta":
            raise TypeError("it holds no numbers")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {show(name)} cannot be used here ({reason}); try cpu") from None
    return device


def choose_device(name: str, place: int, count: int) -> str:
    """The device of one of ``count`` processes on this machine, of which it is number ``place``.

    Raises:
        InputError: they would share a GPU, or there are fewer than processes.
    """
    kind, _, number = name.partition(":")
    if kind == "cpu" or (count == 1 and (number or kind != "cuda")):
        return name
    if kind != "cuda" or number:
        raise InputError(
            f"--device {name} is one device, and {count} processes on this machine would share it; "
            "use --device cuda, which gives each its own GPU, or --device cpu"
        )
    if (there := torch.cuda.device_count()) < count:
        raise InputError(
            f"--device cuda needs a GPU for each of the {count} processes on this machine, found "
            f"{there}; start as many processes as there are GPUs, or use --device cpu"
        )
    return f"cuda:{place}"


def deal_device(name: str, place: int | None, count: int) -> str:
    """The device of one of several runs at a time: each gets a GPU, in turn.

    Args:
        name: what was asked for. One GPU by its number, or no GPU, stays.
        place: number of the worker, from 0; ``None`` where there is one run at a time.
        count: of the GPUs of this machine.
    """
    if name != "cuda" or place is None or count <= 1:
        return name
    return f"cuda:{place % count}"


def check_float32() -> None:
    """Raise :class:`InputError` where new tensors are not float32, as models and data are."""
    if torch.get_default_dtype() != torch.float32:
        raise InputError(
            f"the default type of tensors is {torch.get_default_dtype()}, and models, data and "
            "methods are float32; call torch.set_default_dtype(torch.float32) before a loop of "
            "your own (fit and evaluate do it themselves)"
        )


def check_weights(what: str, module: nn.Module) -> None:
    """Raise :class:`InputError` if a module has float64 weights, as data are float32."""
    if any(weight.dtype == torch.float64 for weight in module.parameters()):
        raise InputError(
            f"{what} has float64 weights, and models and data are float32; call .float() on it"
        )


# The default type and torch's random state belong to the whole process: threads take turns.
_TURN = threading.RLock()


@contextmanager
def float32() -> Iterator[None]:
    """New tensors are float32, whatever ``torch.set_default_dtype`` says outside.

    Models and data are float32; buffers and weights of another type would not fit them. Other
    threads wait until it ends.
    """
    with _TURN:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)
