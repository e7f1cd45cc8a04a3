"""Two processes stop at the same epoch and change their rates at the same epoch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import toy_data, toy_model, weights

from counterpoise import fit

FAST: dict[str, Any] = {
    "epochs": 12,
    "batch_size": 16,
    "lr": 0.3,
    "patience": 3,
    "warmup": 0.5,
    "schedule": "plateau:patience=0:factor=0.5",
    "encoder_lr": {"a": 0.5},
}

SCRIPT = """
import json, os, sys
from datetime import timedelta
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
import torch
import torch.distributed as dist
import counterpoise.training.fit as module
from test_two_ranks import FAST
from toy import toy_data, toy_model

folder, rank = Path(sys.argv[3]), int(sys.argv[4])
dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank,
                        world_size=2, timeout=timedelta(seconds=20))
evaluate = module.evaluate

def opposite(*args, **options):
    # As if rounding made the validation of this process say the opposite.
    found = evaluate(*args, **options)
    for values in found.metrics.values():
        values["accuracy"] = 1 - values["accuracy"]
    return found

if rank == 1:
    module.evaluate = opposite
data = toy_data(noise=3.0)
run = module.fit(toy_model(data), data, **FAST)
torch.save(run.model.state_dict(), folder / f"{rank}.pt")
said = {"epochs": len(run.history), "best": run.best_epoch}
(folder / f"{rank}.json").write_text(json.dumps(said))
sys.stdout.flush()
os._exit(0)  # gloo sometimes aborts while a process exits
"""


@pytest.mark.slow
def test_processes_that_measure_differently_go_on_together(tmp_path: Path) -> None:
    here = Path(__file__).parent
    started = [
        subprocess.Popen([sys.executable, "-c", SCRIPT, here, here.parent, tmp_path, str(rank)])
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=90) for process in started] == [0, 0]
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    states = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    data = toy_data(noise=3.0)
    alone = fit(toy_model(data), data, **FAST)
    assert said == [{"epochs": len(alone.history), "best": alone.best_epoch}] * 2
    assert len(alone.history) < FAST["epochs"]
    for name, tensor in weights(alone.model).items():
        assert torch.equal(states[0][name], states[1][name])
        torch.testing.assert_close(states[0][name], tensor, rtol=1e-4, atol=1e-5)
