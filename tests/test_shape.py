"""What keeps the library simple: methods, functions and files are short; the loop knows none."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

from folded import check_each

import counterpoise
from counterpoise import METHODS, Method

ROOT = Path(counterpoise.__file__).parent
PROJECT = Path(__file__).parent.parent
SHARED = (
    *("core/batch.py", "core/loader.py", "models/multimodal.py", "evaluation/subsets.py"),
    *("engine/chain.py", "engine/context.py", "engine/loop.py", "engine/method.py"),
    *("training/fit.py", "training/run.py"),
)


def size(method: type[Method]) -> int:
    """Lines of a class without docstrings and blank lines."""
    source = textwrap.dedent(inspect.getsource(method))
    lines = {n for n, line in enumerate(source.splitlines(), 1) if line.strip()}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            text = node.body[0]
            lines -= set(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    return len(lines)


def test_the_median_method_has_less_than_60_lines() -> None:
    assert statistics.median(size(method) for method in METHODS.values()) < 60


def test_the_shared_loop_asks_for_no_method_by_name() -> None:
    def check(file: str) -> None:
        tree = ast.parse((ROOT / file).read_text())
        words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        # What `fit` and `evaluate` take where nothing is said, and the policy of unimodal logits.
        assert words & set(METHODS) <= {"joint", "unimodal"}
        assert not used & {method.__name__ for method in METHODS.values()}

    check_each(SHARED, check)


# Complexity is ruff's (C901, at most 12).

LONGEST, MOST_PARAMETERS, LONGEST_FILE, MOST_IGNORES = 60, 8, 350, 12

FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function of the package, as ``file: name``."""
    for file in FILES:
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{file}: {node.name}", node


def parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names of what a function takes, but for the object that it belongs to."""
    given = node.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return [each.arg for each in named if each and each.arg not in ("self", "cls")]


def test_no_function_is_long() -> None:
    found = {f"{n}, {size}" for n, f in functions() if (size := lines_of(f)) > LONGEST}
    assert found == set()


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From ``def`` to the last line."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_no_function_takes_many_parameters() -> None:
    """But for ``fit``, ``build_model`` and constructors."""
    found = {name for name, f in functions() if len(parameters(f)) > MOST_PARAMETERS}
    allowed = {name for name in found if name.endswith((": fit", ": build_model", ": __init__"))}
    assert found - allowed == set()


def test_no_file_is_long() -> None:
    found = {f for f in FILES if len((ROOT / f).read_text().splitlines()) > LONGEST_FILE}
    assert found == set()


def test_few_types_are_ignored_and_each_says_why() -> None:
    lines = {
        f"{file}:{number}": line
        for file in FILES
        for number, line in enumerate((ROOT / file).read_text().splitlines(), 1)
        if "# type: ignore" in line
    }
    assert len(lines) <= MOST_IGNORES, sorted(lines)
    why = re.compile(r"# type: ignore\[[\w, -]+\]  # \w")
    assert {where for where, line in lines.items() if not why.search(line)} == set()


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """The contract of imports, on the package of a folder."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_import_that_is_turned_round_would_be_seen(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / "src" / "counterpoise")
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    assert lint_imports(tmp_path).returncode == 0
    low = tmp_path / "src" / "counterpoise" / "core" / "batch.py"
    low.write_text(low.read_text() + "\nfrom counterpoise.training import settings\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert "counterpoise.core.batch -> counterpoise.training.settings" in done.stdout
