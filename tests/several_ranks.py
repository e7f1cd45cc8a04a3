"""One of several processes that train together; rank 0 writes what they end with.

Started by :func:`train_on`, once a rank. It ends with ``os._exit``, results first: torch 2.13 with
gloo sometimes aborts while a process exits.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from settings import build
from torch import Tensor, nn
from torch.nn import functional

from counterpoise import ArrayData, Method, MultimodalModel, Run, build_model, fit, wrap
from counterpoise.core import ranks
from counterpoise.engine.context import Context
from counterpoise.models import batch_norm

STALL = 60  # seconds without an answer from another rank
# Training samples, share of missing entries, batch size. Batches of 15 or 5 leave a last one of 1,
# which all ranks but one see nothing of; of 5, many a rank has no row of a modality that others
# have.
BATCHES: dict[str, tuple[int, float, int]] = {
    "full": (32, 0.0, 16),
    "empty": (31, 0.3, 15),
    "few": (16, 0.5, 5),
}
ENCODERS = ("vector", "BatchNorm")
KINDS = [f"{encoders}, {batches}" for encoders in ENCODERS for batches in BATCHES]
SHAPES = {"BatchNorm": [(2, 9), (1, 5, 5), (4,)]}
PARTS, WEIGHED = "in 3 parts", "weighed"
LOCAL = "local statistics"
Restore = Callable[[], Any]
Entry = tuple[str, str, str]  # case, kind, mutation


def data_of(kind: str) -> tuple[ArrayData, int]:
    """Three modalities, and the batch size: vectors, or a sequence, an image and a vector."""
    encoders, batches = kind.split(", ")[:2]
    count, missing, size = BATCHES[batches]
    shapes = SHAPES.get(encoders, [(4,), (5,), (6,)])
    generator, every = np.random.default_rng(1), count + 20
    target = np.arange(every) % 3
    inputs = {
        name: generator.normal(size=(3, *shape))[target] * 2 / (1 + k)
        + generator.normal(size=(every, *shape))
        for k, (name, shape) in enumerate(zip("abc", shapes, strict=True))
    }
    # Each class has several samples of each modality: the distance of a feature from the mean of a
    # single one (pmr) is rounding noise.
    generator = np.random.default_rng(0)
    mask = generator.random((3, every)) >= missing
    mask[generator.integers(3, size=every), np.arange(every)] |= ~mask.any(0)
    present = dict(zip("abc", mask, strict=True))
    split = np.array(["train"] * count + ["validation"] * 12 + ["test"] * 8)
    weights = 1 + np.arange(every) % 3 if WEIGHED in kind else None
    data = ArrayData(inputs, target, present=present, split=split, name="ranks", weights=weights)
    return data, size


class OwnForward(nn.BatchNorm1d):
    """As other libraries' layers are: BatchNorm by the function, and more in one forward."""

    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        return functional.batch_norm(
            x, mean, var, self.weight, self.bias, self.training, 0.2, self.eps
        ).relu()


def layered(size: int) -> nn.Module:
    """[B, size] -> [B, 8], with every kind of BatchNorm, two of them on [B, C, T]."""
    return nn.Sequential(
        nn.Linear(size, 8),
        nn.BatchNorm1d(8, momentum=None),
        nn.Tanh(),
        nn.Linear(8, 12),
        OwnForward(12),
        nn.Unflatten(1, (4, 3)),
        nn.SyncBatchNorm(4, affine=False),
        nn.Tanh(),
        nn.BatchNorm1d(4),
        nn.Flatten(),
        nn.Linear(12, 8),
    )


