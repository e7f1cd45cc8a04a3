"""A modality that no training sample has cannot be learnt: one check and one message."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from counterpoise.errors import InputError


def check_trained(samples: object) -> None:
    """Raise :class:`InputError` if a modality is missing in every one of the training samples.

    Its encoder would stay as it was drawn, and spoil every prediction as soon as a sample has it.

    Args:
        samples: the training split, or its masks: modality -> bool [N]. Samples of a user's own
            class that has no ``present`` cannot be checked, and pass.
    """
    masks = getattr(samples, "present", samples)
    if not isinstance(masks, Mapping):
        return
    gone = [name for name, mask in masks.items() if isinstance(mask, Tensor) and not mask.any()]
    if gone:
        names = " and ".join(repr(name) for name in gone)
        raise InputError(
            f"modality {names} is missing in every training sample, so nothing can be learnt from "
            "it; leave it out of the data, or train on samples that have it"
        )
