"""``run.json``: what makes a run this run, how it was made, and the model built again from it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from counterpoise.core.device import float32
from counterpoise.core.folder import Folder
from counterpoise.core.loader import mix
from counterpoise.core.registry import Registry
from counterpoise.core.schema import blame, check
from counterpoise.core.strict_json import to_json
from counterpoise.core.task import Task
from counterpoise.data import load
from counterpoise.data.dataset import Dataset
from counterpoise.data.loading import find_source, is_name
from counterpoise.deploy.parts import Given, describe_model, remake_model
from counterpoise.encoders import ENCODERS, unstarted
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_mapping
from counterpoise.fusion import FUSIONS
from counterpoise.methods import METHODS
from counterpoise.methods.registry import build_method, split_chain
from counterpoise.models.multimodal import MultimodalModel

from .build import assemble_model, check_encoders
from .settings import Settings
from .shapes import NotesOfCommand, RecordOfRun

FORMAT = 3  # from here on each file of a run has a checksum
ADVICE = "restore it from a copy, or train the run again in another folder"


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` says of a run, in plain values.

    Attributes:
        data: ``name``, ``modalities``, ``fingerprint`` and the state of the task.
        method: ``name`` and ``options``.
        model: ``fusion``, ``unimodal``, ``precision``, ``parameters`` and ``shapes``, a digest; and
            the modalities with ``frozen`` encoders, if there are any.
        settings: how it trains. The number of epochs is no part of the identity.
        notes: how the model was built, as :func:`fit` was told.
        parts: encoders and fusion, from which the model of a run of Python is built again; None
            where an older version wrote it.
        classes: names of the classes or labels; None where there are none, or an older version
            wrote it.
        source: the folder of prepared data or the file of arrays, which may move.
        read_as: the task, in a word, that was asked for when the file of arrays was read.
        made_with: :func:`counterpoise.core.provenance.made_with`.
        folder: where it was read, for messages.
        sealed: whether each file of the folder it was read from has a checksum.
    """

    data: Mapping[str, Any]
    method: Mapping[str, Any]
    model: Mapping[str, Any]
    settings: Settings
    notes: Mapping[str, Any]
    parts: Mapping[str, Any] | None = None
    classes: Sequence[str] | None = None
    source: str | None = None
    read_as: str | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    folder: Path = Path()
    sealed: bool = True

    @classmethod
    def of(
        cls,
        model: MultimodalModel,
        data: Dataset,
        method: Method,
        settings: Settings,
        task: Task,
        notes: Mapping[str, Any] | None = None,
    ) -> RunRecord:
        """The record of a run that begins; ``notes`` may name the ``source`` of the data.

        Beside it, ``read_as`` is the task that was asked for in a word.
        """
        shapes = {name: list(p.shape) for name, p in model.state_dict().items()}
        notes = _plain_notes(notes)
        source, read_as = notes.pop("source", None), notes.pop("read_as", None)
        return cls(
            {"name": data.name, "modalities": list(data.modalities)}
            | {"fingerprint": data.fingerprint(), **task.state()},
            {"name": method.label(), "options": method.settings()},
            {
                "fusion": FUSIONS.name_of(model.fusion),
                "unimodal": model.fusion.policy,
                "precision": model.precision,
                "parameters": sum(p.numel() for p in model.parameters()),
                "shapes": f"{mix(*json.dumps(shapes).encode()):016x}",
                **({"frozen": list(model.frozen)} if model.frozen else {}),
            },
            settings,
            notes,
            describe_model(model),
            getattr(task, "names", None),
            source,
            read_as,
        )

    @classmethod
    def read(cls, folder: Path | str) -> RunRecord:
        """The record of a folder, also of an older format.

        Raises:
            InputError: no ``run.json``, a damaged one or one of a newer format.
        """
        home = run_folder(folder)
        record = home.read()
        try:
            about = record["identity"]
            settings = Settings.from_record({**about["settings"], "epochs": record["epochs"]})
            return cls(
                **{name: dict(about[name]) for name in ("data", "method", "model", "notes")},
                settings=settings,
                parts=record.get("parts"),
                classes=record.get("classes"),
                source=record.get("source"),
                read_as=record.get("read_as"),
                made_with=record.get("made_with", {}),
                folder=home.path,
                sealed=record["format"] >= FORMAT,
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{home.file} is damaged: settings: {error}; {ADVICE}") from None

    def identity(self) -> dict[str, Any]:
        """What makes a run this run: a folder that holds another is refused."""
        settings = self.settings.plain()
        del settings["epochs"]
        return {
            "data": dict(self.data),
            "method": dict(self.method),
            "model": dict(self.model),
            "settings": settings,
            "notes": dict(self.notes),
        }

    def key(self) -> str:
        """What the run's files say of whose they are: 16 digits that follow from its identity."""
        known = _same_words(json.loads(to_json(self.identity())))
        return f"{mix(*to_json(known, sort_keys=True).encode()):016x}"

    def others(self) -> dict[str, Any]:
        """What may change while a run stays this run: it can be lengthened, its data moved."""
        where = {
            "parts": self.parts,
            "classes": self.classes,
            "source": self.source,
            "read_as": self.read_as,
        }
        return {"epochs": self.settings.epochs} | {k: v for k, v in where.items() if v}

    def matches(self, other: RunRecord) -> bool:
        """Whether a run differs from ``other`` in method and fusion at most."""
        encoders = self.notes.get("encoders"), other.notes.get("encoders")
        same_data = {**self.data} == {**other.data}
        return same_data and self.settings == other.settings and encoders[0] == encoders[1]

    def load_data(self, data_dir: str | None = None) -> Dataset:
        """The data set, by its name, from the folder that it was prepared in or from its file.

        Args:
            data_dir: where data sets lie; or the folder of prepared data, or the file of arrays,
                that has been moved.

        Raises:
            InputError: the data are not there, or have changed.
        """
        name: str | Path = self.data["name"]
        if self.source is None and not is_name(name):
            raise InputError(
                f"{self.folder} was trained in Python on data that no name or file leads to "
                f"({name}); call run.save(PATH) where it is trained, or load_run with its data"
            )
        if self.source is not None:
            found = find_source(self.source, data_dir)
            if found is None:
                raise InputError(
                    f"the data of {self.folder} are not at {self.source}; say where with --data-dir"
                )
            name = found
        modalities = tuple(self.data["modalities"])
        data = load(name, data_dir=data_dir, modalities=modalities, task=self.read_as)
        if data.fingerprint() != self.data["fingerprint"]:
            raise InputError(f"{self.folder} was trained on another version of {data.name}")
        names = getattr(data.task, "names", None)
        if self.classes is not None and list(self.classes) != list(names or ()):
            raise InputError(
                f"{self.folder} was trained on the classes {', '.join(self.classes[:20])}, and "
                f"{data.name} has {', '.join((names or ())[:20]) or 'none that have names'} now"
            )
        return data

    def build(self, data: Dataset) -> tuple[MultimodalModel, Method]:
        """Model and method as they were before training.

        Raises:
            InputError: a part that is not known here, or a model that was built in Python by a
                version that did not describe it.
        """
        with blame(self.folder / "run.json", ADVICE):
            return self._build(data)

    def _build(self, data: Dataset) -> tuple[MultimodalModel, Method]:
        notes = self.notes
        if "width" not in notes and self.parts is not None:
            return self._remake(self.parts, data)
        if "width" not in notes:
            raise InputError(
                f"{self.folder} holds no run of the command line ('width' is missing in run.json)"
            )
        check({"notes": notes}, dict[str, NotesOfCommand], self.folder / "run.json", ADVICE)
        # The label, with its options; where the method chose, the name.
        fusion = notes.get("fusion") or self.model["fusion"]
        encoders = dict(notes.get("encoders", {}))
        self._check_names(METHODS, split_chain(self.method["name"]))
        self._check_names(FUSIONS, [fusion])
        self._check_names(ENCODERS, encoders.values())
        method = build_method(self.method["name"], **self.method["options"])
        with float32(), torch.random.fork_rng(devices=[]):
            model = assemble_model(
                data,
                method,
                encoders={m: unstarted(label) for m, label in encoders.items()},
                fusion=fusion,
                unimodal=self.model["unimodal"],
                width=notes["width"],
                precision=self.model["precision"],
                check=self._warn_of_encoders,
            )
        return model, method

    def _remake(self, parts: Mapping[str, Any], data: Dataset) -> tuple[MultimodalModel, Method]:
        """Model and method of a run of Python."""
        self._check_names(METHODS, split_chain(self.method["name"]))
        try:
            model = remake_model(parts, data.specs, Given())
        except InputError as error:
            raise InputError(
                f"{self.folder} holds a model with parts of somebody's own ({error}); build it and "
                "call load_run"
            ) from None
        return model, build_method(self.method["name"], **self.method["options"])

    def _warn_of_encoders(self, modules: Mapping[str, nn.Module], data: Dataset) -> None:
        """Older versions trained what :func:`check_encoders` refuses."""
        try:
            check_encoders(modules, data)
        except InputError as error:
            warnings.warn(f"{self.folder} was trained so: {error}", UserWarning, stacklevel=4)

    def _check_names(self, parts: Registry[Any], labels: Iterable[str]) -> None:
        """Raise :class:`InputError` unless the names of a run's parts are known."""
        for name in (label.partition(":")[0] for label in labels):
            if name not in parts:
                raise InputError(
                    f"{self.folder} was trained with {parts.kind} {name!r}, which is no name "
                    "here; install the package that adds it, or build the model with its class and "
                    "call load_run"
                )


def _plain_notes(notes: Mapping[str, Any] | None) -> dict[str, Any]:
    found = check_mapping("notes", notes, "plain values")
    try:
        to_json(found)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"notes must be plain values, as JSON has them ({error})") from None
    return found


def run_folder(path: Path | str) -> Folder:
    """The folder of a run."""
    return Folder(
        path,
        "run.json",
        kind="run",
        format=FORMAT,
        upgrade=_upgrade,
        essence=_same_words,
        sealed=FORMAT,
        shape=RecordOfRun,
    )


def _same_words(identity: dict[str, Any]) -> dict[str, Any]:
    """The identity with settings as this version writes them."""
    known = Settings.from_record({**identity["settings"], "epochs": 1})
    settings = replace(known, epochs=1).plain()
    return {**identity, "settings": settings}


def _upgrade(record: dict[str, Any]) -> dict[str, Any]:
    """Format 1, which version 0.1.0 wrote before its release: one flat object.

    Format 2 had no checksums, and the same shape.
    """
    if record.get("format", 1) > 1:
        return record
    names = ("data", "method", "model", "settings", "notes")
    identity = {name: dict(record[name]) for name in names}
    upgraded = {
        "format": 1,
        "identity": identity,
        "epochs": identity["settings"].pop("epochs"),
        "made_with": {"counterpoise": "0.1.0"},
    }
    source = identity["notes"].pop("source", None)
    return upgraded | ({"source": source} if source else {})
