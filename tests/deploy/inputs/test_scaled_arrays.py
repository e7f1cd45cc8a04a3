"""Arrays that float32 cannot hold are scaled for new rows as they were for training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import counterpoise as cp
from counterpoise.cli.main import main


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_times_are_read_alike_at_every_door(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    target = np.arange(120) % 2
    times = 1.7e9 + target[:, None] * 1.0 + rng.normal(size=(120, 3)) * 0.2
    other = rng.normal(size=(120, 4))
    np.savez(tmp_path / "own.npz", time=times, other=other, target=target)
    words = ("--epochs", "20", "--width", "8", "--quiet")
    answers = []
    for source in ("own.npz", "prepared"):
        if source == "prepared":
            assert main(["prepare", str(tmp_path / "own.npz"), str(tmp_path / source)]) == 0
        run, model = tmp_path / f"run-{source}", tmp_path / f"model-{source}"
        assert main(["train", str(tmp_path / source), *words, "--out", str(run)]) == 0
        assert main(["pack", str(run), str(model)]) == 0
        found = cp.Predictor.load(model).predict({"time": times})
        assert (found.label.astype(int) == target).mean() > 0.9
        answers.append(found.probabilities)
    assert np.allclose(*answers, atol=1e-4)
