"""Every method with every fusion: trained where its table says yes, else refused."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from folded import check_each
from settings import OPTIONS
from torch import nn
from toy import Steps, linear_encoders, same, toy_data, weights

from counterpoise import (
    FUSIONS,
    METHODS,
    ArrayData,
    InputError,
    MultimodalModel,
    build_method,
    build_model,
    fit,
)
from counterpoise.methods.cards import index, why_not

# Small fusions, and what lets a method act within one short epoch.
SMALL = {
    "bottleneck": ":heads=2",
    "early-lstm": ":hidden=4",
    "memory-fusion": ":hidden=4:memory=4:attention=4:retain=4",
    "boosted": ":layers=1:hidden=4",
}
SHORT = {
    "arl": {"start": 0},
    "modality-valuation": {"warm_up": 0, "most": 1},
    "opm": {"warm_up": 0, "p_exe": 1.0},
    "umt": {"teacher_epochs": 1},
    "greedy": {"warm_up": 0},
}
PAIRS = [(m, f) for m in METHODS for f in FUSIONS]
YES = [(m, f) for m, f in PAIRS if not why_not(METHODS[m], FUSIONS[f])]


@cache
def data_of(sequences: bool) -> ArrayData:
    return toy_data(3, 0.3, 24, sequences=sequences, fractions=(0.5, 0.25, 0.25))


def model_of(method: str, fusion: str, policy: str | None = None) -> MultimodalModel:
    steps = FUSIONS[fusion].steps
    encoders: dict[str, nn.Module] = linear_encoders(data_of(False), 4)
    if steps:
        encoders = {m: Steps(4, 3) for m in data_of(True).modalities}
    label = fusion + SMALL.get(fusion, "")
    return build_model(data_of(steps), method, encoders=encoders, fusion=label, unimodal=policy)


def check_pair_trains(name: str, fusion: str) -> None:
    method = build_method(name, **{**OPTIONS.get(name, {}), **SHORT.get(name, {})})
    data, model = data_of(FUSIONS[fusion].steps), model_of(name, fusion)
    before = weights(model)
    # ReconBoost trains one modality in the first epoch, and all of them in the second.
    epochs = 2 if name == "reconboost" else 1
    run = fit(model, data, method, epochs=epochs, batch_size=6, lr=0.01)
    found = run.evaluate(data)
    assert all(bool(x.isfinite().all()) for x in found.logits.values())
    after = weights(run.model)
    assert all(bool(x.isfinite().all()) for x in after.values())
    assert not same(before, after)
    for m in data.modalities:  # no encoder is left out
        mine = {n: x for n, x in after.items() if n.startswith(f"encoders.{m}.")}
        assert not same(mine, {n: before[n] for n in mine}), f"the encoder of {m} did not move"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_its_fusions(name: str) -> None:
    check_each([pair for pair in YES if pair[0] == name], check_pair_trains)


def test_every_other_pair_is_refused() -> None:
    def check(name: str, fusion: str) -> None:
        method, kind = build_method(name), FUSIONS[fusion]
        for policy in kind.policies:
            with pytest.raises(InputError, match=f"method '{name}' (trains a|needs a fusion with)"):
                method.check(model_of(name, fusion, policy), data_of(kind.steps).task)

    check_each([pair for pair in PAIRS if pair not in YES], check)


def test_every_policy_that_both_know_is_accepted() -> None:
    def check(name: str, fusion: str) -> None:
        kind, method = FUSIONS[fusion], build_method(name)
        for policy in kind.policies:
            model, task = model_of(name, fusion, policy), data_of(kind.steps).task
            if policy in method.policies:
                method.check(model, task)
            else:
                with pytest.raises(InputError, match="needs a fusion with unimodal="):
                    method.check(model, task)

    check_each(YES, check)


def test_the_table_says_so() -> None:
    lines = index(METHODS).split("## Which method trains which fusion")[1].splitlines()
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    assert rows[0] == ["method", *FUSIONS]
    table = {
        (row[0], f): cell for row in rows[2:] for f, cell in zip(FUSIONS, row[1:], strict=True)
    }
    assert [pair for pair, cell in table.items() if cell == "yes"] == YES
    assert set(table) == set(PAIRS)


def test_teachers_of_sequences_are_compared_by_the_mean_of_their_steps() -> None:
    data, model = data_of(True), model_of("umt", "bottleneck")
    run = fit(model, data, build_method("umt", teacher_epochs=0), epochs=1, batch_size=64, lr=0.0)
    said = run.history[0]["loss"]
    # Teachers that were not trained say what the encoders say.
    apart = [value for name, value in said.items() if "teacher" in name]
    assert len(apart) == 3 and max(apart) < 1e-10 and said["fused"] > 0  # but for rounding


def test_prototypes_of_sequences_are_those_of_the_mean_of_their_steps() -> None:
    data, model = data_of(True), model_of("pmr", "early-lstm")
    run = fit(model, data, build_method("pmr", share=1), epochs=1, batch_size=64, lr=0.0)
    name = data.modalities[0]
    here = data.train.present[name] & (data.train.target == 0)
    with torch.no_grad():
        steps = run.model.encoders[name](data.train.inputs[name][here])
    prototype = run.method.get_buffer("prototypes_0")[0]
    torch.testing.assert_close(prototype, steps.mean((0, 1)))
