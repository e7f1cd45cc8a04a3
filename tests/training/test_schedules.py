"""The learning rate at every batch: against PyTorch's own loop, after a resume, beside the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, lr_scheduler
from toy import callback, same, toy_context, toy_data, toy_model, weights

from counterpoise import Context, InputError, Settings, build_method, fit
from counterpoise.core import storage
from counterpoise.engine.loop import train_beside, train_epoch
from counterpoise.engine.schedule import Rates
from counterpoise.training.schedules import SCHEDULES, Cosine

EPOCHS, BATCHES, LR, FACTOR = 4, 5, 0.05, 0.3
# `multi-loss` with this option has two parameter groups.
TWO_GROUPS = f"multi-loss:encoder_lr={FACTOR}"
FAST: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 16, "lr": LR}
NOISE = 9.0  # so much that validation does not improve in every epoch, for plateau
Seen = dict[Context, list[list[float]]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Context -> the rates of its groups at each update; the run's own comes last or alone."""
    found: Seen = {}
    update = Context.update

    def watch(self: Context) -> None:
        found.setdefault(self, []).append([g["lr"] for g in self.optimizer.param_groups])
        update(self)

    monkeypatch.setattr(Context, "update", watch)
    yield found


def plain_loop(
    make: Callable[[SGD], Any],
    *,
    per_batch: bool,
    values: list[float] | None = None,
    epochs: int = EPOCHS,
    groups: int = 2,
) -> list[list[float]]:
    """The rates that PyTorch's scheduler gives where it is stepped by hand."""
    rates = [LR, LR * FACTOR][:groups]
    optimizer = SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in rates])
    scheduler, found = make(optimizer), []
    for epoch in range(epochs):
        for _ in range(BATCHES):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            # PyTorch's OneCycleLR refuses the step after the last batch, which nobody reads.
            if per_batch and len(found) < epochs * BATCHES:
                scheduler.step()
        if not per_batch:
            scheduler.step(*([] if values is None else [values[epoch]]))
    return found


def one_cycle(optimizer: SGD, epochs: int = EPOCHS) -> lr_scheduler.OneCycleLR:
    rates = [group["lr"] for group in optimizer.param_groups]
    return lr_scheduler.OneCycleLR(
        optimizer, rates, total_steps=epochs * BATCHES, cycle_momentum=False
    )


PLAIN: dict[str, tuple[Callable[[SGD], Any], bool]] = {
    "constant": (lambda o: lr_scheduler.ConstantLR(o, 1.0), False),
    "step:every=2:factor=0.7": (lambda o: lr_scheduler.StepLR(o, 2, 0.7), False),
    "cosine": (lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * BATCHES), True),
    "onecycle": (one_cycle, True),
    "plateau:patience=0:factor=0.5": (
        lambda o: lr_scheduler.ReduceLROnPlateau(o, "max", 0.5, 0, threshold=0.0, eps=0.0),
        False,
    ),
}


@pytest.mark.parametrize("label", PLAIN)
def test_rates_are_those_of_a_plain_loop_to_the_bit(label: str, seen: Seen) -> None:
    data = toy_data(noise=NOISE)
    run = fit(toy_model(data, "multi-loss"), data, TWO_GROUPS, schedule=label, **FAST)
    make, per_batch = PLAIN[label]
    values = [entry["validation"]["a+b"]["accuracy"] for entry in run.history]
    wanted = plain_loop(make, per_batch=per_batch, values=values if "plateau" in label else None)
    (found,) = seen.values()
    assert found == wanted
    assert (len({rate for rate, _ in found}) > 1) == (label != "constant")
    # The learning rate is all that a schedule moves.
    assert {g["momentum"] for ctx in seen for g in ctx.optimizer.param_groups} == {0.9}


def test_step_is_a_repeated_product(seen: Seen) -> None:
    data = toy_data()
    fit(toy_model(data), data, schedule="step:every=1:factor=0.1", **FAST)
    rate, wanted = LR, []
    for epoch in range(EPOCHS):
        rate = rate * 0.1 if epoch else rate
        wanted += [[rate]] * BATCHES
    assert list(seen.values()) == [wanted]


@pytest.mark.parametrize("label", PLAIN)
def test_the_warmup_is_multiplied_with_every_schedule(label: str, seen: Seen) -> None:
    data = toy_data(noise=NOISE)
    run = fit(toy_model(data, "multi-loss"), data, TWO_GROUPS, schedule=label, warmup=2, **FAST)
    make, per_batch = PLAIN[label]
    values = [entry["validation"]["a+b"]["accuracy"] for entry in run.history]
    rates = plain_loop(make, per_batch=per_batch, values=values if "plateau" in label else None)
    rise = plain_loop(lambda o: lr_scheduler.LinearLR(o, 0.1, total_iters=9), per_batch=True)
    (found,) = seen.values()
    wanted = [
        [rate * up / base for rate, up, base in zip(*both, (LR, LR * FACTOR), strict=True)]
        for both in zip(rates, rise, strict=True)
    ]
    for got, expected in zip(found, wanted, strict=True):
        assert got == pytest.approx(expected, rel=1e-12)
    assert found[10:] == rates[10:]  # afterwards nothing is left of it


