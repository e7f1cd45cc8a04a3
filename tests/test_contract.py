"""Five properties of every method, each beside the mutation that breaks it; the sixth is ranks.

On two complete modalities and on three with 30 % missing. A property test that never failed
proves nothing: every check here is also run on a broken method, or with a broken engine, and must
fail there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from settings import CASES, build
from torch import Tensor, nn
from toy import callback, same, toy_data, weights

from counterpoise import ArrayData, Batch, Method, MultimodalModel, Run, build_model, fit
from counterpoise.methods import METHODS, MLA, Joint
from counterpoise.methods.registry import split_chain

# Samples that no batch size divides: the last batch is smaller.
SAMPLES, BATCH, EPOCHS = 125, 16, 3
DATA = {"2 complete": (2, 0.0), "3 with 30 % missing": (3, 0.3)}
OPTIMIZER: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}

every_case = pytest.mark.parametrize("case", CASES)
every_data = pytest.mark.parametrize("kind", DATA)
# Mutants are looked for on the simpler data; on the other one too where there is time.
mutant_data = pytest.mark.parametrize(
    "kind", ["2 complete", pytest.param("3 with 30 % missing", marks=pytest.mark.slow)]
)


def data_of(kind: str, names: tuple[str, ...] = ("a", "b", "c")) -> ArrayData:
    count, missing = DATA[kind]
    return toy_data(count, missing, SAMPLES, names=names)


def train(method: Method, data: ArrayData, seed: int = 0, **options: Any) -> Run:
    model = options.pop("model", None) or build_model(data, method, width=8, seed=seed)
    given = {"epochs": EPOCHS, "batch_size": BATCH, **OPTIMIZER, **options}
    return fit(model, data, method, **given)


@cache
def trained(case: str, kind: str, epochs: int = EPOCHS) -> Run:
    """A case's run, shared by the tests that only look at it."""
    return train(build(case), data_of(kind), epochs=epochs)


def mutant(method: Method, **members: Any) -> Method:
    """The same method with some of its members replaced."""
    method.__class__ = type("Mutant", (type(method),), members)
    return method


def fails(check: Callable[..., None], *arguments: Any) -> None:
    with pytest.raises(AssertionError):
        check(*arguments)


# 1. Trains, and outputs are finite.


def check_trains(run: Run, data: ArrayData) -> None:
    before = weights(build_model(data, run.method, width=8))
    result = run.evaluate(data)
    assert not same(before, weights(run.model)), "no weight moved"
    assert all(bool(x.isfinite().all()) for x in result.logits.values())
    first, last = (sum(run.history[k]["loss"].values()) for k in (0, -1))
    assert last < first, "the loss did not fall"


@every_case
@every_data
def test_trains_and_is_finite(case: str, kind: str) -> None:
    check_trains(trained(case, kind), data_of(kind))


@every_case
def test_a_method_that_never_updates_fails_to_train(case: str) -> None:
    def step(self: Method, batch: Batch, ctx: Any) -> dict[str, Tensor]:
        return {"fused": ctx.loss(ctx.model(batch).logits, batch).detach()}

    data = data_of("2 complete")
    method = mutant(build(case), step=step, epoch_end=lambda *_: None)
    fails(check_trains, train(method, data), data)


# 2. What is predicted for a sample does not depend on the rest of its batch.


Predict = Callable[[MultimodalModel, Batch], Tensor]


def check_predicts_alone(predict: Predict, run: Run, data: ArrayData) -> None:
    samples = data.test[torch.arange(20)]
    with torch.no_grad():
        together = predict(run.model, samples)
        for k in range(20):
            alone = predict(run.model, data.test[torch.tensor([k])])
            torch.testing.assert_close(alone[0], together[k], atol=1e-5, rtol=1e-5)


@every_case
@every_data
def test_predicts_each_sample_alone(case: str, kind: str) -> None:
    run = trained(case, kind, epochs=8)
    check_predicts_alone(run.method.predict, run, data_of(kind))

    def centred(model: MultimodalModel, batch: Batch) -> Tensor:
        logits = run.method.predict(model, batch)
        return logits - logits.mean(0)

    fails(check_predicts_alone, centred, run, data_of(kind))


@every_data
def test_entropy_over_the_batch_would_be_seen(kind: str) -> None:
    run = train(MLA(mode="released"), data_of(kind), epochs=8)
    fails(check_predicts_alone, run.method.predict, run, data_of(kind))


# 3. Resuming at every epoch boundary, from another initial seed, is bit-equal to not stopping.


class Stop(Exception):
    pass


def check_resumes(
    build_one: Callable[[], Method],
    data: ArrayData,
    folder: Path,
    stops: Sequence[int] = range(EPOCHS),
    whole: Run | None = None,
) -> None:
    """A run stopped after each epoch of ``stops`` goes on with a model of another seed."""
    whole = whole or train(build_one(), data)

    def stranger() -> MultimodalModel:
        model = build_model(data, build_one(), width=8, seed=99)
        torch.manual_seed(99)
        return model

    for boundary in stops:

        def stop(entry: dict[str, Any], boundary: int = boundary) -> None:
            if entry["epoch"] == boundary:
                raise Stop

        first = {} if boundary == stops[0] else {"resume": True, "model": stranger()}
        with pytest.raises(Stop):
            train(build_one(), data, out=folder, callbacks=[callback(on_epoch=stop)], **first)
    run = train(build_one(), data, out=folder, resume=True, model=stranger())
    assert same(weights(run.model), weights(whole.model)), f"stopped after {list(stops)}"
    assert same(weights(run.method), weights(whole.method))
    assert same(run.best_weights[0], whole.best_weights[0])
    assert run.best_epoch == whole.best_epoch
    for mine, theirs in zip(run.history, whole.history, strict=True):
        untimed = {"seconds": 0, "processor": 0}
        assert {**mine, **untimed} == {**theirs, **untimed}


