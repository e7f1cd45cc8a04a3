"""A trained model as one module of tensors: its encoders, the method's rule, the calibration."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoise.core.batch import Batch, Input
from counterpoise.core.presence import known
from counterpoise.core.task import Task
from counterpoise.data.cells import Spec
from counterpoise.deploy.answer import has_chances
from counterpoise.encoders import Standardize
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_once, unknown
from counterpoise.models.multimodal import MultimodalModel

MASK = "present"
MANY = 10  # modalities beyond which temperatures go by how many are present


@dataclass(frozen=True)
class Port:
    """One input of an exported model.

    Attributes:
        name: ``"audio"``, ``"text.input_ids"`` where a modality has several tensors, and
            ``"audio.present"`` for a mask.
        modality: which it belongs to.
        key: of the tensor within the modality; empty if it is the only one.
        dtype: NumPy's name of its type.
        shape: of one sample.
        mask: whether it says which rows have the modality.
    """

    name: str
    modality: str
    key: str
    dtype: str
    shape: tuple[int, ...]
    mask: bool = False


def list_ports(specs: Mapping[str, Spec], masks: bool) -> list[Port]:
    """The inputs of modalities, in their order, and then a mask for each if ``masks``.

    Raises:
        InputError: two of them would have one name.
    """
    ports = [
        Port(f"{name}.{key}" if key else name, name, key, dtype, tuple(shape))
        for name, spec in specs.items()
        for key, (dtype, shape) in spec.items()
    ]
    ports += [Port(f"{name}.{MASK}", name, "", "bool", (), True) for name in specs if masks]
    names = [port.name for port in ports]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"modalities {' and '.join(p.modality for p in ports if p.name == name)} would "
                f"both have an input {name!r} in the exported file; train with another name"
            )
    return ports


def tabulate_temperatures(temperature: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """The temperatures of all subsets of ``count`` modalities, to be looked up in a graph.

    Args:
        temperature: bool [N, M] -> [N].
        count: ``M``.

    Returns:
        [2^M], by the binary number whose digits are the masks, the first modality the lowest; of
        more than :data:`MANY` modalities [M + 1], by how many are present.
    """
    if count <= MANY:
        rows = [masks[::-1] for masks in product((False, True), repeat=count)]
    else:
        rows = [tuple(k < present for k in range(count)) for present in range(count + 1)]
    found = temperature(torch.tensor(rows[1:])).detach().float().cpu()
    return torch.cat([torch.ones(1), found])  # nothing present: nothing to calibrate


class Standalone(nn.Module):
    """What an exported file computes: a dict of tensors -> probabilities or values [B, K].

    Args:
        model: copied, in evaluation mode, on the CPU and in float32.
        method: its ``predict`` is the rule; copied too.
        task: makes probabilities of logits, or values in the units of the target.
        temperature: bool [N, M] -> [N], by which the logits are divided.
        specs: modality -> tensors of a sample, of all modalities of the model.
        modalities: the only ones that there will be; ``None``: all, with a mask for each.

    Attributes:
        ports: the inputs, in their order.
        output: ``"probabilities"``, or ``"values"`` of a regression.

    Raises:
        InputError: an unknown modality, or none.
    """

    temperatures: Tensor

    def __init__(
        self,
        model: MultimodalModel,
        method: Method,
        task: Task,
        temperature: Callable[[Tensor], Tensor],
        specs: Mapping[str, Spec],
        modalities: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        self.subset = _choose(model.modalities, modalities)
        self.fixed = modalities is not None
        self.model, self.method = copy.deepcopy((model, method))
        self.model.precision, self.model.task = "fp32", None
        self.model.split_into(1)
        self.task = copy.deepcopy(task)
        self.to("cpu").eval().requires_grad_(False)
        self.names = model.modalities
        self.ports = list_ports({m: specs[m] for m in self.subset}, not self.fixed)
        self.output = "probabilities" if has_chances(task) else "values"
        table = tabulate_temperatures(temperature, len(self.names))
        self.register_buffer("temperatures", table)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        size = next(iter(inputs.values())).shape[0]
        rows = torch.arange(size)
        present = self._read_masks(inputs, rows)
        samples = {name: self._join(name, inputs) for name in self.subset}
        batch = Batch(samples, present, torch.zeros(size), rows)
        logits = self.method.predict(self.model, batch)
        if self.output == "values":
            found = self.task.decode(logits)
        else:
            found = self.task.chances(logits / self.find_temperature(present))
        if self.fixed:
            return found
        answered = torch.stack(list(present.values())).any(0)[:, None]
        return torch.where(answered, found, torch.full_like(found, torch.nan))

    def _join(self, name: str, inputs: Mapping[str, Tensor]) -> Input:
        tensors = {p.key: inputs[p.name] for p in self.ports if p.modality == name and not p.mask}
        return tensors[""] if set(tensors) == {""} else tensors

    def _read_masks(self, inputs: Mapping[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
        if not self.fixed:
            return {name: inputs[f"{name}.{MASK}"] for name in self.names}
        return {name: known(rows, name in self.subset) for name in self.names}

    def find_temperature(self, present: Mapping[str, Tensor]) -> Tensor:
        """[B, 1], or a constant [] of a fixed subset."""
        binary = len(self.names) <= MANY
        worth = [2**k if binary else 1 for k in range(len(self.names))]
        if self.fixed:
            place = sum(w for w, name in zip(worth, self.names, strict=True) if name in self.subset)
            return self.temperatures[place]
        places = sum(w * present[name].long() for w, name in zip(worth, self.names, strict=True))
        return self.temperatures[places][:, None]

    def draw(self, rows: int, seed: int = 0) -> dict[str, Tensor]:
        """Random inputs [rows, ...] of the right types, every row with at least one modality."""
        generator = np.random.default_rng(seed)
        found = {p.name: self._draw_one(p, rows, generator) for p in self.ports if not p.mask}
        masks = generator.random((len(self.subset), rows)) < 0.6
        masks[generator.integers(len(self.subset), size=rows), np.arange(rows)] = True
        masks[:, 0] = True
        there = dict(zip(self.subset, torch.from_numpy(masks), strict=True))
        return found | {p.name: there[p.modality] for p in self.ports if p.mask}

    def _draw_one(self, port: Port, rows: int, generator: np.random.Generator) -> Tensor:
        shape = (rows, *port.shape)
        if port.dtype.startswith("float"):
            drawn = torch.from_numpy(generator.standard_normal(shape, np.float32))
            first = next(iter(self.model.encoders[port.modality].children()), None)
            # Numbers such as those of training: others would leave the range of float32.
            return drawn / first.scale + first.mean if isinstance(first, Standardize) else drawn
        if port.dtype == "uint8":
            return torch.from_numpy(generator.integers(0, 256, shape, np.uint8))
        if port.key in ("", "input_ids"):  # numbers that every vocabulary has
            return torch.from_numpy(generator.integers(0, 9, shape)).to(_dtype(port))
        real = generator.integers(1, port.shape[-1] + 1, (rows, 1)) if port.shape else rows
        tokens = port.key == "attention_mask"
        filled = np.arange(port.shape[-1]) < real if tokens else np.zeros(shape)
        return torch.from_numpy(filled).to(_dtype(port))


def _dtype(port: Port) -> torch.dtype:
    found: torch.dtype = getattr(torch, port.dtype)
    return found


def _choose(known: Sequence[str], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The wanted modalities in the model's order."""
    if wanted is None:
        return tuple(known)
    if isinstance(wanted, str):
        raise InputError(f"modalities must be a list of names, found the text {wanted!r}")
    for name in wanted:
        if name not in known:
            raise unknown("modality of the model", name, known)
    check_once("modalities", wanted)
    if not wanted:
        raise InputError(
            f"modalities must name at least one, found none; known: {', '.join(known)}"
        )
    return tuple(name for name in known if name in wanted)


def feed_all(module: Callable[..., Any], inputs: Mapping[str, Tensor]) -> Tensor:
    """What a module makes of inputs, without gradients."""
    with torch.no_grad():
        found: Tensor = module(dict(inputs))
    return found
