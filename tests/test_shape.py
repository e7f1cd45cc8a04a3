"""What keeps the library simple: methods are short, and the shared loop knows none of them."""

from __future__ import annotations

import ast
import inspect
import statistics
import textwrap
from pathlib import Path

import pytest

import counterpoise
from counterpoise import METHODS, Method

ROOT = Path(counterpoise.__file__).parent
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


@pytest.mark.parametrize("file", SHARED)
def test_the_shared_loop_asks_for_no_method_by_name(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    # What `fit` and `evaluate` take where nothing is said, and the policy of unimodal logits.
    assert words & set(METHODS) <= {"joint", "unimodal"}
    assert not used & {method.__name__ for method in METHODS.values()}