@every_case
@every_data
def test_resumes_bit_equal(case: str, kind: str, tmp_path: Path) -> None:
    check_resumes(lambda: build(case), data_of(kind), tmp_path, whole=trained(case, kind))


@pytest.mark.slow
@every_case
@every_data
def test_resumes_bit_equal_from_each_epoch_alone(case: str, kind: str, tmp_path: Path) -> None:
    for boundary in range(EPOCHS):
        check_resumes(
            lambda: build(case),
            data_of(kind),
            tmp_path / str(boundary),
            stops=(boundary,),
            whole=trained(case, kind),
        )


@pytest.mark.parametrize("name", ["mla", "diagnose-relearn"])
def test_a_buffer_left_out_of_the_checkpoint_would_be_seen(name: str, tmp_path: Path) -> None:
    def state_dict(self: Method, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self: Method, *args: Any, **kwargs: Any) -> None:
        return None

    def build_one() -> Method:
        return mutant(build(name), state_dict=state_dict, load_state_dict=load_state_dict)

    fails(check_resumes, build_one, data_of("2 complete"), tmp_path)


@every_case
def test_forgotten_momentum_would_be_seen(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.optim.SGD, "load_state_dict", lambda self, state: None)
    fails(check_resumes, lambda: build(case), data_of("2 complete"), tmp_path)


# 4. It ends elsewhere than joint training of the same model. A method that trains as joint does,
# hook by hook, is its head: it must predict otherwise than joint training of joint's own model.

HOOKS = (
    *("batches", "step", "losses", "transform", "backward"),
    *("modulate", "epoch_start", "epoch_end"),
)


def is_its_head(case: str) -> bool:
    return not any(build(case).overrides(hook) for hook in HOOKS)


def check_differs_from_joint(mine: Run, data: ArrayData, head: bool) -> None:
    base = "joint" if head else mine.method
    joint = train(Joint(), data, model=build_model(data, base, width=8))
    if head:
        assert not same(*(dict(run.evaluate(data).logits) for run in (mine, joint)))
    else:
        assert not same(weights(mine.model), weights(joint.model))


others = pytest.mark.parametrize("case", [case for case in CASES if case != "joint"])


@others
@every_data
def test_ends_elsewhere_than_joint(case: str, kind: str) -> None:
    check_differs_from_joint(trained(case, kind), data_of(kind), is_its_head(case))


@others
@mutant_data
def test_joint_in_disguise_would_be_seen(case: str, kind: str) -> None:
    head = is_its_head(case)
    members = (*HOOKS, "setup", "predict", "fusions") if head else HOOKS
    plain = {member: getattr(Joint, member) for member in members}
    data = data_of(kind)
    fails(check_differs_from_joint, train(mutant(build(case), **plain), data), data, head)


# 5. Renaming the modalities changes nothing, to the bit.

# Another alphabetical order; a name that code looks for; two that no part of a module can have.
RENAMED = ("type", "audio", "to.half")


NEW_NAMES = dict(zip("abc", RENAMED, strict=True))


def check_names_do_not_matter(mine: Run, other: Run, kind: str) -> None:
    plain, renamed = data_of(kind), data_of(kind, RENAMED)
    pairs = zip(mine.model.state_dict().values(), other.model.state_dict().values(), strict=True)
    assert all(torch.equal(left, right) for left, right in pairs)
    ours, theirs = mine.evaluate(plain).logits, other.evaluate(renamed).logits
    assert all(
        torch.equal(left, right) for left, right in zip(ours.values(), theirs.values(), strict=True)
    )


@every_case
@every_data
def test_names_do_not_matter(case: str, kind: str) -> None:
    other = train(build(case, NEW_NAMES), data_of(kind, RENAMED))
    check_names_do_not_matter(trained(case, kind), other, kind)


@every_case
@mutant_data
def test_a_method_that_looks_for_a_name_would_be_seen(case: str, kind: str) -> None:
    def epoch_end(self: Method, ctx: Any) -> None:
        for name, parameter in ctx.model.named_parameters():
            if "audio" in name:
                nn.init.zeros_(parameter)

    mine = train(mutant(build(case), epoch_end=epoch_end), data_of(kind))
    renamed = mutant(build(case, NEW_NAMES), epoch_end=epoch_end)
    fails(check_names_do_not_matter, mine, train(renamed, data_of(kind, RENAMED)), kind)


# 6. Several processes equal one at the same global batch: ``test_ranks.py``.


def test_the_cases_cover_the_table() -> None:
    """Each case is a method of the table, so none can be left out of these tests."""
    for case, (name, _) in CASES.items():
        assert set(split_chain(name)) <= set(METHODS), case
    assert set(METHODS) <= {name for name, _ in CASES.values()}
