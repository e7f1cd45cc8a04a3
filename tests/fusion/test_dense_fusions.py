"""What fusions compute without a look at masks is what they compute with one; and it exports."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from folded import check_each
from torch import Tensor, nn

import counterpoise
from counterpoise import FUSIONS, Output
from counterpoise.core.presence import dense, known
from counterpoise.fusion import Fusion

WIDTHS = {"a": 3, "b": 5, "c": 4}
K, T, SIZES = 4, 5, (1, 7)
OPTIONS: dict[str, dict[str, Any]] = {
    "bottleneck": {"heads": 2, "length": 16, "fuse_at": 1},
    "early-lstm": {"hidden": 4},
    "memory-fusion": {"hidden": 4, "memory": 3, "attention": 4, "proposal": 4, "head": 5},
    "boosted": {"layers": 2, "hidden": 6},
}
CASES = [(name, policy) for name, kind in FUSIONS.items() for policy in kind.policies]
ONE_CLOCK = ("early-lstm", "memory-fusion")
SUBSETS = [*chain.from_iterable(combinations(WIDTHS, k) for k in range(len(WIDTHS) + 1))]
Masks = dict[str, Tensor]


def build(name: str, policy: str) -> Fusion:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        fusion = FUSIONS[name](WIDTHS, K, policy, **OPTIONS.get(name, {}))
        if name == "boosted":
            fusion.grow("b")
        if name == "mmtm":
            fusion.feature_mean.normal_()
    return fusion.eval()


def mixed(rows: int) -> Masks:
    """All subsets in turn: everything first, then nothing, then the others."""
    numbers = (7 + torch.arange(rows)) % 8
    return {m: (numbers >> k & 1).bool() for k, m in enumerate(WIDTHS)}


def fixed(subset: Sequence[str], rows: int, sure: bool) -> Masks:
    """Only these modalities, which dense computations know if ``sure``."""
    index = torch.arange(rows)
    plain = {m: torch.full((rows,), m in subset) for m in WIDTHS}
    return {m: known(index, m in subset) for m in WIDTHS} if sure else plain


def features(fusion: Fusion, masks: Masks, gone: Sequence[str] = ()) -> dict[str, Tensor]:
    """As encoders give them: zeros where absent, one step of what no sample has, padding."""
    found, source = {}, torch.Generator().manual_seed(3)
    for name, mask in masks.items():
        drawn = torch.randn(len(mask), T, WIDTHS[name], generator=source) * mask[:, None, None]
        drawn[len(mask) // 2, :2] = 0
        found[name] = (drawn[:, :1] if name in gone else drawn) if fusion.steps else drawn[:, -1]
    return found


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def check_same(found: Output, wanted: Output, masks: Masks) -> None:
    close(found.logits, wanted.logits)
    for name, mask in masks.items():
        close(found.features[name], wanted.features[name])
        if bool(mask.any()):
            close(found.unimodal[name][mask], wanted.unimodal[name][mask])


@torch.no_grad()
def check_dense(name: str, policy: str) -> None:
    fusion = build(name, policy)
    for rows in SIZES:
        given = [(mixed(rows), ())] + [
            (fixed(subset, rows, sure), [m for m in WIDTHS if m not in subset] if sure else ())
            for subset in (SUBSETS if rows > 1 else SUBSETS[1::3])
            for sure in (False, True)
            # Without anything there is no clock: one step where that is known, else all.
            if sure or subset or name not in ONE_CLOCK
        ]
        for masks, gone in given:
            lacking = [m for m in WIDTHS if not bool(masks[m].any())]
            plain = {m: mask.clone() for m, mask in masks.items()}
            wanted = fusion(features(fusion, plain, lacking), plain)
            wanted = Output(wanted.logits, dict(wanted.unimodal), wanted.features)
            with dense():
                found = fusion(features(fusion, masks, gone), masks)
                found = Output(found.logits, {m: found.unimodal[m] for m in WIDTHS}, found.features)
            check_same(found, wanted, plain)


def test_dense_is_the_same_for_every_subset() -> None:
    check_each(CASES, check_dense)


@torch.no_grad()
def test_what_is_computed_of_absent_rows_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(part: Any, values: Tensor) -> Tensor:
        return values if part.rows is None else spread(part, values)

    from counterpoise.fusion import bottleneck

    spread: Callable[..., Tensor] = bottleneck._Part.spread
    monkeypatch.setattr(bottleneck._Part, "spread", forget)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        check_dense("bottleneck", "ablate")


# Export.


class Fused(nn.Module):
    """A fusion with masks as inputs, or, for a subset, with its features alone."""

    def __init__(self, fusion: Fusion, subset: Sequence[str] | None = None) -> None:
        super().__init__()
        self.fusion, self.subset = fusion, subset

    def forward(self, given: dict[str, Tensor], masks: Masks) -> tuple[Tensor, list[Tensor]]:
        names = tuple(WIDTHS)
        if self.subset is not None:
            names, like = tuple(self.subset), next(iter(given.values())).flatten(1)[:, 0]
            steps = (1,) if self.fusion.steps else ()
            blank = {m: like.new_zeros(like.shape[0], *steps, w) for m, w in WIDTHS.items()}
            given, masks = blank | given, {m: known(like, m in names) for m in WIDTHS}
        out = self.fusion(given, masks)
        return out.logits, [out.unimodal[m] for m in names]


def trace(fusion: Fusion, subset: Sequence[str] | None = None) -> Any:
    masks = mixed(3) if subset is None else {m: torch.ones(3, dtype=torch.bool) for m in subset}
    given = features(fusion, masks)
    size = {0: torch.export.Dim("batch")}
    shapes = dict.fromkeys(given, size), dict.fromkeys(masks if subset is None else (), size)
    arguments = given, masks if subset is None else {}
    with dense(), torch.no_grad():
        return torch.export.export(
            Fused(fusion, subset), arguments, dynamic_shapes=shapes, strict=False
        )


def used(program: Any) -> set[str]:
    """The parameters that what a program computes comes from."""
    graph, signature = program.graph, program.graph_signature
    graph.eliminate_dead_code()
    names = signature.inputs_to_parameters | signature.inputs_to_buffers
    return {names[node.name] for node in graph.nodes if node.name in names and node.users}


@torch.no_grad()
def check_export(name: str, policy: str) -> None:
    fusion = build(name, policy)
    module = trace(fusion).module()
    for rows in SIZES:
        masks = mixed(rows)
        lacking = [m for m in WIDTHS if not bool(masks[m].any())]
        wanted = fusion(features(fusion, masks, lacking), masks)
        logits, unimodal = module(features(fusion, masks), masks)
        close(logits, wanted.logits)
        for m, found in zip(WIDTHS, unimodal, strict=True):
            close(found[masks[m]], wanted.unimodal[m][masks[m]])


def own(fusion: Fusion, names: Sequence[str]) -> set[str]:
    """The parameters of these modalities' own parts."""
    parts = [part for m in names if (part := fusion.own(m)) is not None]
    ids = {id(p) for part in parts for p in part.parameters()}
    return {f"fusion.{name}" for name, p in fusion.named_parameters() if id(p) in ids}


