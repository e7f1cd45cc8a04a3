"""The loop: what it refuses, what it records, what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from toy import callback, same, toy_data, toy_model, weights

from counterpoise import InputError, NotFiniteError, Settings, build_method, fit
from counterpoise.core import storage
from counterpoise.training.run import load_run

FAST: dict[str, Any] = {"epochs": 2, "batch_size": 16, "lr": 0.05}


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    data = toy_data()
    first, again, other = (fit(toy_model(data), data, seed=seed, **FAST) for seed in (1, 1, 2))
    assert same(weights(first.model), weights(again.model))
    assert not same(weights(first.model), weights(other.model))


def test_the_global_random_state_is_left_alone() -> None:
    data = toy_data()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fit(toy_model(data), data, **FAST)
    assert torch.equal(torch.rand(3), wanted)


def test_history_and_callbacks() -> None:
    data, entries, steps = toy_data(), [], []
    watch = callback(on_epoch=entries.append, on_batch=steps.append)
    run = fit(toy_model(data), data, callbacks=[watch], **FAST)
    assert run.history == entries
    assert [entry["epoch"] for entry in entries] == [0, 1]
    assert steps == [0, 1, 2, 3, 4] * 2
    assert set(entries[0]["validation"]) == {"a+b", "a", "b"}
    assert set(entries[0]["loss"]) == {"fused"}


def test_test_data_is_never_touched() -> None:
    data = toy_data()
    clean = fit(toy_model(data), data, "diagnose-relearn", **FAST)
    data.splits["test"] = None  # type: ignore[assignment]
    blind = fit(toy_model(data), data, "diagnose-relearn", **FAST)
    assert same(weights(clean.model), weights(blind.model))


def test_the_best_epoch_is_the_best_on_validation_and_the_last_stays() -> None:
    data = toy_data(noise=3.0)
    run = fit(toy_model(data), data, epochs=8, batch_size=16, lr=0.3)
    values = [entry["validation"]["a+b"]["accuracy"] for entry in run.history]
    assert run.best_epoch == values.index(max(values))
    last = weights(run.model)
    best = run.evaluate(data, "validation", which="best")
    assert best.metrics[("a", "b")]["accuracy"] == max(values)
    assert same(weights(run.model), last)


def test_mla_with_entropy_refuses_regression() -> None:
    data = toy_data(regression=True)
    with pytest.raises(InputError, match="set its option fusion=mean"):
        fit(toy_model(data, "mla"), data, "mla", **FAST)


def test_divergence_is_said() -> None:
    data = toy_data(regression=True)
    with pytest.raises(NotFiniteError, match="try a lower lr"):
        fit(toy_model(data), data, epochs=3, lr=1e6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'; did you mean 'epochs'?"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'?"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1, found 0"),
        ({"lr": -1.0}, "lr must be a number from 0, found -1.0"),
        ({"method": "joints"}, "did you mean 'joint'?"),
        ({"method": "mla"}, "trains a Shared fusion, found Concat"),
    ],
)
def test_what_is_refused(options: dict[str, Any], said: str) -> None:
    data = toy_data()
    with pytest.raises(InputError) as error:
        fit(toy_model(data), data, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_of_other_modalities_is_refused() -> None:
    data = toy_data(3)
    with pytest.raises(InputError, match="the same modalities"):
        fit(toy_model(data.select("a", "b")), data)


def test_a_run_is_loaded_as_it_was(tmp_path: Path) -> None:
    data = toy_data()
    run = fit(toy_model(data, "mla"), data, "mla", out=tmp_path / "r", **FAST)
    method = build_method("mla")
    loaded = load_run(tmp_path / "r", toy_model(data, "mla", seed=9), data, method)
    assert same(weights(loaded.model), weights(run.model))
    assert same(weights(loaded.method), weights(run.method))
    assert loaded.history == run.history
    assert loaded.settings == Settings(**FAST)


def test_a_run_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    data = toy_data()
    first = fit(toy_model(data), data, out=tmp_path / "r", **FAST)
    again = fit(toy_model(data, seed=4), data, out=tmp_path / "r", resume=True, **FAST)
    assert same(weights(first.model), weights(again.model))
    assert first.history == again.history


def test_gradient_clipping_is_applied() -> None:
    data = toy_data()
    free = fit(toy_model(data), data, **FAST)
    clipped = fit(toy_model(data), data, max_norm=1e-3, **FAST)
    start = weights(toy_model(data))

    def moved(run: Any) -> float:
        return sum(float((w - start[n]).norm()) for n, w in weights(run.model).items())

    assert moved(clipped) < moved(free) / 10


def test_a_draft_of_a_killed_write_does_not_block_a_folder(tmp_path: Path) -> None:
    data = toy_data()
    (tmp_path / ".run.json.123.tmp").write_text("{")
    fit(toy_model(data), data, out=tmp_path, **FAST)
    assert (tmp_path / "last.safetensors").exists()


def test_what_is_trained_beside_a_run_is_told() -> None:
    data = toy_data()
    told: list[str] = []
    method = build_method("umt", teacher_epochs=2)
    watch = callback(on_note=told.append)
    fit(toy_model(data, method), data, method, epochs=1, callbacks=[watch])
    assert told == ["training beside, epoch 1 of 2", "training beside, epoch 2 of 2"]


def test_the_rate_falls_in_steps_and_a_resumed_run_goes_on_with_it(tmp_path: Path) -> None:
    data = toy_data()
    label = "step:every=2:factor=0.1"
    schedule = {"batch_size": 16, "lr": 0.05, "schedule": label, "epochs": 5}
    whole = fit(toy_model(data), data, "multi-loss", out=tmp_path / "whole", **schedule)
    plain = fit(toy_model(data), data, "multi-loss", **{**schedule, "schedule": "constant"})
    assert [e["loss"] for e in whole.history[:2]] == [e["loss"] for e in plain.history[:2]]
    assert whole.history[2]["loss"] != plain.history[2]["loss"]
    # At a factor of 0 nothing moves from the second epoch on.
    still = fit(toy_model(data), data, epochs=4, schedule="step:every=1:factor=0.0", metric="nll")
    losses = [entry["validation"]["a+b"]["nll"] for entry in still.history]
    assert losses[0] == losses[1] == losses[3]

    def stop(entry: dict[str, Any]) -> None:
        if entry["epoch"] == 2:
            raise KeyboardInterrupt

    out, watch = tmp_path / "stopped", callback(on_epoch=stop)
    with pytest.raises(KeyboardInterrupt):
        fit(toy_model(data), data, "multi-loss", out=out, callbacks=[watch], **schedule)
    again = fit(toy_model(data), data, "multi-loss", out=out, resume=True, **schedule)
    assert same(weights(again.model), weights(whole.model))
    rates = {group["lr"] for group in storage.read_state(out / "checkpoint.pt")["optimizer"][
        "param_groups"
    ]}  # fmt: skip
    assert rates == {0.05 * 0.1 * 0.1}
    record = storage.read_json(out / "run.json")["identity"]["settings"]
    assert record["schedule"] == "step:every=2:factor=0.1"
    assert "schedule" not in Settings().plain()  # as in folders that were made before


def test_the_best_epoch_may_be_that_of_some_modalities(tmp_path: Path) -> None:
    data = toy_data(noise=3.0)
    options = {"epochs": 10, "batch_size": 16, "lr": 0.3}
    values = {}
    for name in (None, "a", "b"):
        run = fit(toy_model(data), data, best_with=name, **options)
        key = name or "a+b"
        values[key] = [entry["validation"][key]["accuracy"] for entry in run.history]
        assert run.best_epoch == values[key].index(max(values[key]))
    assert len({v.index(max(v)) for v in values.values()}) > 1
    with pytest.raises(InputError, match="unknown modality in best_with 'c'; known: a, b"):
        fit(toy_model(data), data, best_with="a+c", **options)
    assert "best_with" not in Settings().plain() and Settings(best_with="a").plain()["best_with"]
