"""What an encoder is: features of one modality, built by name for the shape of its samples."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn

from counterpoise.errors import InputError, check_number, unknown

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
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}

    @classmethod
    def arguments(cls, shape: Shapes, width: int) -> tuple[Any, ...]:
        """The arguments that the shape of a sample and a width decide."""
        return ()

    @classmethod
    def settle(cls, options: Mapping[str, Any], data: ArrayData, name: str) -> dict[str, Any]:
        """The options, with those that the data decide where they are not given."""
        return dict(options)

    @classmethod
    def build(cls, shape: Shapes, width: int = 128, **options: Any) -> Self:
        """An encoder for samples of a shape.

        Args:
            shape: of one sample; of several tensors, each one's by its key.
            width: of the features, where the encoder leaves it open.
            options: see :meth:`options`.

        Raises:
            InputError: a shape that it does not take, an unknown option.
        """
        check_number("width", width, 1, whole=True)
        cls.check(options)
        return cls(*cls.arguments(shape, width), **options)

    @classmethod
    def check(cls, options: Mapping[str, Any]) -> None:
        """Raise :class:`InputError` for an option that it does not have."""
        known = cls.options()
        for option, value in options.items():
            if option not in known:
                raise unknown(f"option of {cls.name}", option, [*known, *["width"] * cls.sized])
            if isinstance(known[option], bool) and not isinstance(value, bool):
                raise InputError(f"{option} of {cls.name} must be true or false, found {value!r}")


def shape_of(shape: Shapes, kind: str, *dims: int) -> Shape:
    """The shape of a sample that is one tensor of so many dimensions."""
    if isinstance(shape, Mapping):
        raise InputError(f"samples of several tensors ({', '.join(shape)}) are no {kind}")
    if len(shape) not in dims:
        raise InputError(f"samples of shape {list(shape)} are no {kind}")
    return shape
