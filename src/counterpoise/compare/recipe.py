"""Everything but the method and the seed that makes a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from counterpoise.core.declared import WIDEST
from counterpoise.core.device import check_device as check_device
from counterpoise.core.paths import expand
from counterpoise.data import load
from counterpoise.data.dataset import Dataset
from counterpoise.data.loading import is_name
from counterpoise.encoders import ENCODERS, Encoder
from counterpoise.engine.method import Method
from counterpoise.errors import check_number
from counterpoise.evaluation.subsets import Subsets
from counterpoise.fusion import FUSIONS, Fusion
from counterpoise.models.multimodal import MultimodalModel
from counterpoise.training.build import build_model
from counterpoise.training.fit import fit
from counterpoise.training.run import Run
from counterpoise.training.settings import Settings, merge_settings


@dataclass(frozen=True)
class Recipe:
    """Everything but the method and the seed that makes a run.

    Attributes:
        data: a name in ``DATASETS``, a folder of prepared data, or a ``.npz`` file.
        modalities: which of its modalities; ``None`` takes its default ones.
        data_dir: where it lies; not a part of what the run is.
        settings: how to train; ``settings.seed`` is replaced by each run's.
        fusion, width, precision: of :func:`build_model`. Records hold the name of a class.
        device: where to train.
        encoders: modality -> label in :data:`counterpoise.encoders.ENCODERS` or class, of those
            that are not chosen by shape.
        task: of a ``.npz`` file, where its target does not tell it.
        subsets: which are evaluated on test in the end (:func:`counterpoise.evaluate`).
        own: label of a method -> settings, and ``width``, of its runs in place of these.
        freeze: modalities whose encoders stay as they are.
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
    task: str | None = None
    subsets: Subsets = None
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    freeze: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_number("width", self.width, 1, WIDEST, whole=True)

    def load(self) -> Dataset:
        """The data set."""
        return load(self.data, data_dir=self.data_dir, modalities=self.modalities, task=self.task)

    def identity(self) -> dict[str, Any]:
        """What two comparisons must share to stand in one folder."""
        settings = {k: v for k, v in self.settings.plain().items() if k != "seed"}
        modalities = list(self.modalities) if self.modalities else None
        name = Path(self.data).name  # prepared data and files may be moved
        return {"data": name, "modalities": modalities, "settings": settings} | {
            "fusion": self.fusion_label(),
            "width": self.width,
            "precision": self.precision,
            **self.chosen(),
            **({} if self.subsets is None else {"subsets": self.subsets}),
            **({"own": {k: dict(v) for k, v in sorted(self.own.items())}} if self.own else {}),
            **({"freeze": sorted(self.freeze)} if self.freeze else {}),
        }

    def change(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with other settings, or another ``width``, for all methods."""
        settings = {name: value for name, value in values.items() if name != "width"}
        return replace(
            self,
            settings=merge_settings(self.settings, settings),
            width=values.get("width", self.width),
            own={},
        )

    def of(self, label: str) -> Recipe:
        """The recipe of the runs of one method."""
        return self.change(self.own[label]) if label in self.own else self

    def chosen(self) -> dict[str, dict[str, str]]:
        """The encoders that were asked for, if any."""
        labels = {m: ENCODERS.label_of(chosen) for m, chosen in sorted(self.encoders.items())}
        return {"encoders": labels} if labels else {}

    def fusion_label(self) -> str | None:
        """The fusion that was asked for, if any."""
        return None if self.fusion is None else FUSIONS.label_of(self.fusion)

    def source(self) -> dict[str, str]:
        """Where the data lie, if they have no name; and the task that was asked for."""
        where = {} if is_name(self.data) else {"source": str(expand(self.data).resolve())}
        return where | ({"read_as": self.task} if self.task else {})

    def build(self, data: Dataset, method: Method, seed: int) -> MultimodalModel:
        """The model before it is trained."""
        return build_model(
            data,
            method,
            encoders=self.encoders,
            fusion=self.fusion,
            width=self.width,
            precision=self.precision,
            freeze=self.freeze,
            seed=seed,
        )

    def train(self, data: Dataset, method: Method, seed: int, **others: Any) -> Run:
        """Build the model and train it; ``others`` go to :func:`fit`."""
        model = self.build(data, method, seed)
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
