"""What a model has to know of its data to read new rows: kept as JSON, without the data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from counterpoise.data.cells import Spec
from counterpoise.data.channels import channel_axis, find_moments
from counterpoise.data.columns import Column, Decoded, InMemory
from counterpoise.data.dataset import Dataset
from counterpoise.data.readers import READERS, Text, build_reader
from counterpoise.data.readers.base import Reader
from counterpoise.data.settle import Form
from counterpoise.errors import InputError, show, unknown

Array = NDArray[Any]

TOKENIZER = "vocabulary_json"  # the option of a reader that is a file beside the others


@dataclass(frozen=True)
class Preprocessing:
    """How what users bring of one modality becomes its samples.

    Attributes:
        spec: tensor (``""`` if there is only one) -> type and shape of a sample.
        reader: of cells (paths, texts, numbers), where the training samples were read by one.
        form: how arrays became samples, where the training samples were arrays.
        fill: float32, to broadcast with a sample: stands for a value that was not measured, the
            mean of its channel over the training samples. None where samples hold no real numbers,
            and where ``form`` holds it.
        kind: "vector", "sequence" or "image", which small encoder suits it; empty where its shape
            says it.
        columns: what the features are called, where the training rows were a data frame.
    """

    spec: Spec
    reader: Reader | None = None
    form: Form | None = None
    fill: Array | None = None
    kind: str = ""
    columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Dataset, name: str) -> Preprocessing:
        """That of a modality of a data set.

        Args:
            data: what a model was trained on, or anything that was read as that was.
            name: of the modality.

        Raises:
            InputError: no such modality.
        """
        if name not in data.modalities:
            raise unknown("modality", name, data.modalities)
        spec, reader, kind = data.specs[name], data.readers.get(name), data.kinds.get(name, "")
        form = None if reader is not None else data.forms.get(name)
        if form is not None:
            return cls(spec, form=_with_mean(form, data, name), kind=kind)
        if set(spec) != {""} or spec[""][0] != "float32":
            return cls(spec, reader, kind=kind)
        return cls(spec, reader, fill=_find_fill(data, name, kind), kind=kind)

    def state(self) -> dict[str, Any]:
        """All of it in plain values, fit for JSON; numbers are kept to the last bit.

        A tokenizer is left out, and stands in :meth:`files`.
        """
        spec = {key: [dtype, list(shape)] for key, (dtype, shape) in self.spec.items()}
        return {
            "spec": spec,
            "reader": None if self.reader is None else self._reader_state(self.reader),
            "form": None if self.form is None else _form_state(self.form),
            "fill": None if self.fill is None else _array_state(self.fill),
            "kind": self.kind,
            **({"columns": list(self.columns)} if self.columns else {}),
        }

    def _reader_state(self, reader: Reader) -> dict[str, Any]:
        settings = reader.settings()
        if READERS.own.get(reader.name) is None:
            kind = type(reader)
            settings["class"] = f"{kind.__module__}:{kind.__qualname__}"
        for file in self.files():
            # Where the tokenizer came from is of no use elsewhere, and may be a private path.
            settings |= {TOKENIZER: file, "tokenizer": None}
        return settings

    def files(self) -> dict[str, bytes]:
        """Name -> content of what lies beside the JSON; equal contents have one name."""
        if not isinstance(self.reader, Text) or not self.reader.vocabulary_json:
            return {}
        content = self.reader.vocabulary_json.encode()
        return {f"tokenizer-{hashlib.sha256(content).hexdigest()[:8]}.json": content}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], files: Mapping[str, bytes]) -> Preprocessing:
        """What :meth:`state` and :meth:`files` describe.

        Args:
            state: of one modality.
            files: name -> content; those of other modalities do no harm.

        Raises:
            InputError: a reader of somebody else's that is not installed, a file that is missing,
                a damaged state.
        """
        try:
            spec: Spec = {
                str(key): (str(np.dtype(dtype)), tuple(int(n) for n in shape))
                for key, (dtype, shape) in state["spec"].items()
            }
            reader, form, fill = state["reader"], state["form"], state["fill"]
            return cls(
                spec,
                None if reader is None else _build_reader(reader, files),
                None if form is None else _build_form(form),
                None if fill is None else _to_array(fill, np.float32),
                str(state["kind"]),
                tuple(map(str, state.get("columns", ()))),
            )
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"the preprocessing is damaged ({error!r})") from None

    def extras(self) -> set[str]:
        """The extras of the package that reading needs, such as ``"media"``."""
        return {self.reader.extra} if self.reader is not None and self.reader.extra else set()


def _build_reader(state: Mapping[str, Any], files: Mapping[str, bytes]) -> Reader:
    settings = dict(state)
    name, path = settings.get("type"), settings.pop("class", None)
    if name not in READERS:
        where = f" ({path})" if path else ""
        raise InputError(
            f"samples are read by the reader {name!r}{where}, which is not installed here; install "
            f"the package that brings it (an entry point of {READERS.group})"
        )
    file = settings.get(TOKENIZER)
    if file:
        if file not in files:
            raise InputError(f"{file} is not there, the tokenizer of the {name} reader")
        settings[TOKENIZER] = files[file].decode()
    return build_reader(settings)


def _find_fill(data: Dataset, name: str, kind: str) -> Array | None:
    """The mean of each channel over the training samples; None where it cannot be known."""
    if name in data.scales:
        return data.scales[name][0].float().cpu().numpy()
    column = data.train.column(name)
    if isinstance(column, Decoded):
        return None if column.mean is None else column.mean.find()
    return _find_mean(column, data, name, kind or None).astype(np.float32)


def _find_mean(column: Column, data: Dataset, name: str, kind: str | None) -> Array:
    """float64, of samples in memory; zeros where they are not."""
    if not isinstance(column, InMemory):
        return np.zeros(())
    rows = column.tensors[""][data.train.present[name]].numpy()
    shape = rows.shape[1:]
    padded = len(shape) == 2 and channel_axis(shape, kind) == 0
    return find_moments(rows, kind, padded).mean


def _with_mean(form: Form, data: Dataset, name: str) -> Form:
    """The form with the training mean, which is not looked for where all was measured."""
    if form.whole or (form.mean is not None and form.mean.ndim):
        return form
    mean = _find_mean(data.train.column(name), data, name, form.kind)
    if form.indicators and mean.ndim:  # those of the channels lie behind them
        axis = channel_axis(form.shape, form.kind)
        mean = mean[0] if axis is None else np.split(mean, 2, axis)[0]
    return replace(form, mean=mean)


def _form_state(form: Form) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in fields(form):
        value = getattr(form, item.name)
        if isinstance(value, np.ndarray):
            value = _array_state(value)
        found[item.name] = list(value) if isinstance(value, tuple) else value
    return found


def _build_form(state: Mapping[str, Any]) -> Form:
    known = {item.name for item in fields(Form)}
    for name in state:
        if name not in known:  # of a newer version, which reads rows in another way
            raise InputError(f"the preprocessing has {name!r}, which this version does not know")
    found: dict[str, Any] = {}
    for name, value in state.items():
        found[name] = tuple(value) if isinstance(value, list) else value
    for name in ("mean", "std"):
        if found.get(name) is not None:
            found[name] = _to_array(found[name], np.float64)
    return Form(**found)


def _array_state(array: Array) -> dict[str, Any]:
    return {"shape": list(array.shape), "values": np.ravel(array).astype(np.float64).tolist()}


def _to_array(state: Mapping[str, Any], dtype: Any) -> Array:
    values = np.array(state["values"], dtype=dtype)
    if not np.isfinite(values).all():
        raise InputError(f"the preprocessing must hold finite numbers, found {show(values)}")
    return values.reshape([int(n) for n in state["shape"]])
