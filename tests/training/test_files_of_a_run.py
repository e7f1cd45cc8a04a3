"""What a run writes while it trains."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from toy import toy_data, toy_model

from counterpoise import Callback, InputError, fit


def test_a_folder_that_goes_while_a_run_trains_is_noticed(tmp_path: Path) -> None:
    class Remove(Callback):
        def on_epoch(self, entry: dict[str, Any]) -> None:
            shutil.rmtree(tmp_path / "run")

    data = toy_data(samples=40)
    with pytest.raises(InputError, match="was deleted or moved while it was trained in"):
        fit(toy_model(data), data, out=tmp_path / "run", epochs=3, callbacks=[Remove()])
    assert not (tmp_path / "run").exists()


def test_batch_norm_by_rank_needs_two_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy_data(samples=40)
    with pytest.warns(UserWarning, match="leaves BatchNorm as it is: of batches of 1"):
        fit(toy_model(data), data, epochs=1, batch_size=1, local_batch_norm=True)
