"""One of two processes that train together; writes the weights it ends with.

Started by ``test_contract.py``, twice. It ends with ``os._exit``, results first: torch 2.13 with
gloo sometimes aborts while a process exits.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from settings import build
from test_contract import data_of, train

from counterpoise.core import ranks
from counterpoise.engine.context import Context


def no_sync_grads() -> Any:
    original = ranks.average
    ranks.average = lambda gradients, parameters: list(gradients)
    return lambda: setattr(ranks, "average", original)


def mean_per_rank() -> Any:
    original = Context.mean

    def mean(self: Context, values: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
        rows = torch.ones(len(values)) if mask is None else mask.float()
        return (values * rows.view(-1, *[1] * (values.dim() - 1))).sum(0) / rows.sum().clamp(min=1)

    Context.mean = mean  # type: ignore[method-assign]
    return lambda: setattr(Context, "mean", original)


def main(folder: Path) -> None:
    rank = int(os.environ["RANK"])
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2
    )
    plan = json.loads((folder / "plan.json").read_text())
    mutations = {"no sync_grads": no_sync_grads, "mean per rank": mean_per_rank}
    names = {}
    for number, (case, kind, mutation) in enumerate(plan):
        restore = mutations.get(mutation, lambda: lambda: None)()
        run = train(build(case), data_of(kind))
        restore()
        state = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
        both: list[Any] = [None, None]
        dist.all_gather_object(both, state)
        if rank == 0:
            names[f"{case} | {kind} | {mutation}"] = f"{number}.pt"
            torch.save({"rank 0": both[0], "rank 1": both[1]}, folder / f"{number}.pt")
    if rank == 0:
        (folder / "done.json").write_text(json.dumps(names))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
