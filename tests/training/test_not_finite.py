"""What is not finite stops a run, and keeps what was trained before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import callback, toy_data, toy_model, weights

from counterpoise import Batch, Context, InputError, NotFiniteError, fit
from counterpoise.cli.main import main
from counterpoise.methods import Joint
from counterpoise.training.run import load_run


class Breaks(Joint):
    """A loss that is no number in one batch of the epoch ``when``."""

    def __init__(self, *, when: int = 1) -> None:
        super().__init__()
        self.when = when

    def step(self, batch: Batch, ctx: Context) -> Any:
        losses = super().step(batch, ctx)
        if (ctx.epoch, ctx.batch) == (self.when, 1):
            return {name: loss * torch.nan for name, loss in losses.items()}
        return losses


class Spoils(Joint):
    """Weights that are no numbers after the last step of the epoch ``when``; finite losses."""

    def __init__(self, *, when: int = 1) -> None:
        super().__init__()
        self.when = when

    def epoch_end(self, ctx: Context) -> None:
        if ctx.epoch == self.when:
            with torch.no_grad():
                next(ctx.model.fusion.parameters()).fill_(torch.nan)


@pytest.mark.parametrize(
    ("kind", "found"),
    [(Breaks, "loss 'fused' of"), (Spoils, "what is predicted with a[+]b became nan")],
)
def test_a_run_stops_after_the_epoch_and_keeps_the_one_before(
    kind: Any, found: str, tmp_path: Path
) -> None:
    data, entries = toy_data(), []
    with pytest.raises(NotFiniteError, match=found) as error:
        fit(
            toy_model(data),
            data,
            kind(),
            epochs=4,
            out=tmp_path / "run",
            callbacks=[callback(on_epoch=entries.append)],
        )
    assert "in epoch 1" in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, InputError)
    assert [entry["epoch"] for entry in entries] == [0]
    kept = load_run(tmp_path / "run", toy_model(data), data, kind())
    assert len(kept.history) == 1
    assert all(bool(x.isfinite().all()) for x in weights(kept.model).values())
    one = fit(toy_model(data), data, "joint", epochs=1)
    for mine, theirs in zip(kept.model.parameters(), one.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_teacher_that_diverges_stops_the_run() -> None:
    data = toy_data()
    with pytest.raises(NotFiniteError, match="of 'unimodal' became"):
        fit(toy_model(data, "umt"), data, "umt", epochs=4, lr=1e30)


def test_the_command_line_says_it_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", "digits", "--lr", "1e30", "--epochs", "3", "--quiet", "--out", str(out)]
    assert main(words) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "became" in said[0]
    assert "lower lr" in said[0]


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_comparison_goes_on_with_the_other_runs(
    jobs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all"
    words = ["compare", "digits", "--methods", "multi-loss:weight=1e38,joint", "--epochs", "2"]
    more = ["--seeds", "1", "--jobs", jobs, "--quiet", "--out", str(out)]
    assert main([*words, *more]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert "1 of 2 runs stopped" in said[0]
    assert (out / "report.html").is_file()
    lines = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    assert {line["method"] for line in lines} == {"joint"}
