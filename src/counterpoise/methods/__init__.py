"""The table of methods: name -> class."""

from __future__ import annotations

from typing import Any

from counterpoise.errors import unknown
from counterpoise.method import Method

from .diagnose_relearn import DiagnoseRelearn
from .joint import Joint
from .mla import MLA
from .modality_dropout import ModalityDropout
from .multi_loss import MultiLoss
from .unimodal import Unimodal

METHODS: dict[str, type[Method]] = {
    "joint": Joint,
    "unimodal": Unimodal,
    "multi-loss": MultiLoss,
    "modality-dropout": ModalityDropout,
    "mla": MLA,
    "diagnose-relearn": DiagnoseRelearn,
}

__all__ = [
    "METHODS",
    "MLA",
    "DiagnoseRelearn",
    "Joint",
    "ModalityDropout",
    "MultiLoss",
    "Unimodal",
    "build_method",
]


def build_method(method: str | Method | type[Method], **options: Any) -> Method:
    """A method from its name, its class, or itself.

    Args:
        method: a name in ``METHODS``, a subclass of :class:`Method`, or an instance.
        options: for the constructor.

    Raises:
        InputError: an unknown name or option, with the nearest one; options beside an instance.
    """
    if isinstance(method, Method):
        if options:
            raise unknown("option beside a built method", next(iter(options)), ())
        return method
    if isinstance(method, str):
        if method not in METHODS:
            raise unknown("method", method, METHODS)
        method = METHODS[method]
    for option in options:
        if option not in method.options():
            raise unknown(f"option of {method.name}", option, method.options())
    return method(**options)
