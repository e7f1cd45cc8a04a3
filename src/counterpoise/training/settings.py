"""How a run trains: each setting is declared once, for Python, the command line and the docs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from counterpoise.core.declared import Bounds
from counterpoise.core.paths import expand
from counterpoise.errors import InputError, check_number, show, unknown

from .declaration import NEEDED, declarations, describe, read_word, setting
from .optimizers import OPTIMIZERS, build_optimizer
from .schedules import SCHEDULES

if TYPE_CHECKING:
    import torch
    from torch import nn


def read_optimizer(name: str, value: Any) -> str:
    """The label of an optimiser; torch is imported only if it has options."""
    word = read_word(name, value)
    if ":" in word:
        _check_label(name, word, OPTIMIZERS.resolve)
    elif word not in OPTIMIZERS:
        raise unknown(name, word, OPTIMIZERS)
    return word


def read_schedule(name: str, value: Any) -> str:
    """The label of a schedule, whose options fit."""
    _check_label(name, read_word(name, value), SCHEDULES.build)
    return str(value)


def _check_label(name: str, label: str, check: Callable[[str], Any]) -> None:
    """Raise :class:`InputError`, which shows the label, where a part of it does not fit."""
    try:
        check(label)
    except InputError as error:
        raise InputError(f"{name} {label!r}: {error}" if ":" in label else str(error)) from None


def read_weights(name: str, value: Any) -> str | dict[str, float] | list[float]:
    """``"balanced"``, or the weights of the classes, given or in a file."""
    if isinstance(value, str) and value == "balanced":
        return value
    found = _read_file(name, expand(value)) if isinstance(value, str | Path) else value
    found = found.tolist() if hasattr(found, "tolist") else found
    if not isinstance(found, Mapping | list | tuple):
        raise InputError(f"{name} must map classes to weights, found {show(found)}")
    pairs = found.items() if isinstance(found, Mapping) else enumerate(found)
    weights = {key: check_number(f"{name}[{key!r}]", weight, 0) for key, weight in pairs}
    if isinstance(found, Mapping):
        return {str(key): float(weight) for key, weight in weights.items()}
    return [float(weight) for weight in weights.values()]


def _to_number(text: Any) -> Any:
    try:
        return float(text)
    except (TypeError, ValueError):  # refused by its name
        return text


def _read_file(name: str, path: Path) -> Any:
    from counterpoise.core.plain_yaml import read_yaml

    try:
        # JSON is YAML, too. Words stay words: a class may be called "1" or "true".
        found = read_yaml(path, f"{name}: the file", words=True)
    except OSError as error:
        raise InputError(
            f"{name} must be 'balanced' or a file of class: weight lines, found {str(path)!r} "
            f"({error.strerror})"
        ) from None
    if isinstance(found, dict):
        return {key: _to_number(value) for key, value in found.items()}
    return [_to_number(value) for value in found] if isinstance(found, list) else found


@dataclass(frozen=True)
class Settings:
    """How a run trains; with data, method and model it decides every weight.

    Numbers of NumPy and torch are kept as Python's own. A value that does not fit raises
    :class:`counterpoise.InputError`, in one line that names the setting.

    Attributes:
    """

    epochs: Annotated[int, Bounds(1)] = setting(20, "passes over the training split", metavar="N")
    batch_size: Annotated[int, Bounds(1)] = setting(32, "samples in a global batch", metavar="N")
    accumulate: Annotated[int, Bounds(1)] = setting(
        1,
        "in how many parts the encoders take a batch: the memory of one part, the gradient of the "
        "whole",
        metavar="N",
        off=1,
    )
    optimizer: str = setting(
        "sgd",
        "how the weights move, with options of PyTorch's class, such as adamw:betas=[0.9,0.98]",
        metavar="NAME[:OPTION=VALUE]",
        choices=OPTIMIZERS,
        read=read_optimizer,
    )
    lr: Annotated[float, Bounds(0)] = setting(0.01, "learning rate")
    momentum: Annotated[float, Bounds(0, below=1)] = setting(
        0.9, "share of the last step that is kept", of=("sgd",)
    )
    weight_decay: Annotated[float, Bounds(0)] = setting(1e-4, "pull of the weights towards 0")
    max_norm: Annotated[float | None, Bounds(above=0)] = setting(
        None,
        "clip the norm of the whole gradient to this; None clips that of a regression to 0.3, and "
        "no other",
        off=None,
    )
    seed: Annotated[int, Bounds()] = setting(
        0, "of the order of samples, of dropout, of every draw a method makes", metavar="N"
    )
    best_with: str | None = setting(
        None,
        "the modalities with which the best epoch is best on validation, those that will be "
        "there when the model is used; None takes all",
        metavar="A+B",
        off=None,
    )
    schedule: str = setting(
        "constant",
        "how the learning rate changes, with options, such as step:every=30:factor=0.1",
        metavar="NAME[:OPTION=VALUE]",
        choices=SCHEDULES,
        read=read_schedule,
        off="constant",
    )
    warmup: Annotated[float, Bounds(0)] = setting(
        0.0, "epochs in which the learning rate rises from almost 0", off=0.0
    )
    encoder_lr: Annotated[Mapping[str, float], Bounds(0)] = setting(
        {},
        "factor on the learning rate of the encoder of a modality",
        metavar="MODALITY=FACTOR",
        off={},
    )
    patience: Annotated[int | None, Bounds(1)] = setting(
        None,
        "stop after so many epochs without a better value on validation, by metric and best_with; "
        "None never stops early",
        metavar="N",
        off=None,
    )
    metric: str | None = setting(
        None,
        "the metric that chooses the best epoch; None takes the task's own",
        metavar="NAME",
        off=None,
    )
    class_weights: Annotated[str | Mapping[str, float] | Sequence[float] | None, Bounds(0)] = (
        setting(
            None,
            "weight of each class in the loss: balanced, or a YAML or JSON file of class: weight; "
            "in Python also a mapping, or a list in the order of the classes",
            metavar="balanced|FILE",
            read=read_weights,
            off=None,
        )
    )
    label_smoothing: Annotated[float, Bounds(0, below=1)] = setting(
        0.0, "share of the target that is spread over all classes", off=0.0
    )
    local_batch_norm: bool = setting(
        False,
        "let the BatchNorm of each rank see its own rows only: faster, but not what one process "
        "trains",
        off=False,
    )

    def __post_init__(self) -> None:
        for name, declared in declarations(Settings).items():
            object.__setattr__(self, name, declared.check(name, getattr(self, name)))

    def plain(self) -> dict[str, Any]:
        """All that decides the run, by name; settings that do nothing are omitted."""
        values = asdict(self)
        return {
            n: v for n, v in values.items() if v != declarations(Settings)[n].off and self.uses(n)
        }

    def uses(self, name: str) -> bool:
        """Whether the optimiser knows a setting; that of another package may know any."""
        of, optimizer = declarations(Settings)[name].of, self.optimizer.split(":")[0]
        return not of or optimizer in of or optimizer not in OPTIMIZERS.own

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Settings:
        """The settings of a run from what :meth:`plain` wrote, also in earlier versions.

        Raises:
            InputError: a setting that is needed is missing, one is unknown, or does not fit.
        """
        values = dict(record)
        every, factor = values.pop("lr_step", None), values.pop("lr_factor", 0.1)
        if every is not None:  # as it was written before there were schedules
            values["schedule"] = f"step:every={every}:factor={factor}"
        optimizer = str(values.get("optimizer")).split(":")[0]
        for name, declared in declarations(Settings).items():
            if name not in values and declared.off is not NEEDED:
                values[name] = declared.off
            elif name not in values and (not declared.of or optimizer in declared.of):
                raise InputError(f"the settings of the run lack {name!r}")
        return merge_settings(None, values)

    def best_subset(self, modalities: Sequence[str]) -> str:
        """``best_with`` as records write it; of all ``modalities`` where it is not given."""
        from counterpoise.evaluation.subsets import present_name

        chosen = self.best_with.split("+") if self.best_with else modalities
        for name in chosen:
            if name not in modalities:
                raise unknown("modality in best_with", name, modalities)
        if len(set(chosen)) < len(chosen):
            raise InputError(f"best_with must name a modality once, found {self.best_with!r}")
        return present_name(chosen)

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser over these parameters."""
        return build_optimizer(
            self.optimizer,
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


Settings.__doc__ = "\n".join([(Settings.__doc__ or "").rstrip(), *describe(Settings), "    "])


def merge_settings(settings: Settings | None, changes: Mapping[str, Any]) -> Settings:
    """``settings``, or the defaults, with ``changes`` by name."""
    known = [item.name for item in fields(Settings)]
    for name in changes:
        if name not in known:
            raise unknown("setting", name, known)
    if settings is not None and not isinstance(settings, Settings):
        raise InputError(f"settings must be a counterpoise.Settings, found {show(settings)}")
    return replace(settings or Settings(), **changes)
