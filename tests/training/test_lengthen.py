"""A run that is lengthened equals one that was longer from the start, or is refused; and what a
run keeps of its validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from settings import CASES, build
from toy import same, toy_data, toy_model, weights

from counterpoise import InputError, Method, evaluate, fit
from counterpoise.core import storage
from counterpoise.training.predictions import Predictions
from counterpoise.training.record import RunRecord
from counterpoise.training.run import Run, load_run

FAST: dict[str, Any] = {"batch_size": 16, "lr": 0.05}

# Where the number of epochs decides what a method does. OGM has as default half of the run.
READS = {
    *("amco", "aug", "diagnose-relearn", "g-blending", "ogm", "ogm-ge", "opm", "pmr", "umt"),
    *("relearn reset", "g-blending online", "amco of three", "aug released", "opm per modality"),
    *("dropout + ogm-ge", "relearn + mla"),
}


def train(case: str, out: Path | None = None, **changes: Any) -> Run:
    method = build(case)
    data = toy_data(sequences="batch_norm" in str(CASES[case]))
    return fit(toy_model(data, method), data, method, out=out, **{**FAST, **changes})


def check_same(found: Predictions, wanted: Predictions) -> None:
    assert found.epoch == wanted.epoch
    for name in ("logits", "target", "index"):
        assert torch.equal(getattr(found, name), getattr(wanted, name)), name
    assert same(found.unimodal, wanted.unimodal) and same(found.present, wanted.present)


@pytest.mark.parametrize("case", CASES)
def test_every_method_is_lengthened_to_the_bit_or_refused(case: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(case, out, epochs=2)
    if case in READS:
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        with pytest.raises(InputError) as error:
            train(case, out, epochs=3, resume=True)
        assert "has read that there were to be 2" in str(error.value)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before
        train(case, out, epochs=2, resume=True)
        return
    longer, at_once = train(case, out, epochs=3, resume=True), train(case, epochs=3)
    assert same(weights(longer.model), weights(at_once.model))
    assert same(weights(longer.method), weights(at_once.method))
    assert longer.best_epoch == at_once.best_epoch
    for which in ("last", "best"):
        check_same(longer.validation[which], at_once.validation[which])
    assert storage.read_json(out / "run.json")["epochs"] == 3
    assert "epochs" not in storage.read_json(out / "run.json")["identity"]["settings"]


def test_a_run_is_not_shortened_below_what_is_trained(tmp_path: Path) -> None:
    train("joint", tmp_path / "r", epochs=3)
    with pytest.raises(InputError, match=r"epochs must be at least 3, which .* found 2; choose"):
        train("joint", tmp_path / "r", epochs=2, resume=True)


def test_a_run_stopped_and_ended_early_equals_a_shorter_one(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(self: Method, ctx: Any) -> None:
        if ctx.epoch == 1:
            raise Stopped

    data, method = toy_data(), build("joint")
    method.epoch_start = stop.__get__(method)  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        fit(toy_model(data), data, method, out=tmp_path / "r", epochs=5, **FAST)
    shorter = train("joint", tmp_path / "r", epochs=2, resume=True)
    assert same(weights(shorter.model), weights(train("joint", epochs=2).model))


@pytest.mark.parametrize("case", ["mla", "qmf", "joint"])
def test_a_run_keeps_what_it_predicts_on_validation(case: str, tmp_path: Path) -> None:
    data, method = toy_data(missing=0.3, noise=3.0), build(case)
    model = toy_model(data, method)
    run = fit(model, data, method, out=tmp_path, epochs=8, **{**FAST, "lr": 0.3})
    assert run.best_epoch < 7
    for which in ("last", "best"):
        kept, result = run.validation[which], run.evaluate(data, "validation", which)
        assert kept.epoch == {"last": 7, "best": run.best_epoch}[which]
        assert torch.equal(kept.target, data.validation.target)
        assert torch.equal(kept.index, torch.arange(len(data.validation)))
        torch.testing.assert_close(kept.logits, result.logits[("a", "b")])
        for name in ("a", "b"):
            has = data.validation.present[name]
            assert torch.equal(kept.present[name], has) and 0 < int(has.sum()) < len(has)
            torch.testing.assert_close(kept.unimodal[name][has], result.logits[(name,)])
            assert not kept.unimodal[name][~has].any()
    alone = data.validation[torch.arange(4)].only("a")
    model.eval()
    with torch.no_grad():
        has = alone.present["a"]
        said = method.predict(model, alone)[has]
    torch.testing.assert_close(run.validation["last"].unimodal["a"][:4][has], said)
    loaded = load_run(tmp_path, toy_model(data, method), data, build(case))
    for which in ("last", "best"):
        check_same(loaded.validation[which], run.validation[which])


def test_what_a_kill_left_of_another_epoch_is_not_taken(tmp_path: Path) -> None:
    data = toy_data()
    run = fit(toy_model(data), data, out=tmp_path, epochs=2, **FAST)
    wanted = run.validation["last"]
    ahead = Predictions(2, torch.zeros(1, 3), {}, wanted.target, {}, wanted.index)
    ahead.write(tmp_path / "validation-last.safetensors", RunRecord.read(tmp_path).key())
    (tmp_path / "validation-best.safetensors").unlink()
    model = toy_model(data)
    loaded = load_run(tmp_path, model, data, build("joint"))
    assert loaded.validation == {}
    again = fit(toy_model(data), data, out=tmp_path, epochs=2, resume=True, **FAST)
    check_same(again.validation["last"], wanted)
    check_same(again.validation["best"], run.validation["best"])
    assert Predictions.read(tmp_path / "validation-last.safetensors").epoch == 1
    assert evaluate(again.model, data, split="validation")