def test_a_warmup_of_parts_of_an_epoch(seen: Seen) -> None:
    data = toy_data()
    fit(toy_model(data), data, warmup=0.5, **FAST)
    (found,) = seen.values()
    assert [rate / LR for (rate,) in found[:4]] == pytest.approx([0.4, 0.8, 1.0, 1.0])
    seen.clear()
    fit(toy_model(data), data, warmup=0.2, **FAST)  # one batch is no rise
    assert list(seen.values()) == [[[LR]] * (EPOCHS * BATCHES)]


RESUMED = [*PLAIN, "constant warm", "cosine warm", "plateau:patience=0:factor=0.5 warm"]


@pytest.mark.parametrize("case", RESUMED)
def test_a_run_resumed_at_any_epoch_is_the_same(case: str, tmp_path: Path) -> None:
    label = case.removesuffix(" warm")
    warm = 1.1 if case != label else 0  # it ends within the first batch of an epoch
    data = toy_data(noise=NOISE)
    options = {"schedule": label, "warmup": warm, **FAST}

    def train(name: str, **more: Any) -> Any:
        model = toy_model(data, "multi-loss")
        return fit(model, data, TWO_GROUPS, out=tmp_path / name, **options, **more)

    whole = train("whole")
    for last in range(EPOCHS - 1):

        def stop(entry: dict[str, Any], last: int = last) -> None:
            if entry["epoch"] == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(str(last), callbacks=[callback(on_epoch=stop)])
        again = train(str(last), resume=True)
        assert same(weights(again.model), weights(whole.model)), last
        states = [
            storage.read_state(tmp_path / name / "checkpoint.pt") for name in ("whole", str(last))
        ]
        groups = [[g["lr"] for g in state["optimizer"]["param_groups"]] for state in states]
        assert groups[0] == groups[1]
        assert states[0]["schedule"] == states[1]["schedule"]


def test_a_checkpoint_from_before_there_were_schedules_goes_on(tmp_path: Path) -> None:
    data = toy_data()
    options = {"schedule": "step:every=1:factor=0.3", **FAST}
    whole = fit(toy_model(data), data, **options)

    def stop(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(toy_model(data), data, out=tmp_path, callbacks=[callback(on_epoch=stop)], **options)
    state = storage.read_state(tmp_path / "checkpoint.pt")
    del state["schedule"], state["total_read"]
    storage.write_state(tmp_path / "checkpoint.pt", state)
    again = fit(toy_model(data), data, out=tmp_path, resume=True, **options)
    assert same(weights(again.model), weights(whole.model))


def test_teachers_have_the_schedule_over_their_own_length(seen: Seen) -> None:
    data = toy_data()
    method = build_method("umt:teacher_epochs=2")
    for label, make, per_batch in (
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, 2 * BATCHES), True),
        ("onecycle", lambda o: one_cycle(o, 2), True),
        ("step:every=1:factor=0.1", lambda o: lr_scheduler.StepLR(o, 1, 0.1), False),
    ):
        seen.clear()
        fit(toy_model(data, method), data, method, schedule=label, **FAST)
        teachers, own = seen.values()
        assert teachers == plain_loop(make, per_batch=per_batch, epochs=2, groups=1), label
        assert len(own) == EPOCHS * BATCHES


@pytest.mark.parametrize("label", PLAIN)
def test_probes_have_the_rates_of_the_run(label: str, seen: Seen) -> None:
    data = toy_data(noise=NOISE)
    method = build_method("g-blending:when=online:super_epoch=2")
    model = toy_model(data, method)
    fit(model, data, method, schedule=label, warmup=1, **FAST)
    run = next(found for ctx, found in seen.items() if ctx.model is model)
    probes = [found for ctx, found in seen.items() if ctx.model is not model]
    assert len(probes) == 6  # a, b and both, in the epochs 0 and 2
    if label.startswith("plateau"):  # what the run's validation will say is not known yet
        for first, some in ((0, probes[:3]), (2, probes[3:])):
            assert all(found[0] == run[first * BATCHES] for found in some)
            assert all(found[-1] == run[(first + 1) * BATCHES - 1] for found in some)
        assert run[2 * BATCHES] != [LR]
        return
    assert probes[:3] == [run[: 2 * BATCHES]] * 3
    assert probes[3:] == [run[2 * BATCHES :]] * 3


