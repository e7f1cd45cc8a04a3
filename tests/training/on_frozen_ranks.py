"""One of two processes that train beside a frozen encoder; each writes down what it ends with.

Started by ``test_frozen_files.py``, twice.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from test_frozen import FAST, linear_model
from toy import Calls, toy_data

from counterpoise import fit


def main(shared: Path) -> None:
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{shared / 'meeting'}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=200),
    )
    data = toy_data(missing=0.3)
    model = linear_model(data, "a")
    calls = Calls(model.encoders["a"])
    fit(model, data, out=shared / f"disk{rank}", **FAST)
    found = {"weights": model.state_dict(), "rows": sum(calls.rows)}
    torch.save(found, shared / f"rank{rank}.pt")
    dist.barrier()
    os._exit(0)  # torch 2.13 with gloo sometimes aborts while a process exits


main(Path(sys.argv[1]))
