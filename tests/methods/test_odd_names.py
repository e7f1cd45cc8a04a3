"""Every method trains whatever its modalities are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from folded import check_each
from settings import build
from toy import callback, same, toy_data, toy_model

from counterpoise import METHODS, fit
from counterpoise.core.names import module_key
from counterpoise.training.run import load_run

NAMES = ("type", "to.half", "values")
ALIKE = ("a", "b", "c")
FAST: dict[str, Any] = {"epochs": 2, "batch_size": 36, "lr": 0.05}


class Stopped(Exception):
    """In the middle of a run."""


def stop(_: object) -> None:
    raise Stopped


@pytest.mark.slow
def test_all_methods_train_stop_resume_and_evaluate_by_any_name(tmp_path: Path) -> None:
    plain = toy_data(3, 0.2, samples=90, names=ALIKE)
    odd = toy_data(3, 0.2, samples=90, names=NAMES)
    stopped = callback(on_epoch=stop)
    names = dict(zip(ALIKE, NAMES, strict=True))

    def check(label: str) -> None:
        out, method = tmp_path / label, build(label, names)
        with pytest.raises(Stopped):
            fit(toy_model(odd, method), odd, method, out=out, callbacks=[stopped], **FAST)
        method = build(label, names)
        run = fit(toy_model(odd, method), odd, method, out=out, resume=True, **FAST)
        again = load_run(out, toy_model(odd, method := build(label, names)), odd, method)
        assert same(again.model.state_dict(), run.model.state_dict())
        method = build(label)
        other = fit(toy_model(plain, method), plain, method, **FAST)
        keys = [f"encoders.{module_key(m)}." for m in NAMES]
        assert all(any(k.startswith(key) for k in run.model.state_dict()) for key in keys)
        for mine, theirs in ((run.model, other.model), (run.method, other.method)):
            pairs = zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True)
            assert all(torch.equal(x, y) or (x.isnan() == y.isnan()).all() for x, y in pairs)
        ours, yours = run.evaluate(odd).logits, other.evaluate(plain).logits
        assert all(map(torch.equal, ours.values(), yours.values()))

    check_each(METHODS, check)
