"""Importing the library costs little: its names are imported when they are asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import counterpoise

ROOT = Path(counterpoise.__file__).parent
LAZY = ("counterpoise", "counterpoise.fusion", "counterpoise.encoders", "counterpoise.methods")
LAZY += ("counterpoise.data.readers",)
HEAVY = ("torch", "numpy", "scipy", "sklearn", "yaml", "rich", "matplotlib")


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def test_names_of_parts_are_known_without_torch() -> None:
    code = f"""
import sys
import counterpoise
counterpoise.METHODS; counterpoise.__version__; counterpoise.InputError
list(counterpoise.FUSIONS), list(counterpoise.ENCODERS), "mla" in counterpoise.METHODS
dir(counterpoise)
import counterpoise.core.labels, counterpoise.core.registry
import counterpoise.engine, counterpoise.models, counterpoise.training, counterpoise.core
from counterpoise.fusion import FUSIONS
from counterpoise.methods.registry import build_method
print(*[name for name in {HEAVY} if name in sys.modules])
"""
    assert python(code) == ""


def test_a_function_stays_itself_beside_the_module_of_its_name() -> None:
    code = """
import counterpoise as cp
import counterpoise.models.wrap, counterpoise.training.fit, counterpoise.evaluation.colearning
import counterpoise.evaluation.subsets, counterpoise.data.catalogue.digits
print(*[type(f).__name__ for f in (cp.wrap, cp.fit, cp.colearning, cp.evaluate, cp.load)])
print(*[type(m).__name__ for m in (cp.fusion, cp.data, cp.models, cp.estimator, cp.errors)])
"""
    assert python(code).splitlines() == [" ".join(["function"] * 5), " ".join(["module"] * 5)]


def test_rooms_are_attributes_as_soon_as_the_library_is_imported() -> None:
    assert python("import counterpoise as cp; print(cp.data.load is cp.load)") == "True"


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_is_found_and_known_to_type_checkers(package: str) -> None:
    module = import_module(package)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    assert isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    for node in imports:
        where = import_module("." * node.level + (node.module or ""), package)
        for alias in node.names:
            if alias.name in module.__all__:
                assert getattr(module, alias.name) is getattr(where, alias.name)
    typed = {alias.name for node in imports for alias in node.names}
    assert set(module.__all__) - typed <= set(vars(module)), "not lazy, so bound by the module"
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
