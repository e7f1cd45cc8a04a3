"""``fit(out=...)`` and ``evaluate`` on two ranks: rank 0 alone has the folder, all have the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from on_two_ranks import FAST
from toy import toy_data, toy_model

from counterpoise import Predictor, fit


@pytest.mark.slow
def test_two_ranks_share_one_folder_and_one_result(tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), *sys.path])
    started = [
        subprocess.Popen(
            [sys.executable, here / "on_two_ranks.py", tmp_path],
            env=os.environ | {"RANK": str(rank), "PYTHONPATH": paths},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    first, second = json.loads((tmp_path / "found.json").read_text())
    data = toy_data(missing=0.3)
    alone = fit(toy_model(data), data, epochs=4, **FAST)
    weights = torch.load(tmp_path / "weights.pt")
    for name, tensor in alone.model.state_dict().items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-5, atol=1e-5)
    for name in ("history", "kept", "test", "best", "few", "held", "unlike"):
        assert first[name] == second[name], name
    assert first["rows"] == alone.evaluate(data).rows[("a", "b")].tolist(), (
        "in the order of the split"
    )
    assert first["few"] == 1, "a rank without rows is a case of this test"
    assert "holds this run already" in first["held"]
    assert "all ranks must train the same run, found epochs is 3 on rank 1" in first["unlike"]
    assert len(first["warnings"]) == 1 and not second["warnings"]
    assert "last.safetensors" in first["files"] and not second["files"]
    expected = {"+".join(s): v for s, v in alone.evaluate(data).metrics.items()}
    for subset, values in expected.items():
        assert first["test"][subset] == pytest.approx(values, rel=1e-4, nan_ok=True), subset
    assert Predictor.load(tmp_path / "disk0" / "pack") is not None
