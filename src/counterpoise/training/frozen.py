"""Frozen encoders encode each sample once: what they gave stands in the place of the inputs."""

from __future__ import annotations

import copy
import hashlib
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from counterpoise.core import ranks
from counterpoise.core.batch import Input
from counterpoise.core.device import float32
from counterpoise.core.loader import Loader
from counterpoise.core.lock import InUseError, hold
from counterpoise.core.names import module_key
from counterpoise.core.paths import expand
from counterpoise.core.strict_json import to_json
from counterpoise.data.columns import Column
from counterpoise.data.dataset import Dataset, Split
from counterpoise.data.preparation.features import (
    FORMAT,
    Features,
    check_room,
    open_features,
    write_features,
)
from counterpoise.deploy.parts import describe_encoder
from counterpoise.engine.callback import Callback
from counterpoise.errors import InputError
from counterpoise.models.frozen import READY, is_pretrained
from counterpoise.models.multimodal import MultimodalModel

from .settings import Settings

FOLDER = "features"  # in that of a run or a comparison
PROBED = 4  # rows that are encoded again before features of a folder are used
CLOSE = {"fp32": 1e-3, "bf16": 5e-2}  # of the largest value: what devices may differ by
WAIT = 0.2  # seconds between two looks at whether another process is done
Say = Callable[[str], None]


