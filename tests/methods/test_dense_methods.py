"""What methods predict without a look at masks is what they predict with one; and it exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain, combinations
from typing import Any

import pytest
import torch
from folded import check_each
from settings import CASES, build
from torch import Tensor, nn
from toy import toy_batch, toy_data, toy_model

from counterpoise import Batch, InputError, Method, MultimodalModel, build_method, fit
from counterpoise.core.presence import dense, known
from counterpoise.methods import MultiLoss

NAMES = ("a", "b", "c")
SUBSETS = [*chain.from_iterable(combinations(NAMES, k) for k in (1, 2, 3))]
# Beside the cases of all methods: predictions that depend on options.
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "mla mean": ("mla", {"fusion": "mean"}),
    "mla released": ("mla", {"mode": "released"}),
    "dropout released": ("modality-dropout", {"mode": "released", "rates": 0.5}),
    "qmf clamped": ("qmf", {"energy": "clamped"}),
}
Trained = tuple[Method, MultimodalModel]


def method_of(case: str) -> Method:
    if case not in MORE:
        return build(case)
    name, options = MORE[case]
    return build_method(name, **options)


def own_predictions() -> list[str]:
    """A case for each way of predicting that is not the model's own."""
    found = {
        type(method).predict: case
        for case in CASES
        if (method := method_of(case)).overrides("predict") and case != "mla released"
    }
    return [*found.values(), *(case for case in MORE if case != "mla released")]


@cache
@torch.enable_grad()
def trained(case: str, sequences: bool = False) -> Trained:
    """In evaluation mode, after an epoch."""
    data, method = toy_data(len(NAMES), 0.3, sequences=sequences), method_of(case)
    run = fit(toy_model(data, method), data, method, epochs=1, batch_size=32, lr=0.05)
    return run.method, run.model.eval()


def samples(rows: int, sequences: bool = False) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Inputs, NaN where absent, and masks: everything first, then every subset in turn."""
    data = toy_data(len(NAMES), sequences=sequences)
    numbers = 1 + (6 + torch.arange(rows)) % 7
    masks = {m: (numbers >> k & 1).bool() for k, m in enumerate(NAMES)}
    found: dict[str, Any] = toy_batch(data, rows).inputs
    return {m: blank(found[m], ~masks[m]) for m in NAMES}, masks


def blank(x: Tensor, gone: Tensor) -> Tensor:
    return x.masked_fill(gone.view(-1, *[1] * (x.dim() - 1)), torch.nan)


def batch_of(inputs: Mapping[str, Tensor], present: dict[str, Tensor]) -> Batch:
    size = next(iter(inputs.values())).shape[0]
    return Batch(dict(inputs), present, torch.zeros(size), torch.arange(size))


def fixed(subset: Sequence[str], like: Tensor) -> dict[str, Tensor]:
    return {m: known(like, m in subset) for m in NAMES}


def needs_all(case: str) -> bool:
    """Whether zeros are encoded for a missing modality, so that none can be left out."""
    return case == "dropout released"


def close(found: Tensor, wanted: Tensor) -> None:
    assert bool(wanted.isfinite().all())
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def check_dense(case: str, sequences: bool = False) -> None:
    method, model = trained(case, sequences)
    for rows in (1, 7):
        inputs, masks = samples(rows, sequences)
        wanted = method.predict(model, batch_of(inputs, masks))
        with dense():
            close(method.predict(model, batch_of(inputs, masks)), wanted)
        complete, _ = samples(1, sequences)
        complete = {m: x.expand(rows, *x.shape[1:]) for m, x in complete.items()}
        for subset in SUBSETS:
            plain = {m: torch.full((rows,), m in subset) for m in NAMES}
            wanted = method.predict(model, batch_of(complete, plain))
            given = complete if needs_all(case) else {m: complete[m] for m in subset}
            with dense():
                found = method.predict(model, batch_of(given, fixed(subset, torch.arange(rows))))
            close(found, wanted)


class Predictions(nn.Module):
    """What a method predicts, with masks as inputs or for a fixed subset."""

    def __init__(self, case: str, subset: Sequence[str] | None = None) -> None:
        super().__init__()
        (self.method, self.model), self.subset = trained(case), subset

    def forward(self, inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> Tensor:
        size = next(iter(inputs.values())).shape[0]
        if self.subset is not None:
            masks = fixed(self.subset, torch.arange(size))
        return self.method.predict(self.model, batch_of(inputs, masks))


def trace(case: str, subset: Sequence[str] | None = None) -> Any:
    inputs, masks = samples(3)
    if subset is not None:
        inputs, masks = {m: inputs[m] for m in subset}, {}
    size = {0: torch.export.Dim("batch")}
    shapes = dict.fromkeys(inputs, size), dict.fromkeys(masks, size)
    module = Predictions(case, subset).eval()
    with dense(), torch.no_grad():
        return torch.export.export(module, (inputs, masks), dynamic_shapes=shapes, strict=False)


@torch.no_grad()
def check_export(case: str) -> None:
    (method, model), module = trained(case), trace(case).module()
    for rows in (1, 7):
        inputs, masks = samples(rows)
        close(module(inputs, masks), method.predict(model, batch_of(inputs, masks)))


def used(program: Any) -> set[str]:
    """The parameters that a program's result comes from."""
    program.graph.eliminate_dead_code()
    names = program.graph_signature.inputs_to_parameters
    return {names[n.name] for n in program.graph.nodes if n.name in names and n.users}


