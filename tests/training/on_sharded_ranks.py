"""One of several processes that train a model whose encoders are split over them.

Started by ``test_sharded.py``, once a rank; each writes what it found. It ends with ``os._exit``,
results first: torch 2.13 with gloo sometimes aborts while a process exits.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from settings import build
from several_ranks import STALL, Restore, data_of, model_of, outcome, patch, train
from torch import nn

from counterpoise import ArrayData, Run, evaluate, fit
from counterpoise.core import ranks, shards
from counterpoise.engine import gradients
from counterpoise.engine.context import Context
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.models.sharded import count_bytes

Found = dict[str, Any]


class Scalar(nn.Module):
    """[B, 4] -> [B, 8], with a parameter that has no dimension, a tied and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 8)
        self.again.weight = self.first.weight
        self.factor = nn.Parameter(torch.tensor(1.5))
        self.first.bias.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.last(self.again(self.first(x).tanh()).tanh()) * self.factor
        return found


class Skipping(nn.Module):
    """[B, 4] -> [B, 8], with a layer for each rank, and one that none runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.never = nn.Linear(4, 4), nn.Linear(4, 8), nn.Linear(4, 4)
        self.chance = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            x = self.chance[ranks.rank()](x).tanh()
        found: torch.Tensor = self.last(self.first(x).tanh())
        return found


def averaged_twice() -> Restore:
    """Gradients that are divided by the number of ranks once more, after the backward pass."""
    once = Context.sync_grads

    def sync_grads(self: Context) -> None:
        once(self)
        for p in self.parameters():
            if p.grad is not None and shards.is_shard(p):
                p.grad /= ranks.world()

    return patch(Context, "sync_grads", sync_grads)


def norm_of_own() -> Restore:
    """Norms of this rank's parts alone."""

    def sums(tensors: Any) -> torch.Tensor:
        return torch.stack([shards.own(t).square().sum() for t in tensors]).sum()

    return patch(shards, "sum_squares", sums)


def noise_of_own() -> Restore:
    """Noise by the deviation of this rank's part."""
    from counterpoise.methods import ogm_ge

    def noise_like(gradient: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        half = gradient[: (len(gradient) + 1) // 2]
        draw = torch.randn(gradient.shape, generator=generator)
        return draw * (half.std() if half.numel() > 1 else 0.0)

    return patch(ogm_ge, "noise_like", noise_like)


def gradients_of_graph() -> Restore:
    """Gradients by ``torch.autograd.grad``, which does not know the split parameters."""

    def pass_back(ctx: Context, loss: Any, retain_graph: bool, parameters: Any) -> Any:
        found = torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)
        return [g if g is None or shards.is_shard(g) else ranks.all_sum(g) / 2 for g in found]

    return patch(gradients, "pass_back", pass_back)


MUTATIONS = {
    "none": lambda: lambda: None,
    "averaged twice": averaged_twice,
    "own norm": norm_of_own,
    "own noise": noise_of_own,
    "graph": gradients_of_graph,
}


def compare(case: str, kind: str, options: dict[str, Any], mutation: str = "none") -> Found:
    """What a run ends with, or how it was refused."""
    restore = MUTATIONS[mutation]()
    try:
        run = train(case, kind, shard=ranks.world() > 1, **options)
    except InputError as error:
        if dist.is_initialized():
            return {"refused": str(error)}
        return outcome(train(case, kind, **options))
    finally:
        restore()
    run.gather()
    return outcome(run)


def train_own(kind: str, encoder: type[nn.Module], **options: Any) -> Run:
    """An encoder that is hard to split, and common ones."""
    data, size = data_of(kind)
    method = build("ogm")
    model = model_of(kind, data, method)
    torch.manual_seed(3)
    model.encoders["a"] = encoder()
    return fit(model, data, method, epochs=2, batch_size=size, lr=0.02, max_norm=0.1, **options)


def with_folder(folder: Path, case: str, epochs: int, shard: bool, **options: Any) -> Found:
    """A run in a folder, begun or resumed; what it says of itself."""
    data, size = data_of("vector, few")
    method = build(case)
    chosen: dict[str, Any] = {"batch_size": size, "lr": 0.02, "optimizer": "adamw", **options}
    run = fit(
        model_of("vector, few", data, method),
        *(data, method),
        **{"out": folder, "resume": folder.exists(), "epochs": epochs, "shard": shard, **chosen},
    )
    found: Found = {"encoders": count_bytes(run.model.encoders.parameters())}
    return found | look_at(run, data)


def look_at(run: Run, data: ArrayData) -> Found:
    """What the model says, split as it is, and whole."""
    single = evaluate(run.model, data, run.method, split="test", batch_size=1, task=run.task)
    best = run.evaluate(data, which="best")
    refused = ""
    try:
        run.predictor()
    except InputError as error:
        refused = str(error)
    run.gather()
    return {
        "refused": refused,
        "single": single.logits[("a", "b", "c")],
        "best": best.logits[("a", "b", "c")],
        "whole": run.evaluate(data).logits[("a", "b", "c")],
        "state": dict(run.model.state_dict()),
        "packed": "".join(run.predictor().modalities),
    }


def measure_moments() -> Found:
    """Bytes of parameters and of the optimiser's state on this rank, split and not."""
    found: Found = {}

    class Watched(Method):
        name = ""

        def epoch_end(self, ctx: Context) -> None:
            moments = [
                x
                for state in ctx.optimizer.state.values()
                for x in state.values()
                if isinstance(x, torch.Tensor) and x.dim()
            ]
            found["parameters"] = count_bytes(ctx.model.encoders.parameters())
            found["moments"] = count_bytes(moments)

    data, size = data_of("vector, few")
    every = []
    for shard in (False, True):
        method = Watched()
        chosen: dict[str, Any] = {"epochs": 1, "batch_size": size, "optimizer": "adamw"}
        model = model_of("vector, few", data, method)
        fit(model, data, method, shard=shard, **chosen)
        every.append({**found, "fusion": count_bytes(model.fusion.parameters())})
    return {"whole": every[0], "split": every[1]}


def main(folder: Path) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / f'meeting{world}'}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=STALL),
        )
    found = []
    for kind, *arguments in json.loads((folder / "plan.json").read_text()):
        print(kind, *arguments, flush=True)
        if kind == "compare":
            found.append(compare(*arguments))
        elif kind == "own":
            run = train_own("vector, few", Scalar, shard=world > 1)
            run.gather()
            found.append(outcome(run))
        elif kind == "skipping":
            run = train_own("vector, full", Skipping, shard=arguments[0])
            run.gather()
            found.append(outcome(run))
        elif kind == "folder":
            found.append(with_folder(folder / arguments[0], *arguments[1:]))
        else:
            found.append(measure_moments())
    torch.save(found, folder / f"draft{world}.{rank}")
    (folder / f"draft{world}.{rank}").rename(folder / f"found{world}.{rank}.pt")


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
