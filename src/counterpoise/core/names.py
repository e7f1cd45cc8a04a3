"""Names of modalities, and what a module of each of them is called within a model."""

from __future__ import annotations

import unicodedata
from collections.abc import ItemsView, Iterator, KeysView

from torch import nn

from counterpoise.errors import UNPRINTABLE, InputError, show

JOINERS = "+,:"  # names are joined by these in records, options and files
NO_CHARACTERS = "\ufffe\uffff"  # which XML, and so a figure of the report, cannot hold
PREFIX = "name:"  # what no modality's name can begin with
# What a `nn.Module` refuses as the name of a part: its own attributes.
_TAKEN = nn.ModuleDict()


def check_name(name: object, argument: str = "inputs") -> None:
    """Raise :class:`InputError` unless this may name a modality.

    Any text may that is not blank and holds none of :data:`JOINERS`, no control character, no half
    of a pair of UTF-16, nothing that Unicode keeps from being a character, and nothing that turns
    the direction of a line or cannot be seen: two names that look alike would be one to a reader.
    """
    known = isinstance(name, str) and bool(name.strip())
    bad = JOINERS + NO_CHARACTERS
    odd = any(c in bad or unicodedata.category(c) in ("Cc", "Cs") for c in str(name))
    if not known or odd or UNPRINTABLE.search(str(name)):
        raise InputError(
            f"{argument} must name modalities by a text without any of {' '.join(JOINERS)} (names "
            f"are joined by these) and without control characters, found {show(name)}; choose "
            "another name"
        )


def module_key(name: str) -> str:
    """What the part of a modality is called in a module, and so in state dicts.

    It is the name itself wherever PyTorch takes it. It takes no dots, and no attributes that
    modules have, such as ``type``: these become ``name:type``.
    """
    if "." in name or not name or name.startswith(PREFIX) or hasattr(_TAKEN, name):
        return PREFIX + name.replace("%", "%25").replace(".", "%2E")
    return name


def _name_of(key: str) -> str:
    if not key.startswith(PREFIX):
        return key
    return key.removeprefix(PREFIX).replace("%2E", ".").replace("%25", "%")


class ByModality(nn.ModuleDict):
    """A module for each modality, whatever its name is; otherwise as :class:`nn.ModuleDict`."""

    def __getitem__(self, name: str) -> nn.Module:
        return super().__getitem__(module_key(name))

    def __setitem__(self, name: str, module: nn.Module) -> None:
        super().__setitem__(module_key(name), module)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(module_key(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and super().__contains__(module_key(name))

    def __iter__(self) -> Iterator[str]:
        return map(_name_of, super().__iter__())

    def keys(self) -> KeysView[str]:
        return dict.fromkeys(self).keys()

    def items(self) -> ItemsView[str, nn.Module]:
        return dict(zip(self, self.values(), strict=True)).items()
