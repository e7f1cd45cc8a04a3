"""One of two processes that train into folders; rank 0 writes down what each has found.

Started by ``test_fit_on_ranks.py``, twice, with a folder for each rank's own disk.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from toy import toy_data, toy_model

from counterpoise import evaluate, fit
from counterpoise.core import ranks
from counterpoise.errors import InputError

FAST: dict[str, Any] = {"batch_size": 16, "lr": 0.1}


def refuse(**options: Any) -> str:
    """What ``fit`` says when it refuses."""
    data = toy_data(missing=0.3)
    try:
        fit(toy_model(data), data, **FAST, **options)
    except InputError as error:
        return str(error)
    return "not refused"


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
    own = shared / f"disk{rank}"  # another one for each rank, as of two machines
    data = toy_data(missing=0.3)
    fit(toy_model(data), data, out=own / "run", epochs=2, **FAST)
    run = fit(toy_model(data), data, out=own / "run", resume=True, epochs=4, **FAST)
    small = toy_data(missing=0.3, samples=9, fractions=(0.8, 0.1, 0.1))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        noted = fit(toy_model(small), small, epochs=1, metric="auroc", **FAST)
    found = {
        "history": [entry["validation"] for entry in run.history],
        "kept": {which: kept.epoch for which, kept in run.validation.items()},
        "test": {"+".join(s): v for s, v in run.evaluate(data).metrics.items()},
        "best": {"+".join(s): v for s, v in run.evaluate(data, which="best").metrics.items()},
        "rows": run.evaluate(data).rows[("a", "b")].tolist(),
        "few": len(evaluate(noted.model, small, split="test").target),
        "held": refuse(out=own / "run", epochs=4),
        "unlike": refuse(epochs=2 + rank),
        "warnings": [str(w.message) for w in warned if "no epoch is the best" in str(w.message)],
        "files": sorted(path.name for path in (own / "run").glob("*")),
    }
    if rank == 0:
        run.save(own / "pack")  # rank 0 alone
    every = ranks.collect(found)
    if rank == 0:
        torch.save(run.model.state_dict(), shared / "weights.pt")
        (shared / "found.json").write_text(json.dumps(every))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)