ORDINARY = [case for case in (*CASES, *MORE) if case != "mla released"]


def test_dense_predictions_are_the_same() -> None:
    check_each(own_predictions(), check_dense)


def test_batch_statistics_stay_those_of_training() -> None:
    check_dense("joint", True)


def test_an_absent_row_that_counts_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MultimodalModel._encode_all

    def encode(self: MultimodalModel, name: str, batch: Batch) -> Tensor:
        one = len(batch) == 1
        return whole(self, name, batch) if one else self._run(name, batch.inputs[name], len(batch))

    monkeypatch.setattr(MultimodalModel, "_encode_all", encode)
    with pytest.raises(AssertionError, match="not close"):
        check_dense("joint")


def test_a_prediction_exports_without_what_a_subset_lacks() -> None:
    names = used(trace("multi-loss", ("b",)))
    parts = {".".join(name.split(".")[1:4]) for name in names}
    # The fused head is for complete samples only.
    assert parts == {"encoders.b.1", "fusion.aux.b"}


def test_what_cannot_be_exported_is_refused() -> None:
    method, model = trained("mla released")
    inputs, masks = samples(7)
    with dense(), torch.no_grad():
        with pytest.raises(InputError, match=r"mla with mode=released .* train with mode=paper"):
            method.predict(model, batch_of(inputs, masks))
        one = method.predict(model, batch_of({"a": inputs["a"][:1]}, fixed("a", torch.arange(1))))
    alone = {m: torch.tensor([m == "a"]) for m in NAMES}
    close(one, method.predict(model, batch_of({m: x[:1] for m, x in inputs.items()}, alone)))

    method, model = trained("dropout released")
    with pytest.raises(InputError, match="inputs must hold every modality, found none of b, c"):
        method.predict(model, batch_of({"a": inputs["a"]}, masks))
    model.train()
    with dense(), pytest.raises(InputError, match=r"call model.eval\(\) first"):
        model(batch_of(inputs, masks))
    model.eval()


def test_multi_loss_of_part_of_the_modalities_is_the_mean_of_their_heads() -> None:
    method, model = trained("multi-loss")
    assert isinstance(method, MultiLoss)
    inputs, _ = samples(1)
    batch = batch_of(inputs, {m: torch.tensor([m != "c"]) for m in NAMES})
    out = model(batch)
    close(method.predict(model, batch), (out.unimodal["a"] + out.unimodal["b"]) / 2)


def check_parts(case: str) -> None:
    model = trained(case)[1]
    gone = {f"model.encoders.{m}." for m in ("a", "c")}
    others = {id(p) for m in ("a", "c") if (part := model.fusion.own(m)) for p in part.parameters()}
    gone |= {
        f"model.fusion.{name}" for name, p in model.fusion.named_parameters() if id(p) in others
    }
    found = used(trace(case, ("b",)))
    assert any(name.startswith("model.encoders.b.") for name in found)
    assert not [name for name in found if name.startswith(tuple(gone))]


@pytest.mark.slow
def test_no_prediction_for_a_subset_has_parts_of_the_others() -> None:
    check_each([case for case in own_predictions() if not needs_all(case)], check_parts)


@pytest.mark.slow
def test_every_dense_prediction_is_the_same() -> None:
    check_each(ORDINARY, check_dense)


@pytest.mark.slow
def test_every_prediction_exports() -> None:
    check_each(ORDINARY, check_export)
