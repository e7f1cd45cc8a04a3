"""The base of encoders, which compute the features of one modality from its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from counterpoise.core.recorded import Recorded
from counterpoise.core.registry import keyword_options, make
from counterpoise.errors import InputError, plain

from . import ENCODERS

if TYPE_CHECKING:
    from typing_extensions import Self

    from counterpoise.data.dataset import Dataset

Shape = tuple[int, ...]
Shapes = Shape | Mapping[str, Shape]


class Encoder(Recorded, nn.Module):
    """Base of the encoders that have a name: [B, ...] -> [B, D].

    Attributes:
        name: in ``ENCODERS``.
        kind: how its inputs are standardised before it (``KINDS``); empty if they are used as
            they are.
        sized: whether ``D`` follows the requested width.
        pretrained: whether its weights were read from somewhere.
    """

    name: ClassVar[str] = ""
    sized: ClassVar[bool] = True
    kind: str = ""
    pretrained: bool = False
    padding: bool = False  # whether steps of zeros are padding, and must stay zeros before it

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Option -> default: what a label may set after the name, in addition to ``width``."""
        return keyword_options(cls)

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        """The positional arguments of ``__init__``, from the shape of a sample and the width."""
        return ()

    @classmethod
    def fill_options(cls, options: Mapping[str, Any], data: Dataset, name: str) -> dict[str, Any]:
        """The options, completed from the data where they are not given."""
        return dict(options)

    def check_data(self, data: Dataset, name: str) -> None:
        """Raise :class:`InputError` where a modality holds what its shape does not tell."""

    @classmethod
    def build(cls, shape: Shapes, width: int = 128, **options: Any) -> Self:
        """An encoder for samples of a shape.

        Args:
            shape: shape of one sample; for several tensors, key -> shape.
            width: width of the features, if the encoder leaves it open.
            options: see :meth:`options`.

        Raises:
            InputError: a shape that it does not accept, an unknown option, or an ``__init__`` that
                takes other arguments.
        """
        ENCODERS.check(cls, options)
        return make("encoder", Encoder, cls, *cls.arguments(shape, width), **options)

    def recipe(self) -> dict[str, Any]:
        """What :meth:`remake` needs, in plain values: nothing but what was passed to it.

        Initial weights are left out, since a trained model brings its own.
        """
        args, options = self.made_from
        kept = {key: value for key, value in options.items() if key != "weights"}
        return {"arguments": plain(list(args)), "options": plain(kept)}

    @classmethod
    def remake(cls, recipe: Mapping[str, Any]) -> Self:
        """An encoder like the one that gave the recipe, with other weights."""
        return cls(*recipe["arguments"], **recipe["options"])


def shape_of(shape: Shapes, kind: str, *dims: int) -> Shape:
    """The shape of a sample that must be one tensor with one of these numbers of dimensions."""
    if isinstance(shape, Mapping):
        hint = "; tokens, lstm and gru read token numbers" if "input_ids" in shape else ""
        raise InputError(f"samples of several tensors ({', '.join(shape)}) are no {kind}{hint}")
    if len(shape) not in dims:
        raise InputError(f"samples of shape {list(shape)} are no {kind}")
    return shape
