"""One way to find a part by name: a fusion, an encoder, a task, an optimiser.

Everywhere a part is given as a label (``"name"`` or ``"name:option=value:option=value"``), as a
class, or as an instance.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from counterpoise.errors import InputError, unknown

from .labels import parse_label

Part = TypeVar("Part")


def keyword_options(kind: Callable[..., Any]) -> dict[str, Any]:
    """Option -> default: the keyword-only arguments of a constructor."""
    parameters = inspect.signature(kind.__init__ if isinstance(kind, type) else kind).parameters
    return {p.name: p.default for p in parameters.values() if p.kind is p.KEYWORD_ONLY}


def import_path(path: str) -> Any:
    """What ``"package.module:name"`` leads to."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


class Registry(Mapping[str, type[Part]], Generic[Part]):
    """Parts of one kind, by name; each is imported when it is first asked for.

    Installed packages add parts by entry points of ``group``; the library's own names cannot be
    taken.

    Args:
        kind: what messages call a part, such as ``"fusion"``.
        base: the class that every part derives from, as ``"package.module:Class"``.
        entries: name -> ``"package.module:Class"``.
        group: of the entry points, such as ``"counterpoise.fusions"``.
        options: class -> option -> default; by default its keyword-only arguments.
    """

    def __init__(
        self,
        kind: str,
        base: str,
        entries: Mapping[str, str],
        *,
        group: str,
        options: Callable[[type[Part]], dict[str, Any]] = keyword_options,
    ) -> None:
        self.kind, self.group, self.options = kind, group, options
        self._base, self._entries = base, dict(entries)
        self._found: dict[str, type[Part]] = {}

    @cached_property
    def added(self) -> dict[str, EntryPoint]:
        """Name -> entry point of the parts that installed packages add, not yet imported."""
        found = sorted(entry_points(group=self.group), key=lambda entry: entry.name)
        return {entry.name: entry for entry in found if entry.name not in self._entries}

    @cached_property
    def base(self) -> type[Part]:
        """The class that every part derives from."""
        base: type[Part] = import_path(self._base)
        return base

    def __iter__(self) -> Iterator[str]:
        yield from self._entries
        yield from self.added

    def __len__(self) -> int:
        return len(self._entries) + len(self.added)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self.added

    def __getitem__(self, name: str) -> type[Part]:
        if name not in self._found:
            if name in self._entries:
                self._found[name] = import_path(self._entries[name])
            else:
                self._found[name] = self._load(self.added[name])
        return self._found[name]

    def _load(self, entry: EntryPoint) -> type[Part]:
        try:
            found = entry.load()
        except (ImportError, AttributeError) as error:
            raise InputError(
                f"{self.kind} {entry.name!r} of the entry point {entry.value} cannot be imported: "
                f"{error}"
            ) from None
        return self._checked(found, f"entry point {entry.value} ({entry.name!r})")

    def _checked(self, found: Any, what: str) -> type[Part]:
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise InputError(f"{what} must be a subclass of {self.base.__name__}, found {found!r}")
        return found

    def find(self, name: str) -> type[Part]:
        """The class of this name.

        Raises:
            InputError: no such part, with the nearest name; or an entry point that leads nowhere.
        """
        if name not in self:
            raise unknown(self.kind, name, self)
        return self[name]

    def name_of(self, part: Part | type[Part]) -> str:
        """The name of a part or its class; of one that has none, its class's in lower case."""
        kind = part if isinstance(part, type) else type(part)
        path = f"{kind.__module__}:{kind.__qualname__}"
        for name, entry in (self._entries | {n: e.value for n, e in self.added.items()}).items():
            if entry == path:
                return name
        return kind.__name__.lower()

    def resolve(self, part: str | type[Part]) -> tuple[type[Part], dict[str, Any]]:
        """The class and the options that a label, or a class, stands for.

        Raises:
            InputError: an unknown name or option, with the nearest one; a class of another kind.
        """
        if not isinstance(part, str):
            return self._checked(part, self.kind), {}
        name, options = parse_label(part)
        kind = self.find(name)
        self.check(kind, options)
        return kind, options

    def check(self, kind: type[Part], options: Mapping[str, Any]) -> None:
        """Raise :class:`InputError` for an option that the class does not have."""
        known = self.options(kind)
        for option in options:
            if option not in known:
                raise unknown(f"option of {self.name_of(kind)}", option, known)

    def build(self, part: str | type[Part] | Part, *arguments: Any, **options: Any) -> Part:
        """A part from its label, its class, or itself.

        Args:
            part: what was asked for. An instance is returned as it is.
            arguments: the positional ones that the kind defines, such as widths and outputs.
            options: in addition to those of the label.

        Raises:
            InputError: an unknown name or option; options beside an instance; a constructor that
                does not take what the kind defines.
        """
        if isinstance(part, self.base):
            if options:
                raise unknown(f"option beside a built {self.kind}", next(iter(options)), ())
            return part
        if not isinstance(part, (str, type)):
            raise InputError(
                f"{self.kind} must be a name, a {self.base.__name__} or a class of such, "
                f"found {type(part).__name__}"
            )
        kind, chosen = self.resolve(part)
        self.check(kind, options)
        chosen = {**chosen, **options}
        try:
            inspect.signature(kind).bind(*arguments, **chosen)
        except TypeError as error:
            raise InputError(
                f"{self.kind} {kind.__name__} cannot be made by "
                f"{kind.__name__}({self._call(arguments, chosen)}): {error}"
            ) from None
        return kind(*arguments, **chosen)

    @staticmethod
    def _call(arguments: tuple[Any, ...], options: Mapping[str, Any]) -> str:
        words = [type(a).__name__ for a in arguments] + [f"{k}={v!r}" for k, v in options.items()]
        return ", ".join(words)
