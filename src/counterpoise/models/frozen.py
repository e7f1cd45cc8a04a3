"""Encoders that stay as they are while the rest of a model trains, and features in their place."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from counterpoise.core.batch import Input
from counterpoise.core.names import ByModality
from counterpoise.encoders import Encoder
from counterpoise.errors import InputError, check_once, unknown

READY = ":features"  # the key of features in the place of inputs; no tensor of a sample has it
_MARK = "_counterpoise_frozen"


def is_frozen(encoder: nn.Module) -> bool:
    """Whether an encoder stays as it is; copies of it do, too."""
    return bool(getattr(encoder, _MARK, False))


def is_pretrained(encoder: nn.Module) -> bool:
    """Whether an encoder says that its weights were read from somewhere."""
    return any(isinstance(part, Encoder) and part.pretrained for part in encoder.modules())


def freeze_encoders(encoders: ByModality, fusion: nn.Module, names: Iterable[str]) -> None:
    """Let encoders stay as they are: no gradients, evaluation mode whatever the model is in.

    Args:
        encoders: of a model.
        fusion: of the same model.
        names: which of the modalities.

    Raises:
        InputError: an unknown modality, one twice, or an encoder that shares parameters with a
            part that is trained.
    """
    chosen = list(names)
    check_once("freeze", chosen)
    for name in chosen:
        if name not in encoders:
            raise unknown("modality in freeze", name, encoders)
    trained = {m: e for m, e in encoders.items() if m not in chosen and not is_frozen(e)}
    others = [(f"the encoder of {m!r}", part) for m, part in trained.items()]
    for name in chosen:
        own = {id(p) for p in encoders[name].parameters()}
        for what, part in [*others, ("the fusion", fusion)]:
            if any(id(p) in own for p in part.parameters()):
                raise InputError(
                    f"the encoder of {name!r} cannot be frozen: it shares parameters with {what}, "
                    "which is trained"
                )
    for name in chosen:
        encoder = encoders[name].requires_grad_(False).eval()
        setattr(encoder, _MARK, True)


def find_ready(inputs: Input | None) -> Tensor | None:
    """The features [B, D] or [B, T, D] that stand in the place of inputs; ``None``: inputs do."""
    return inputs.get(READY) if isinstance(inputs, dict) else None