class FrozenFeatures:
    """The features of a model's frozen encoders, each sample encoded once.

    In a folder they are Arrow files, which any number of runs share: one process encodes, others
    wait for it. Their fingerprint follows from encoder, data and precision; those of another
    fingerprint are left alone, and damaged ones are made again. Several ranks share the work, and
    keep features in memory.

    Args:
        model: where it stays, with its weights.
        data: the inputs.
        folder: where they are kept; ``None`` keeps them in memory.
        rows: that are encoded at a time.
        say: told of what is kept, a line each, before it is encoded.
        note: told how far encoding is.
        write: whether features that are not there are encoded; otherwise inputs stay.
    """

    def __init__(
        self,
        model: MultimodalModel,
        data: Dataset,
        folder: Path | None = None,
        *,
        rows: int = 256,
        say: Say | None = None,
        note: Say | None = None,
        write: bool = True,
    ) -> None:
        self.model, self.data, self.rows, self.write = model, data, rows, write
        self.folder = folder if ranks.world() == 1 else None
        self.say, self.note = say or _stay_silent, note or _stay_silent
        self._known: dict[tuple[str, str], tuple[str, Input | Column]] = {}

    def replace(self, *parts: str) -> Dataset:
        """The data set with features in the place of inputs in some of its splits."""
        prints = self.fingerprints()
        made = copy.copy(self.data)
        made.splits = dict(self.data.splits)
        for part in parts:
            split = self.data.splits[part]
            found = {m: self._find(m, part, digits) for m, digits in prints.items()}
            inputs = {**split.inputs, **{m: x for m, x in found.items() if x is not None}}
            made.splits[part] = Split(
                inputs, split.present, split.target, split.groups, split.weight
            )
        return made

    def fingerprints(self) -> dict[str, str]:
        """Modality -> 16 digits that change with its encoder, the data and the precision."""
        encoders = {m: self.model.encoders[m] for m in self.model.frozen}
        return {m: self._digest(m, encoder) for m, encoder in encoders.items()}

    def _digest(self, name: str, encoder: nn.Module) -> str:
        found = hashlib.sha256()
        about = [FORMAT, name, self.data.fingerprint(), self.model.precision]
        for text in (to_json(about), to_json(describe_encoder(encoder)), repr(encoder)):
            found.update(text.encode() + b"\n")
        for key, tensor in (*encoder.named_parameters(), *encoder.named_buffers()):
            found.update(f"{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
            values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.update(values.numpy().data)
        return found.hexdigest()[:16]

    def _find(self, name: str, part: str, digits: str) -> Input | Column | None:
        known = self._known.get((name, part))
        if known is None or known[0] != digits:
            found = self._make(name, part, digits)
            if found is None:
                return None
            known = self._known[name, part] = digits, found
        return known[1]

    def _make(self, name: str, part: str, digits: str) -> Input | Column | None:
        split = self.data.splits[part]
        some = split.present[name].nonzero().squeeze(1)
        probe = self.encode(name, part, some[:PROBED])
        about = Features(name, part, tuple(probe.shape[1:]), len(split), digits)
        if self.folder is not None:
            return self._keep(about, probe)
        if not self.write:
            return None
        self.say(f"{about} in memory, encoded once")
        own = torch.tensor_split(some, ranks.world())[ranks.rank()]
        found = torch.cat(ranks.collect(self.encode(name, part, own)))
        self._check_close(about, found[:PROBED], probe)
        values = torch.zeros(len(split), *probe.shape[1:])
        return {READY: values.index_copy(0, some, found)}

    def _keep(self, about: Features, probe: Tensor) -> Column | None:
        """The features in the folder, encoded and written if they are not there."""
        assert self.folder is not None
        words = re.sub(r"[^\w.=-]+", "_", about.modality)[:60]
        path = self.folder / f"{words}-{about.split}-{about.fingerprint}"
        waits = False
        while (found := self._reuse(path, about, probe)[0]) is None and self.write:
            if (other := self._write_alone(path, about, probe)) and not waits:
                self.note(f"waiting for the features of {about.modality!r}: {other}")
            waits = bool(other)
            time.sleep(WAIT if waits else 0)
        return found

    def _write_alone(self, path: Path, about: Features, probe: Tensor) -> str:
        """Write the features, if nobody did meanwhile; or say who does."""
        assert self.folder is not None
        try:
            with hold(self.folder / ".writing" / path.name):
                found, wrong = self._reuse(path, about, probe)
                if found is None:
                    self._write(path, about, probe, wrong)
        except InUseError as error:
            return str(error)
        return ""

    def _reuse(self, path: Path, about: Features, probe: Tensor) -> tuple[Column | None, str]:
        """The features in a folder, if they are whole and what the encoder gives; or why not."""
        split = self.data.splits[about.split]
        try:
            found = open_features(path, split, READY, about)
            if found is not None:
                some = split.present[about.modality].nonzero().squeeze(1)[:PROBED]
                kept = found.rows(some)
                assert isinstance(kept, dict)
                self._check_close(about, kept[READY], probe)
        except InputError as error:
            return None, str(error)
        return found, ""

    def _write(self, path: Path, about: Features, probe: Tensor, wrong: str) -> None:
        assert self.folder is not None
        again = f", again since {wrong}" if wrong else ""
        self.say(f"{about} in {self.folder}, encoded once{again}")
        check_room(about, self.folder)
        split, encode = self.data.splits[about.split], partial(self.encode, *about.whose)
        write_features(path, about, split, encode)
        found, wrong = self._reuse(path, about, probe)
        if found is None:
            raise InputError(wrong)

    def _check_close(self, about: Features, kept: Tensor, now: Tensor) -> None:
        """Raise :class:`InputError` where features are not those that the encoder gives now."""
        largest = float(now.abs().max()) if len(now) else 0.0
        apart = float((kept - now).abs().max()) if len(now) else 0.0
        if not apart <= CLOSE[self.model.precision] * max(largest, 1e-6):
            raise InputError(
                f"the frozen encoder of {about.modality!r} gives other features than before of the "
                "same rows; one that draws in evaluation mode cannot be frozen"
            )

    def check_unchanged(self, label: str) -> None:
        """Raise :class:`InputError` where a method has changed a frozen encoder all the same."""
        for name, digits in self.fingerprints().items():
            known = self._known.get((name, "train"))
            if known is not None and known[0] != digits:
                raise InputError(
                    f"method {label!r} has changed the encoder of {name!r}, which is frozen; train "
                    "it without freeze, or by another method"
                )

    @float32()
    def encode(self, name: str, part: str, rows: Tensor) -> Tensor:
        """The features [n, ...] of rows int64 [n] that have a modality, on the host."""
        split, model, total = self.data.splits[part], self.model, len(self.data.splits[part])
        only = Split({name: split.inputs[name]}, {name: split.present[name]}, split.target)
        steps = (1,) if model.fusion.steps else ()
        found = [torch.zeros(0, *steps, model.fusion.widths[name])] if not len(rows) else []
        training = model.training
        model.eval()
        with ranks.alone(), torch.no_grad():
            for batch in Loader(only, self.rows, device=model.device).read(rows):
                found.append(model.encode(batch)[name].cpu())
                row = int(batch.index[-1]) + 1
                self.note(f"encoding {name!r}, {part}: row {row:,} of {total:,}")
        model.train(training)
        if len({features.shape[1:] for features in found}) > 1:
            raise InputError(
                f"the encoder of {name!r} gives some samples more steps than others, and cannot be "
                "frozen; pad the samples to one length"
            )
        return torch.cat(found)


def plan_features(model: MultimodalModel, data: Dataset, folder: Path, seeds: int = 1) -> list[str]:
    """What features take on disk, a line a modality.

    Args:
        model: with frozen encoders.
        data: the inputs.
        folder: where features are to be kept.
        seeds: how many models there will be, which share the features of encoders that were
            trained.

    Raises:
        InputError: the disk has no room for them.
    """
    lines, total = [], 0
    for name in model.frozen:
        some = data.train.present[name].nonzero().squeeze(1)[:1]
        shape = tuple(FrozenFeatures(model, data).encode(name, "train", some).shape[1:])
        count = sum(len(split) for split in data.splits.values())
        about = Features(name, "all splits", shape, count, "")
        own = 1 if is_pretrained(model.encoders[name]) else seeds
        total += own * about.bytes
        each = f", for each of {own} seeds: their encoders are random" if own > 1 else ""
        lines.append(f"{about} in {folder}, encoded once{each}")
        check_room(about, folder, total)
    return lines


def find_folder(out: Path | None, features: Path | str | None) -> Path | None:
    """Where the features of a run are kept: where it is said, in its folder, or in memory."""
    if features is not None:
        return expand(features)
    return None if out is None else out / FOLDER


def start_features(
    model: MultimodalModel,
    data: Dataset,
    folder: Path | None,
    settings: Settings,
    saved: Mapping[str, Any] | None,
    listeners: Callback,
) -> FrozenFeatures | None:
    """The features for a run that begins or goes on; ``None`` where no encoder is frozen.

    Args:
        model: where it is trained.
        data: the inputs.
        folder: where features are kept, if anywhere.
        settings: say how many rows are encoded at a time.
        saved: the checkpoint of a run that goes on.
        listeners: are told.
    """
    if not model.frozen:
        return None
    if saved is not None:
        load_frozen(model, saved["model"])
    ranks.broadcast(model)
    rows = -(-settings.batch_size // settings.accumulate)
    say, note = listeners.on_line, listeners.on_note
    return FrozenFeatures(model, data, folder, rows=rows, say=say, note=note)


def load_frozen(model: MultimodalModel, saved: Mapping[str, Any]) -> None:
    """Give frozen encoders the weights that a checkpoint has; what does not fit is found later.

    What they began from may have changed since, such as a folder with a pretrained model.
    """
    for name in model.frozen:
        start, own = f"encoders.{module_key(name)}.", model.encoders[name].state_dict()
        found = {key: saved.get(start + key) for key in own}
        with torch.no_grad():
            for key, value in found.items():
                if isinstance(value, Tensor) and value.shape == own[key].shape:
                    own[key].copy_(value)


def _stay_silent(text: str) -> None:
    """Where nobody listens."""
