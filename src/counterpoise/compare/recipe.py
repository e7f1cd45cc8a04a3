"""Everything but the method and the seed that makes a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from counterpoise.core import storage
from counterpoise.core.labels import parse_options as parse_options
from counterpoise.core.registry import Registry
from counterpoise.data import load
from counterpoise.data.dataset import ArrayData
from counterpoise.data.loading import is_name
from counterpoise.data.preparation.cache import is_cache
from counterpoise.encoders import ENCODERS, Encoder, unstarted
from counterpoise.engine.method import Method
from counterpoise.errors import InputError
from counterpoise.fusion import FUSIONS, Fusion
from counterpoise.methods import METHODS
from counterpoise.methods.registry import build_method, split_chain
from counterpoise.training.build import build_model
from counterpoise.training.fit import fit
from counterpoise.training.run import Run, load_run
from counterpoise.training.settings import Settings


@dataclass(frozen=True)
class Recipe:
    """Everything but the method and the seed that makes a run.

    Attributes:
        data: a name in ``DATASETS``, or a folder of prepared data.
        modalities: which of its modalities; ``None`` takes its default ones.
        data_dir: where it lies; not a part of what the run is.
        settings: how to train; ``settings.seed`` is replaced by each run's.
        fusion, width, precision: of :func:`build_model`. Records hold the name of a class.
        device: where to train.
        encoders: modality -> label in :data:`counterpoise.encoders.ENCODERS` or class, of those
            that are not chosen by shape.
    """

    data: str
    modalities: tuple[str, ...] | None = None
    data_dir: str | None = None
    settings: Settings = field(default_factory=Settings)
    fusion: str | type[Fusion] | None = None
    width: int = 128
    precision: str = "fp32"
    device: str = "cpu"
    encoders: Mapping[str, str | type[Encoder]] = field(default_factory=dict)

    def load(self) -> ArrayData:
        """The data set."""
        return load(self.data, data_dir=self.data_dir, modalities=self.modalities)

    def identity(self) -> dict[str, Any]:
        """What two comparisons must share to stand in one folder."""
        settings = {k: v for k, v in self.settings.plain().items() if k != "seed"}
        modalities = list(self.modalities) if self.modalities else None
        name = Path(self.data).name  # a folder of prepared data may be moved
        return {"data": name, "modalities": modalities, "settings": settings} | {
            "fusion": self.fusion_label(),
            "width": self.width,
            "precision": self.precision,
            **self.chosen(),
        }

    def chosen(self) -> dict[str, dict[str, str]]:
        """The encoders that were asked for, if any."""
        labels = {m: ENCODERS.label_of(chosen) for m, chosen in sorted(self.encoders.items())}
        return {"encoders": labels} if labels else {}

    def fusion_label(self) -> str | None:
        """The fusion that was asked for, if any."""
        return None if self.fusion is None else FUSIONS.label_of(self.fusion)

    def source(self) -> dict[str, str]:
        """Where the data were prepared, if they have no name."""
        return {} if is_name(self.data) else {"source": str(Path(self.data).resolve())}

    def train(self, data: ArrayData, method: Method, seed: int, **others: Any) -> Run:
        """Build the model and train it; ``others`` go to :func:`fit`."""
        model = build_model(
            data,
            method,
            encoders=self.encoders,
            fusion=self.fusion,
            width=self.width,
            precision=self.precision,
            seed=seed,
        )
        return fit(
            model,
            data,
            method,
            settings=replace(self.settings, seed=seed),
            device=check_device(self.device),
            notes={"width": self.width, "fusion": self.fusion_label()}
            | self.chosen()
            | self.source(),
            **others,
        )


def check_device(name: str) -> torch.device:
    """The device of this name; :class:`InputError` if this machine has none such."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def _load_again(about: Mapping[str, Any], source: str | None, data_dir: str | None) -> ArrayData:
    """The data of a run: by name, or from the folder that they were prepared in."""
    name = about["name"] if source is None else source
    if source is not None and data_dir is not None and is_cache(data_dir):
        name = data_dir  # it has been moved
    elif source is not None and not is_cache(source):
        raise InputError(
            f"the prepared data of this run are not at {source}; say where with --data-dir"
        )
    return load(name, data_dir=data_dir, modalities=tuple(about["modalities"]))


def _check_names(folder: Path, parts: Registry[Any], labels: Iterable[str]) -> None:
    """Raise :class:`InputError` unless the names of a run's parts are known."""
    for name in (label.partition(":")[0] for label in labels):
        if name not in parts:
            raise InputError(
                f"{folder} was trained with {parts.kind} {name!r}, which is no name here; install "
                "the package that adds it, or build the model with its class and call load_run"
            )


def open_run(folder: Path | str, data_dir: str | None = None) -> tuple[Run, ArrayData]:
    """A run that the command line trained, and its data set.

    Args:
        folder: of the run.
        data_dir: where data sets lie; or the folder of prepared data that has been moved.

    Raises:
        InputError: no run, a damaged one, one whose data changed or whose model was built in
            Python (load that with :func:`load_run`).
    """
    folder = Path(folder)
    record = storage.read_json(folder / "run.json")
    try:
        about, notes = record["data"], record["notes"]
        # The label, with its options; where the method chose, and in old runs, the name.
        fusion = notes.get("fusion") or record["model"]["fusion"]
        encoders = notes.get("encoders", {})
        _check_names(folder, METHODS, split_chain(record["method"]["name"]))
        _check_names(folder, FUSIONS, [fusion])
        _check_names(folder, ENCODERS, encoders.values())
        data = _load_again(about, notes.get("source"), data_dir)
        method = build_method(record["method"]["name"], **record["method"]["options"])
        model = build_model(
            data,
            method,
            encoders={m: unstarted(label) for m, label in encoders.items()},
            fusion=fusion,
            unimodal=record["model"]["unimodal"],
            width=notes["width"],
            precision=record["model"]["precision"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds no run of the command line ({error} is missing in run.json)"
        ) from None
    if data.fingerprint() != about["fingerprint"]:
        raise InputError(f"{folder} was trained on another version of {data.name}")
    return load_run(folder, model, data, method), data