class Own(nn.Module):
    """Somebody's own model, with BatchNorm in its encoders and after them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({m: layered(4 + k) for k, m in enumerate("abc")})
        self.rest = nn.Sequential(nn.Linear(24, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        found = [self.parts[m](x) for m, x in zip("abc", (a, b, c), strict=True)]
        head: Tensor = self.head(self.rest(torch.cat(found, 1)))
        return head


def model_of(kind: str, data: ArrayData, method: Method) -> MultimodalModel:
    encoders = kind.split(", ")[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if encoders == "layers":
            chosen: Any = {m: layered(4 + k) for k, m in enumerate("abc")}
            return build_model(data, method, encoders=chosen, width=8)
        if encoders == "wrapped":
            return wrap(Own(), {m: f"parts.{m}" for m in "abc"})
    return build_model(data, method, width=8)


def train(case: str, kind: str, **options: Any) -> Run:
    """Two epochs of a case of ``settings.CASES``."""
    data, size = data_of(kind)
    method = build(case)
    chosen = {"epochs": 2, "batch_size": size, "lr": 0.02, "weight_decay": 1e-3, **options}
    if PARTS in kind:
        chosen["accumulate"] = 3
    return fit(model_of(kind, data, method), data, method, **chosen)


def outcome(run: Run) -> dict[str, Tensor]:
    """What two runs are compared by: all weights and buffers, and the history of validation."""
    state = {f"model.{k}": x for k, x in run.model.state_dict().items()}
    state |= {f"method.{k}": x for k, x in run.method.state_dict().items()}
    kept = {k: x.detach().clone() for k, x in state.items()}
    history = [
        value
        for entry in run.history
        for metrics in entry["validation"].values()
        for value in metrics.values()
    ]
    return kept | {"history": torch.tensor(history, dtype=torch.float64)}


# Mutations: each breaks the equality.


def patch(owner: Any, name: str, value: Any) -> Restore:
    before = getattr(owner, name)
    setattr(owner, name, value)
    return lambda: setattr(owner, name, before)


def no_sync_grads() -> Restore:
    return patch(ranks, "average", lambda gradients, parameters: list(gradients))


def mean_per_rank() -> Restore:
    def mean(self: Context, values: Tensor, mask: Tensor | None = None) -> Any:
        rows = torch.ones(len(values)) if mask is None else mask.float()
        return (values * rows.view(-1, *[1] * (values.dim() - 1))).sum(0) / rows.sum().clamp(min=1)

    return patch(Context, "mean", mean)


def means_of_ranks() -> Restore:
    """Statistics that are the mean over the ranks of each rank's own, however many rows it has."""

    def merge(every: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means, squares = every[:, :-1].chunk(2, 1)
        counts = every[:, -1:]
        count = counts.sum().clamp(min=1)
        return count, means.mean(0), (squares / counts.clamp(min=1)).mean(0) * count

    return patch(batch_norm, "merge_moments", merge)


def dummy_counts() -> Restore:
    before = batch_norm.measure_moments
    return patch(batch_norm, "measure_moments", lambda x, real: before(x, True))


def own_gradients() -> Restore:
    return patch(batch_norm, "sum_gradients", lambda sums: sums * ranks.world())


def used_by_none() -> Restore:
    """Gradients of zero where no rank has any."""

    def average(gradients: Any, parameters: Any) -> Any:
        pairs = zip(gradients, parameters, strict=True)
        filled = [torch.zeros_like(p) if g is None else g for g, p in pairs]
        return original(filled, parameters)

    original = ranks.average
    return patch(ranks, "average", average)


MUTATIONS: dict[str, Callable[[], Restore]] = {
    "none": lambda: lambda: None,
    "no sync_grads": no_sync_grads,
    "mean per rank": mean_per_rank,
    LOCAL: lambda: lambda: None,  # an option
    "means of ranks": means_of_ranks,
    "dummy counts": dummy_counts,
    "own gradients": own_gradients,
    "zeros for none": used_by_none,
}


def run_entry(case: str, kind: str, mutation: str) -> list[dict[str, Tensor]]:
    """What every rank ends with, known on all of them."""
    restore = MUTATIONS[mutation]()
    try:
        found = outcome(train(case, kind, local_batch_norm=mutation == LOCAL))
    except BaseException:
        print(f"in {case} | {kind} | {mutation}", flush=True)
        raise
    restore()
    if ranks.world() == 1:
        return [found]
    every: list[Any] = [None] * ranks.world()
    dist.all_gather_object(every, found)
    return every


def train_on(
    world: int, plan: Sequence[Entry], folder: Path, limit: int = 900
) -> dict[Entry, list[dict[str, Tensor]]]:
    """Entry of the plan -> what each of ``world`` processes ends with.

    Args:
        world: how many processes.
        plan: case, kind of data, and mutation of each run.
        folder: is made.
        limit: seconds until they are ended.
    """
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, str(Path(__file__)), str(folder)]
    workers = []
    for rank in range(world):
        settings = {"WORLD_SIZE": str(world), "RANK": str(rank), "OMP_NUM_THREADS": "1"}
        with (folder / f"log{rank}").open("w") as log:
            workers.append(
                subprocess.Popen(
                    command, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT
                )
            )
    try:
        for worker in workers:
            worker.wait(timeout=limit)
    finally:
        for worker in workers:
            worker.kill()
    # Judged by the results and not by the exit status: gloo sometimes aborts after them.
    logs = "\n".join((folder / f"log{rank}").read_text()[-3000:] for rank in range(world))
    assert (folder / "done.pt").exists(), logs
    found = torch.load(folder / "done.pt", weights_only=True)
    return dict(zip(plan, found, strict=True))


def main(folder: Path) -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=world,
            timeout=timedelta(seconds=STALL),
        )
    found = [run_entry(*entry) for entry in json.loads((folder / "plan.json").read_text())]
    if rank == 0:
        torch.save(found, folder / "draft.pt")
        (folder / "draft.pt").rename(folder / "done.pt")


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
