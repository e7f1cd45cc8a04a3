"""One way to find a part by name: a fusion, an encoder, a task, an optimiser.

Everywhere a part is given as a label (``"name"`` or ``"name:option=value:option=value"``), as a
class, or as an instance.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from counterpoise.errors import InputError, plain, unknown

from .declared import Rule, read_rules
from .labels import parse_label

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Part = TypeVar("Part")


def keyword_options(kind: Callable[..., Any]) -> dict[str, Any]:
    """Option -> default: the keyword-only arguments of a constructor."""
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(
    name: str,
    known: Mapping[str, Any],
    options: Mapping[str, Any],
    rules: Mapping[str, Rule] | None = None,
) -> None:
    """Raise :class:`InputError` unless a part has these options.

    Args:
        name: of the part.
        known: option -> default.
        options: option -> value; where the default is true or false, so must the value be.
        rules: option -> what its annotation allows.
    """
    for option, value in options.items():
        if option not in known:
            raise unknown(f"option of {name}", option, known)
        if isinstance(known[option], bool) and not isinstance(value, bool):
            raise InputError(f"{option} of {name} must be true or false, found {value!r}")
        if rules and option in rules:
            rules[option].check(option, value)


def make(what: str, base: type[Any], kind: type[Part], *arguments: Any, **options: Any) -> Part:
    """``kind(*arguments, **options)``; :class:`InputError` if its constructor takes others.

    Args:
        what: what messages call a part of this kind, such as ``"fusion"``.
        base: says what the arguments are called.
        kind: the class, derived from ``base``.
        arguments: given by position.
        options: given by keyword.
    """
    missing = sorted(getattr(kind, "__abstractmethods__", ()))
    if missing:
        raise InputError(f"{what} {kind.__name__} must define {', '.join(missing)}")
    try:
        inspect.signature(kind).bind(*arguments, **options)
    except TypeError as error:
        parameters = inspect.signature(base).parameters.values()
        names = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        words = [type(value).__name__ for value in arguments]
        words[: len(names)] = names[: len(words)]
        words += [f"{option}={value!r}" for option, value in options.items()]
        raise InputError(
            f"{what} {kind.__name__} is made by {kind.__name__}({', '.join(words)}), which its "
            f"__init__ does not take: {error}"
        ) from None
    return kind(*arguments, **options)


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
        entries: name -> ``"package.module:Class"``. Of several names of one class the first is
            its name in records.
        group: of the entry points, such as ``"counterpoise.fusions"``.
        options: class -> option -> default; by default its keyword-only arguments.
        rules: class -> option -> what it may be; by default what annotations say.

    Attributes:
        own: name -> ``"package.module:Class"`` of the library's own parts.
    """

    def __init__(
        self,
        kind: str,
        base: str,
        entries: Mapping[str, str],
        *,
        group: str,
        options: Callable[[type[Part]], dict[str, Any]] = keyword_options,
        rules: Callable[[type[Part]], Mapping[str, Rule]] = read_rules,
    ) -> None:
        self.kind, self.group, self.options, self.rules = kind, group, options, rules
        self.own: Mapping[str, str] = dict(entries)
        self._base = base
        self._found: dict[str, type[Part]] = {}

    @cached_property
    def added(self) -> dict[str, EntryPoint]:
        """Name -> entry point of the parts that installed packages add, not yet imported."""
        from importlib.metadata import entry_points  # 40 ms, which `import counterpoise` saves

        found = sorted(entry_points(group=self.group), key=lambda entry: (entry.name, entry.value))
        return {entry.name: entry for entry in found if entry.name not in self.own}

    @cached_property
    def base(self) -> type[Part]:
        """The class that every part derives from."""
        base: type[Part] = import_path(self._base)
        return base

    def refresh(self) -> None:
        """Look again for installed packages, such as one that was installed a moment ago."""
        self.__dict__.pop("added", None)
        self._found = {name: kind for name, kind in self._found.items() if name in self.own}

    def __repr__(self) -> str:
        return f"<registry of each {self.kind}: {', '.join(self)}>"

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self.added

    def __len__(self) -> int:
        return len(self.own) + len(self.added)

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self.added

    def __getitem__(self, name: str) -> type[Part]:
        if name not in self._found:
            if name in self.own:
                self._found[name] = import_path(self.own[name])
            else:
                self._found[name] = self._load(self.added[name])
        return self._found[name]

    def _load(self, entry: EntryPoint) -> type[Part]:
        try:
            found = entry.load()
        except Exception as error:  # whatever a package of somebody else's raises
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            raise InputError(
                f"{self.kind} {entry.name!r} of the entry point {entry.value} cannot be imported: "
                f"{reason}"
            ) from None
        return self._check_class(found, f"entry point {entry.value} ({entry.name!r})")

    def _check_class(self, found: Any, what: str) -> type[Part]:
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

    def _find_name(self, kind: type[Part]) -> str | None:
        """The name that leads to a class, if any does."""
        path = f"{kind.__module__}:{kind.__qualname__}"
        for name, entry in self.own.items():
            if entry == path or self._found.get(name) is kind:
                return name
        package = kind.__module__.partition(".")[0]
        for name, point in self.added.items():  # a package may name a class where it is re-exported
            if re.split(r"\W", point.value)[0] == package:
                with suppress(InputError):
                    if self[name] is kind:
                        return name
        return None

    def name_of(self, part: Part | type[Part]) -> str:
        """The name of a part or its class, for records.

        Of one that no name leads to, its class's in lower case; where that is the name of another
        part, its module in addition.
        """
        kind = part if isinstance(part, type) else type(part)
        name = kind.__name__.lower()
        other = f"{kind.__module__}.{kind.__qualname__}" if name in self else name
        return self._find_name(kind) or other

    def label_of(self, part: str | type[Part] | Part) -> str:
        """A label as it is; of a class or a part its name."""
        return part if isinstance(part, str) else self.name_of(part)

    def resolve(self, part: str | type[Part]) -> tuple[type[Part], dict[str, Any]]:
        """The class and the options that a label, or a class, stands for.

        Raises:
            InputError: an unknown name or option, with the nearest one; a class of another kind.
        """
        if isinstance(part, type):
            return self._check_class(part, self.kind), {}
        if not isinstance(part, str):
            raise InputError(
                f"{self.kind} must be a name, a {self.base.__name__} or a subclass of it, "
                f"found {type(part).__name__}"
            )
        name, options = parse_label(part)
        kind = self.find(name)
        self.check(kind, options)
        return kind, options

    def check(self, kind: type[Part], options: Mapping[str, Any]) -> None:
        """Raise :class:`InputError` for an option that the class does not have, or a value."""
        name = self._find_name(kind) or kind.__name__
        check_options(name, self.options(kind), options, self.rules(kind))

    def build(self, part: str | type[Part] | Part, *arguments: Any, **options: Any) -> Part:
        """A part from its label, its class, or itself.

        Args:
            part: what was asked for. An instance is returned as it is.
            arguments: the positional ones that the kind defines, such as widths and outputs.
            options: in addition to those of the label, and in place of them.

        Raises:
            InputError: an unknown name or option; options beside an instance; a constructor that
                does not take what the kind defines.
        """
        if isinstance(part, self.base):
            if options:
                raise unknown(f"option beside a built {self.kind}", next(iter(options)), ())
            return part
        kind, chosen = self.resolve(cast("str | type[Part]", part))
        options = plain(options)
        self.check(kind, options)
        return make(self.kind, self.base, kind, *arguments, **chosen | options)
