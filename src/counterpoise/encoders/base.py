"""What an encoder is: features of one modality, built by name for the shape of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from counterpoise.core.registry import keyword_options, make
from counterpoise.errors import InputError, check_number

from . import ENCODERS

if TYPE_CHECKING:
    from typing_extensions import Self

    from counterpoise.data.dataset import ArrayData

Shape = tuple[int, ...]
Shapes = Shape | Mapping[str, Shape]


class Encoder(nn.Module):
    """Base of the encoders that have a name: [B, ...] -> [B, D].

    Attributes:
        name: in ``ENCODERS``.
        kind: how its inputs are standardised before it (``KINDS``); empty where they are taken as
            they come.
        sized: whether ``D`` follows the width asked for.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    sized: ClassVar[bool] = True
    padding: bool = False  # whether steps of zeros are padding, and must stay zeros before it

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Option -> default: what a label may say beside the name; ``width`` in addition."""
        return keyword_options(cls)

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        """The positional arguments of ``__init__``, which shape of a sample and width decide."""
        return ()

    @classmethod
    def fill_options(cls, options: Mapping[str, Any], data: ArrayData, name: str) -> dict[str, Any]:
        """The options, and those that the data decide where they are not given."""
        return dict(options)

    @classmethod
    def build(cls, shape: Shapes, width: int = 128, **options: Any) -> Self:
        """An encoder for samples of a shape.

        Args:
            shape: of one sample; of several tensors, each one's by its key.
            width: of the features, where the encoder leaves it open.
            options: see :meth:`options`.

        Raises:
            InputError: a shape that it does not take, an unknown option, an ``__init__`` that takes
                other arguments.
        """
        check_number("width", width, 1, whole=True)
        ENCODERS.check(cls, options)
        return make("encoder", Encoder, cls, *cls.arguments(shape, width), **options)


def shape_of(shape: Shapes, kind: str, *dims: int) -> Shape:
    """The shape of a sample that is one tensor of so many dimensions."""
    if isinstance(shape, Mapping):
        raise InputError(f"samples of several tensors ({', '.join(shape)}) are no {kind}")
    if len(shape) not in dims:
        raise InputError(f"samples of shape {list(shape)} are no {kind}")
    return shape
