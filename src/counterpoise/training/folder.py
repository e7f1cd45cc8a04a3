"""The folder of a run: what makes a run this run, and the check of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from counterpoise.core import storage
from counterpoise.core.loader import mix
from counterpoise.core.task import Task
from counterpoise.data.dataset import ArrayData
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import FUSIONS
from counterpoise.models.multimodal import MultimodalModel

from .settings import Settings


def describe(
    model: MultimodalModel, data: ArrayData, method: Method, settings: Settings, task: Task
) -> dict[str, Any]:
    """What makes a run this run, in plain values: a folder that holds another is refused."""
    shapes = {name: list(p.shape) for name, p in model.state_dict().items()}
    return {
        "data": {"name": data.name, "modalities": list(data.modalities)}
        | {"fingerprint": data.fingerprint(), **task.state()},
        "method": {"name": method.label(), "options": method.settings()},
        "model": {
            "fusion": FUSIONS.name_of(model.fusion),
            "unimodal": model.fusion.policy,
            "precision": model.precision,
            "parameters": sum(p.numel() for p in model.parameters()),
            "shapes": f"{mix(*json.dumps(shapes).encode()):016x}",
        },
        "settings": settings.plain(),
    }


def open_folder(folder: Path, identity: dict[str, Any], resume: bool) -> dict[str, Any] | None:
    """Check that a folder is free, or holds this very run; the checkpoint to go on from."""
    identity = json.loads(json.dumps(identity))
    record = folder / "run.json"
    if record.exists():
        other = storage.difference(storage.read_json(record), identity)
        if other:
            raise InputError(f"{folder} holds a run with other settings: {other}; choose another")
        if not resume:
            raise InputError(f"{folder} holds this run already; resume it, or choose another")
    elif folder.exists() and any(not storage.is_draft(path) for path in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no run; choose another folder")
    else:
        storage.write_json(record, identity)
    checkpoint = folder / "checkpoint.pt"
    return storage.read_state(checkpoint) if checkpoint.exists() else None
