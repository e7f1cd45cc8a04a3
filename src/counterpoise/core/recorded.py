"""Objects that remember what they were made with, so that they can be described and made again."""

from __future__ import annotations

from functools import wraps
from typing import Any

from .declared import Declared


class Recorded(Declared):
    """Base of classes whose instances keep the arguments of their constructor, which it checks.

    Attributes:
        made_from: the positional arguments and those by keyword, as they were given to the class
            of the instance. A copy has those of the original.
    """

    made_from: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" not in vars(cls):
            return
        start = vars(cls)["__init__"]

        # Not __new__, which would hide the constructor's signature.
        @wraps(start)
        def record(self: Any, *args: Any, **kwargs: Any) -> None:
            # The outermost constructor comes first. Past setattr, which registers modules twice.
            self.__dict__.setdefault("made_from", (args, kwargs))
            start(self, *args, **kwargs)

        kind: Any = cls
        kind.__init__ = record  # the same, and it records
