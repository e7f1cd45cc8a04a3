"""What commands that ask a model open: a pack, or the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from counterpoise.errors import InputError

if TYPE_CHECKING:
    from counterpoise.deploy.predictor import Predictor

MODEL = "a pack (counterpoise pack), or the folder of a run"


def open_predictor(
    path: Path, data_dir: str | None = None, which: str = "last", device: str = "cpu"
) -> Predictor:
    """What answers: of a pack, or of a run, which is calibrated on its data first.

    Args:
        path: of a pack or a run.
        data_dir: where the data of a run lie.
        which: epoch of a run, ``"last"`` or ``"best"``; a pack holds one of them.
        device: where to compute.

    Raises:
        InputError: neither of them; a pack that does not hold the best epoch, which was asked for.
    """
    from counterpoise.deploy.folder import is_pack
    from counterpoise.deploy.predictor import Predictor

    if is_pack(path):
        found = Predictor.load(path, device=device)
        if which == "best" and found.facts["training"].get("which") != "best":
            raise InputError(
                f"--which best must come with a run, and {path} is a pack of one epoch; pack the "
                "run again"
            )
        return found
    if not (path / "run.json").is_file():
        raise InputError(
            f"{path} must be {MODEL}, and holds neither config.json nor run.json; "
            "`counterpoise train` writes a run, and `counterpoise pack RUN OUT` packs it"
        )
    from counterpoise.training.run import open_run

    run, data = open_run(path, data_dir)
    run.model.to(device)
    return run.predictor(which, data=data)