def test_what_goes_beside_does_not_move_the_rates_of_the_run() -> None:
    ctx = toy_context(epochs=EPOCHS)
    ctx.rates = Rates(Cosine())
    train_epoch(build_method("joint"), ctx, 0)
    ctx.epoch = 1
    ctx.set_rate()
    before = ctx.optimizer.param_groups[0]["lr"]
    for first in (1, None):
        train_beside(build_method("joint"), ctx, toy_model(toy_data()), 2, first)
        assert ctx.optimizer.param_groups[0]["lr"] == before
        ctx.set_rate()
        assert ctx.optimizer.param_groups[0]["lr"] == before


def test_beyond_the_end_a_whole_schedule_stays_at_its_end() -> None:
    ctx = toy_context(epochs=2, lr=LR)
    ctx.rates = Rates(SCHEDULES.build("onecycle"))
    for ctx.epoch, ctx.batch in ((1, BATCHES - 1), (1, BATCHES + 7), (9, 0)):
        ctx.set_rate()
        assert ctx.optimizer.param_groups[0]["lr"] == pytest.approx(LR / 25 / 1e4)
    ctx.epoch, ctx.batch = 0, 0  # and back
    ctx.set_rate()
    assert ctx.optimizer.param_groups[0]["lr"] == pytest.approx(LR / 25)


def test_a_context_of_ones_own_has_no_schedule() -> None:
    ctx = toy_context()
    ctx.optimizer.param_groups[0]["lr"] = 0.123
    train_epoch(build_method("joint"), ctx, 3)
    assert ctx.rates is None and ctx.optimizer.param_groups[0]["lr"] == 0.123


def test_a_constant_rate_is_never_written() -> None:
    """So that a method may have a schedule of its own, and no step pays for one."""
    ctx = toy_context()
    ctx.rates = Rates(SCHEDULES.build("constant"))
    ctx.set_rate()
    ctx.optimizer.param_groups[0]["lr"] = 0.123
    train_epoch(build_method("joint"), ctx, 3)
    assert ctx.optimizer.param_groups[0]["lr"] == 0.123


def test_groups_that_come_after_the_schedule_began_are_refused() -> None:
    ctx = toy_context()
    ctx.rates = Rates(SCHEDULES.build("cosine"))
    ctx.adopt(torch.nn.Linear(2, 1))
    ctx.set_rate()
    with pytest.raises(InputError, match=r"ctx\.adopt changes parameter groups; call it in setup"):
        ctx.adopt(torch.nn.Linear(2, 1))
    with pytest.raises(InputError, match=r"ctx\.scale_lr changes"):
        ctx.scale_lr([], 2.0)


@pytest.mark.parametrize(
    ("method", "label", "read"),
    [
        ("joint", "constant", False),
        ("joint", "step:every=2", False),
        ("joint", "plateau", False),
        ("joint", "cosine", True),
        ("joint", "onecycle", True),
        ("umt", "constant", True),
        ("umt:teacher_epochs=1", "cosine", True),
        ("umt:teacher_epochs=1", "step:every=1", False),
        ("pmr", "constant", True),
    ],
)
def test_who_reads_the_number_of_epochs(
    method: str, label: str, read: bool, tmp_path: Path
) -> None:
    data = toy_data()
    fit(
        toy_model(data, method),
        data,
        method,
        out=tmp_path,
        schedule=label,
        warmup=0.5,
        epochs=2,
        batch_size=16,
    )
    assert storage.read_state(tmp_path / "checkpoint.pt")["total_read"] is read


def test_a_model_with_a_course_of_its_own_knows_nothing_of_the_runs_validation() -> None:
    ctx = toy_context()
    ctx.rates = Rates(SCHEDULES.build("plateau:patience=0"))
    ctx.rates.values += [0.5, 0.4, 0.3]
    for epochs, wanted in ((3, 0.1), (None, 0.1 * 0.1)):
        branch = ctx.branch(toy_model(toy_data()), epochs)
        branch.epoch = 2
        branch.set_rate()
        assert branch.optimizer.param_groups[0]["lr"] == wanted


def test_what_a_probe_reads_counts_and_the_length_of_teachers_does_not() -> None:
    ctx = toy_context(epochs=7)
    assert ctx.branch(toy_model(toy_data()), 3).epochs == 3 and not ctx.total_read
    assert ctx.branch(toy_model(toy_data())).epochs == 7 and ctx.total_read


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("cosin", "unknown schedule 'cosin'; did you mean 'cosine'?"),
        ("step:evry=3", "unknown option of step 'evry'; did you mean 'every'?"),
        ("step", "missing a required"),
        ("step:every=0", "every must be a whole number from 1, found 0"),
        ("plateau:factor=1", "factor must be a number from 0 and below 1, found 1"),
        ("plateau:patience=-1", "patience must be a whole number from 0, found -1"),
        ("cosine:floor=1", "unknown option of cosine 'floor'"),
    ],
)
def test_schedules_that_are_refused(label: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        Settings(schedule=label)
    assert said in str(error.value) and "\n" not in str(error.value)
