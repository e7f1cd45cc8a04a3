"""Which samples have a modality: masks, what is asked of them, and one that no sample has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor

from counterpoise.errors import InputError

_dense: ContextVar[bool] = ContextVar("dense", default=False)
_KNOWN = "_counterpoise_known"


@contextmanager
def dense() -> Iterator[None]:
    """Compute everything for all samples and mask it after, whatever the masks hold.

    So a model can be exported: what it computes does not depend on values. The results are those
    of the ordinary way, which leaves out what no sample needs, to rounding. The model must be in
    evaluation mode, and rows of absent samples must hold what encoders can read, such as zeros.
    What masks of :func:`known` rule out is not computed here either.
    """
    token = _dense.set(True)
    try:
        yield
    finally:
        _dense.reset(token)


def is_dense() -> bool:
    """Whether this runs within :func:`dense`."""
    return _dense.get()


def known(like: Tensor, value: bool) -> Tensor:
    """A mask [B] as ``like`` [B] that is all true or all false, also within :func:`dense`.

    It is this very object that is known there; what is computed from it, a copy too, is not.
    """
    mask = torch.full_like(like, value, dtype=torch.bool)
    setattr(mask, _KNOWN, value)
    return mask


def some(mask: Tensor) -> bool:
    """Whether any sample of a mask [B] has the modality; taken for granted where it is dense."""
    if _dense.get():
        return cast(bool, getattr(mask, _KNOWN, True))
    return not is_nothing(mask) and bool(mask.any())


def is_nothing(mask: Tensor) -> bool:
    """Whether a mask is one of :func:`known` that rules out all samples, as it was made.

    No entry of it is read to tell.
    """
    if getattr(mask, _KNOWN, True):
        return False
    # Of tensors of inference mode nobody counts the changes.
    return _dense.get() or (not mask.is_inference() and mask._version == 0)


def every(mask: Tensor) -> bool:
    """Whether all samples of a mask [B] have the modality; never taken for granted."""
    if _dense.get():
        return cast(bool, getattr(mask, _KNOWN, False))
    return bool(mask.all())


def refuse_dense(reason: str) -> None:
    """Raise :class:`InputError` within :func:`dense`, for what cannot be computed so."""
    if _dense.get():
        raise InputError(reason)


def check_trained(samples: object) -> None:
    """Raise :class:`InputError` if a modality is missing in every one of the training samples.

    Its encoder would stay as it was drawn, and spoil every prediction as soon as a sample has it.

    Args:
        samples: the training split, or its masks: modality -> bool [N]. Samples of a user's own
            class that has no ``present`` cannot be checked, and pass.
    """
    masks: Any = getattr(samples, "present", samples)
    if not isinstance(masks, Mapping):
        return
    gone = [name for name, mask in masks.items() if isinstance(mask, Tensor) and not mask.any()]
    if gone:
        names = " and ".join(repr(name) for name in gone)
        raise InputError(
            f"modality {names} is missing in every training sample, so nothing can be learnt from "
            "it; leave it out of the data, or train on samples that have it"
        )
