"""YAML as far as people mean it: plain values, no aliases, no key twice, no words that change.

PyYAML reads YAML 1.1, in which ``1:30`` is 90, ``010`` is 8, ``no`` is false and a line of aliases
fills the memory. Here numbers are decimal (or ``0x``), ``true``, ``false`` and ``null`` are what
they say, and all else is text.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from counterpoise.errors import InputError, show

from .files import open_file

LEVELS = 50  # of lists and mappings within each other
DIGITS = 20  # of a whole number; 64 bits have so many
LARGEST = 2_000_000  # bytes of a file

_INT = re.compile(r"[-+]?[0-9][0-9_]*|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_NULL = re.compile(r"~|null|Null|NULL|")


class _Words(yaml.SafeLoader):
    """Reads texts, lists and mappings, and nothing else."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("write out what is behind *: aliases are not read")
        parser: Any = self  # PyYAML has no annotations
        tag = getattr(parser.peek_event(), "tag", None)
        if tag is not None:
            raise yaml.YAMLError(f"leave out {show(tag)}: tags are not read")
        if self.depth >= LEVELS:
            raise yaml.YAMLError(f"nested more than {LEVELS} deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.YAMLError("a key must be a word")
            key = self.construct_object(key_node)
            if key == "<<":
                raise yaml.YAMLError("write the keys out: << is not read")
            if key in found:
                raise yaml.YAMLError(f"the key {show(key)} is there twice")
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def read_list(self, node: Any) -> list[Any]:
        """All items at once; PyYAML would fill lists later, for the sake of aliases."""
        return self.construct_sequence(node, deep=True)

    def read_text(self, node: Any) -> str:
        """A word as it stands."""
        return str(node.value)


class _Values(_Words):
    """Reads numbers, truth values and null, too."""

    def read_int(self, node: Any) -> int:
        """A decimal number, or one after ``0x``."""
        text = node.value
        if len(text) > DIGITS:
            raise yaml.YAMLError(f"a whole number of {len(text)} digits")
        return int(text, 16 if text.startswith("0x") else 10)

    def read_float(self, node: Any) -> float:
        """A number with a point or an exponent."""
        return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))

    def read_bool(self, node: Any) -> bool:
        """True or false."""
        return bool(node.value.lower() == "true")

    def read_null(self, node: Any) -> None:
        """None."""


for _loader in (_Words, _Values):  # without those of YAML 1.1
    _loader.yaml_implicit_resolvers, _loader.yaml_constructors = {}, {}
_TAG = "tag:yaml.org,2002:"
_KINDS = (("null", _NULL), ("bool", _BOOL), ("int", _INT), ("float", _FLOAT), ("float", _NAN))
for _kind, _form in _KINDS:
    _Values.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_form.pattern})$"), None)
for _loader in (_Words, _Values):
    _loader.add_constructor(f"{_TAG}map", _loader.construct_mapping)
    _loader.add_constructor(f"{_TAG}seq", _loader.read_list)
    _loader.add_constructor(f"{_TAG}str", _loader.read_text)
_Values.add_constructor(f"{_TAG}int", _Values.read_int)
_Values.add_constructor(f"{_TAG}float", _Values.read_float)
_Values.add_constructor(f"{_TAG}bool", _Values.read_bool)
_Values.add_constructor(f"{_TAG}null", _Values.read_null)


def parse_yaml(text: str, *, words: bool = False) -> Any:
    """The value that YAML describes: a plain one.

    Args:
        text: one document.
        words: leave every word as it stands, numbers too.

    Raises:
        ValueError: it cannot be read, or holds what this module leaves out; one line.
    """
    try:
        return yaml.load(text, _Words if words else _Values)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None


def read_yaml(path: Path, what: str, *, words: bool = False) -> Any:
    """The value in a file.

    Args:
        path: of the file.
        what: what messages call it.
        words: see :func:`parse_yaml`.

    Raises:
        InputError: it is no file, too large, or :func:`parse_yaml` cannot read it.
        OSError: it is not there, or may not be read.
    """
    with open_file(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise InputError(f"{what} {path} must have at most {LARGEST:,} bytes; name another file")
    try:
        return parse_yaml(content.decode("utf-8-sig"), words=words)
    except ValueError as error:
        raise InputError(f"{what} {path} cannot be read: {error}") from None
