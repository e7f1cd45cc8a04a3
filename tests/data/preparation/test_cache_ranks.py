"""Two processes that train from one cache: every sample once an epoch, and one model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from counterpoise import build_model, fit, load
from counterpoise.data import make_plan, prepare, read_manifest

PROGRAM = """
import os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from counterpoise import Loader, build_model, fit, load

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
data = load(folder / "out")
loader = Loader(data.train, 6, seed=5, shuffle=True)
seen = [torch.cat([batch.index for batch in loader.epoch(e)]) for e in (0, 1)]
run = fit(build_model(data, width=8), data, epochs=2, batch_size=6)
torch.save({"seen": seen, "model": run.model.state_dict()}, folder / f"{rank}.pt")
os._exit(0)  # results first: gloo sometimes aborts while a process exits
"""


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    lines = [f"{k},{'abc'[k % 3]},{k % 3} {k} {-k},{k / 7}" for k in range(45)]
    (tmp_path / "t.csv").write_text("\n".join(["id,target,x,y", *lines]))
    data = prepare(make_plan(read_manifest(tmp_path / "t.csv")), tmp_path / "out")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path)], env=os.environ | {"RANK": str(rank)}
        )
        for rank in (0, 1)
    ]
    for worker in workers:
        worker.wait(timeout=300)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for epoch in (0, 1):
        rows = torch.cat([one["seen"][epoch] for one in found])
        assert rows.sort().values.equal(torch.arange(len(data.train)))
    alone = fit(build_model(load(tmp_path / "out"), width=8), data, epochs=2, batch_size=6)
    for name, tensor in alone.model.state_dict().items():
        assert found[0]["model"][name].equal(found[1]["model"][name])
        assert torch.allclose(found[0]["model"][name], tensor, atol=1e-5), name
