"""One way to find a part: by label, by class, as an instance, from an installed package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from counterpoise import ENCODERS, FUSIONS, METHODS, READERS, TASKS, InputError
from counterpoise.core.registry import Registry, keyword_options

TABLES = {"method": METHODS, "fusion": FUSIONS, "encoder": ENCODERS, "reader": READERS}
TABLES["task"] = TASKS


class Shape:
    """What the parts of these tests derive from."""

    def __init__(self, sides: int) -> None:
        self.sides = sides


class Square(Shape):
    def __init__(self, sides: int, *, size: float = 1.0, filled: bool = False) -> None:
        super().__init__(sides)
        self.size, self.filled = size, filled


class Circle(Shape):
    """Takes no number of sides."""

    def __init__(self, *, radius: float = 1.0) -> None:
        super().__init__(0)


def table(**entries: str) -> Registry[Shape]:
    entries = entries or {"square": "Square", "box": "Square", "circle": "Circle"}
    paths = {name: f"{__name__}:{kind}" for name, kind in entries.items()}
    return Registry("shape", f"{__name__}:Shape", paths, group="tests.shapes")


def test_a_label_a_class_and_an_instance() -> None:
    shapes, made = table(), Square(4, size=2)
    assert shapes.find("square") is shapes["box"] is Square
    assert shapes.resolve("square:size=1e-1:filled=true") == (
        Square,
        {"size": 0.1, "filled": True},
    )
    assert shapes.resolve(Circle) == (Circle, {})
    assert shapes.build("square:size=3", 5).sides == 5
    assert shapes.build("square:size=3", 5, size=4).size == 4
    assert shapes.build(Square, 4, filled=True).filled
    assert shapes.build(made) is made


def test_it_is_a_mapping_that_imports_when_asked() -> None:
    shapes = table(square="Square", lost="Lost")
    assert list(shapes) == ["square", "lost"] and len(shapes) == 2 and "lost" in shapes
    assert shapes.get("oval") is None and dict(table()) == {
        "square": Square,
        "box": Square,
        "circle": Circle,
    }
    assert "square, lost" in repr(shapes)
    with pytest.raises(AttributeError, match="Lost"):
        shapes["lost"]


def test_names_for_records() -> None:
    class Oval(Shape):
        pass

    class Circle(Shape):
        """Not the one of the table."""

    shapes = table()
    assert shapes.name_of(Square) == shapes.name_of(Square(4)) == "square", "the first name"
    assert shapes.name_of(Oval) == "oval"
    assert shapes.name_of(Circle).endswith("<locals>.Circle"), "not to be taken for the other"
    shown = Registry("text", "json:JSONEncoder", {"text": "json:JSONEncoder"}, group="none")
    assert shown.name_of(shown["text"]) == "text", "it is defined in json.encoder"
    assert shapes.label_of("square:size=2") == "square:size=2"
    assert shapes.label_of(Square) == "square"


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda s: s.find("squere"), "unknown shape 'squere'; did you mean 'square'?"),
        (lambda s: s.build("square:sise=2", 4), "option of square 'sise'; did you mean 'size'"),
        (lambda s: s.build("circle", sides=2), "unknown option of circle 'sides'; known: radius"),
        (lambda s: s.build("square:filled=1", 4), "filled of square must be true or false, found"),
        (lambda s: s.build(Square(4), size=2), "unknown option beside a built shape 'size'"),
        (lambda s: s.build(int), "shape must be a subclass of Shape, found <class 'int'>"),
        (lambda s: s.build(4), "shape must be a name, a Shape or a subclass of it, found int"),
        (lambda s: s.build("square"), r"made by Square\(\).*missing.* argument: 'sides'"),
        (lambda s: s.build("circle:radius=2", 4), r"made by Circle\(sides, radius=2\), which"),
        (lambda s: s.build("square:size", 4), "an option must read key=value, found 'size'"),
        (lambda s: s.build("square:size=1:size.a=2", 4), "'size' is 1, and size.a=2 sets a part"),
    ],
)
def test_what_is_refused(act: Callable[[Registry[Shape]], object], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        act(table())
    assert "\n" not in str(error.value)


def test_options_are_the_keyword_only_arguments() -> None:
    assert keyword_options(Square) == {"size": 1.0, "filled": False}
    assert keyword_options(Shape) == {}


@pytest.mark.parametrize("what", TABLES)
def test_the_library_s_entries_lead_where_their_classes_are(what: str) -> None:
    parts = TABLES[what]
    assert list(parts.own)
    for name, path in parts.own.items():
        kind = parts[name]
        assert issubclass(kind, parts.base) and kind is not parts.base
        assert path == f"{kind.__module__}:{kind.__qualname__}", "records would not find its name"
        assert parts[parts.name_of(kind)] is kind
        given = vars(kind).get("name", name)
        assert not isinstance(given, str) or parts.name_of(kind) == given


PACKAGE = '''
import counterpoise as cp


class Extra(cp.{base}):
    """A part that a package adds."""
'''
BASES = {"method": "Method", "fusion": "Fusion", "task": "Task", "encoder": "encoders.Encoder"}
BASES["reader"] = "data.readers.Reader"


@pytest.fixture(params=list(TABLES))
def added(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Registry[object]]:
    """A table with what a package adds to it, as pip leaves a package."""
    parts = TABLES[request.param]
    (tmp_path / "extra_parts.py").write_text(PACKAGE.format(base=BASES[request.param]))
    (tmp_path / "extra_shown.py").write_text("from extra_parts import Extra\n")
    (tmp_path / "extra_broken.py").write_text("raise RuntimeError('not today\\nnor tomorrow')\n")
    info = tmp_path / "extra_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra-parts\nVersion: 1.0\n")
    points = {
        "extra": "extra_parts:Extra",
        next(iter(parts.own)): "extra_parts:Extra",
        "lost": "extra_parts:Nothing",
        "nowhere": "extra_nowhere:Extra",
        "raises": "extra_broken:Extra",
        "number": "math:pi",
        "other": "collections:Counter",
        "crooked": "no good:",
    }
    lines = [f"{name} = {path}" for name, path in points.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{parts.group}]", *lines]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    parts.refresh()
    yield parts
    parts.refresh()
    for module in ("extra_parts", "extra_shown", "extra_broken"):
        sys.modules.pop(module, None)


def test_an_installed_package_adds_a_name(added: Registry[object]) -> None:
    assert "extra" in added and list(added)[: len(added.own)] == list(added.own)
    assert "extra_parts" not in sys.modules, "a list of names must not import"
    kind, options = added.resolve("extra")
    assert (kind.__module__, options) == ("extra_parts", {})
    assert added.name_of(kind) == "extra"


def test_the_library_s_names_cannot_be_taken(added: Registry[object]) -> None:
    first = next(iter(added.own))
    assert list(added).count(first) == 1 and added[first].__module__.startswith("counterpoise.")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lost", "'lost' of the entry point extra_parts:Nothing cannot be imported"),
        ("nowhere", "cannot be imported: ModuleNotFoundError: No module named 'extra_nowhere'"),
        ("raises", "cannot be imported: RuntimeError: not today"),
        ("number", r"math:pi \('number'\) must be a subclass of \w+, found 3.14"),
        ("other", r"collections:Counter \('other'\) must be a subclass of"),
        ("crooked", "'crooked' of the entry point no good: cannot be imported"),
        ("extre", "unknown .* 'extre'; did you mean 'extra'"),
    ],
)
def test_what_is_wrong_with_an_entry_point(added: Registry[object], name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        added.find(name)
    assert "\n" not in str(error.value)


def test_a_class_that_a_package_shows_elsewhere_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "shown_shapes"
    package.mkdir()
    (package / "__init__.py").write_text("from .deep import Oval\n")
    (package / "deep.py").write_text(f"from {__name__} import Shape\nclass Oval(Shape): ...\n")
    info = tmp_path / "shown_shapes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shown-shapes\nVersion: 1.0\n")
    points = "[tests.shapes]\nbad = shown_shapes:Nothing\negg = shown_shapes:Oval\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    from shown_shapes.deep import Oval

    assert table().name_of(Oval) == "egg"