@torch.no_grad()
def check_subset(name: str, policy: str, subset: Sequence[str]) -> None:
    fusion = build(name, policy)
    program = trace(fusion, subset)
    gone = [m for m in WIDTHS if m not in subset]
    # Each gate and state reads all modalities; all other parts belong to one alone.
    assert not used(program) & own(fusion, gone)
    assert own(fusion, subset) & used(program) or not own(fusion, subset)
    for rows in SIZES:
        masks = fixed(subset, rows, False)
        wanted = fusion(features(fusion, masks, gone), masks)
        given = {m: z for m, z in features(fusion, masks).items() if m in subset}
        logits, unimodal = program.module()(given, {})
        close(logits, wanted.logits)
        for m, found in zip(subset, unimodal, strict=True):
            close(found, wanted.unimodal[m])


lstm_weights = pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")


def test_a_fusion_exports() -> None:
    check_export("gated", "aux")
    check_subset("film", "aux", ("a",))


@pytest.mark.slow
@lstm_weights
def test_every_fusion_exports() -> None:
    check_each(CASES, check_export)


@pytest.mark.slow
@lstm_weights
def test_a_fixed_subset_has_no_part_of_the_others() -> None:
    cases = [(name, kind.policies[-1], s) for name, kind in FUSIONS.items() for s in SUBSETS if s]
    check_each(cases, check_subset)


# What is new must not look at masks either.


def branches(source: str, functions: Sequence[str] = ()) -> Iterator[str]:
    """Where code turns a tensor into a Python number; of all functions or of these."""
    tree: ast.AST = ast.parse(source)
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name in functions]
    for top in nodes if functions else [tree]:
        for node in ast.walk(top):
            if not isinstance(node, ast.Call) or node.args or node.keywords:
                continue
            name = getattr(node.func, "attr", "")
            if name in ("any", "all", "item", "tolist"):
                yield f"line {node.lineno}: {ast.unparse(node)}"


def check_source(path: Path, functions: Sequence[str] = ()) -> None:
    found = list(branches(path.read_text(encoding="utf-8"), functions))
    # Loading a checkpoint sets the number of layers in use.
    found = [line for line in found if "boosted.grown.tolist()" not in line]
    assert not found, f"ask some() or every() of core/presence.py in place of {found}"


def test_no_fusion_and_no_prediction_looks_at_a_mask() -> None:
    room = Path(counterpoise.__file__).parent
    predicting = ("predict", "fused", "shares", "_blank", "forward", "entropy_weights")
    cases: list[tuple[Path, Sequence[str]]] = [(p, ()) for p in (room / "fusion").glob("*.py")]
    for folder in ("methods", "engine", "encoders"):
        cases += [(path, predicting) for path in (room / folder).glob("*.py")]
    check_each(cases, check_source)


@pytest.mark.parametrize("line", ["if bool(mask.any()): pass", "int(mask.all())", "mask.item()"])
def test_a_look_at_a_mask_would_be_seen(line: str) -> None:
    assert list(branches(f"def predict(mask):\n    {line}", ("predict",)))
    assert not list(branches("def predict(x):\n    (x == 0).all(2)\n    some(x)", ("predict",)))
    assert not list(branches(f"def losses(mask):\n    {line}", ("predict",)))
