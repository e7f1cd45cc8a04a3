"""Trying somebody's own model: how wide its features are, and what it does with them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from counterpoise.errors import InputError, unknown

from .replay import Replay, describe

# What layers call the width of what they give; recurrent ones and LayerNorm are told apart.
WIDTHS = ("out_features", "out_channels", "num_features", "num_channels", "embedding_dim")
ROWS = 8  # of the random features that a forward is tried on
# How often in training mode: what a forward does in one step of five is then seen 999 times of
# 1,000.
TRIES = 32


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters of a model are."""
    return next(model.parameters()).device


@contextmanager
def unseen(everything: nn.ModuleList) -> Iterator[nn.ModuleList]:
    """Trying modules leaves no trace: modes, buffers and random states stay as they were."""
    modes = [(module, module.training) for module in everything.modules()]
    kept = [
        (module._buffers, name, buffer, buffer.clone())
        for module in everything.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    device, states = device_of(everything), (random.getstate(), np.random.get_state())
    cuda = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cuda):
        try:
            yield everything
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            for table, name, buffer, value in kept:
                table[name] = buffer.copy_(value)
            for module, training in modes:
                module.training = training


def read_width(encoder: nn.Module, name: str) -> int:
    """The width of an encoder's features by its last layer that says one."""
    for layer in reversed(list(encoder.modules())):
        if isinstance(layer, nn.RNNBase):
            return (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)
        shape = getattr(layer, "normalized_shape", None)
        said = [getattr(layer, attribute, None) for attribute in WIDTHS]
        said.append(shape[-1] if isinstance(shape, tuple) else None)
        for width in said:
            if isinstance(width, int) and width > 0:
                return width
    raise InputError(
        f"encoders[{name!r}] says no width of its features (found no layer that does in "
        f"{type(encoder).__name__}); pass example={{modality: a few rows of its input}}"
    )


def measure_widths(replay: Replay, example: Mapping[str, Any]) -> dict[str, int]:
    """Widths by trying the encoders; forward must say the same with them as by itself."""
    modules, device = replay.encoders, device_of(replay.model)
    for name in example:
        if name not in modules:
            raise unknown("modality in example", name, modules)
    for name in modules:
        if name not in example:
            raise InputError(f"example must hold a few rows of every modality, found no {name!r}")

    def ready(tensor: Any) -> Tensor:
        made: Tensor = torch.as_tensor(tensor, device=device)
        return made.float() if made.is_floating_point() else made

    inputs = {
        m: {key: ready(x) for key, x in example[m].items()}
        if isinstance(example[m], Mapping)
        else ready(example[m])
        for m in modules
    }
    features = {}
    for name, encoder in modules.items():
        try:
            found = encoder(inputs[name])
        except Exception as error:
            raise InputError(
                f"encoders[{name!r}] fails on the example ({_first_line(error)}); "
                "give it rows as the encoder takes them"
            ) from error
        if not isinstance(found, Tensor) or found.dim() != 2:
            raise InputError(
                f"encoders[{name!r}] must give features [B, D], found {describe(found)}; pass "
                "nn.Sequential(the encoder, what makes them so, such as pooling), and "
                "call=lambda model, features: what forward does after that"
            )
        features[name] = found.float()
    if replay.call is None:
        mine, own = replay.run(features, features)[1], replay.logits(inputs)[1]
        if not torch.allclose(mine, own, rtol=1e-3, atol=1e-4):
            raise InputError(
                f"{replay.name} gives other logits on the example than from its encoders' "
                f"features, by up to {float((mine - own).abs().max()):.2g}; it does something else "
                "with its inputs: put that into the encoders, and pass call="
            )
    return {m: z.shape[1] for m, z in features.items()}


def _first_line(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def random_features(widths: Mapping[str, int], device: torch.device) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    return {m: torch.randn(ROWS, w, generator=source).to(device) for m, w in widths.items()}


def try_forward(replay: Replay, features: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
    """The head's input and the logits; :class:`InputError` for whatever goes wrong."""
    inputs: Mapping[str, Tensor] = features
    if replay.call is None:
        inputs = {
            m: Untouched.of(f"the input of {m!r} in {replay.name}", z) for m, z in features.items()
        }
    try:
        return replay.run(features, inputs, whole=not replay.model.training)
    except InputError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{m} {list(z.shape)}" for m, z in features.items())
        raise InputError(
            f"{replay.name} fails on features {shapes} ({_first_line(error)}); pass example= if "
            "the encoders give others, and call= if it pools features or reads the shapes of inputs"
        ) from error


def find_order(
    replay: Replay, features: Mapping[str, Tensor], everything: nn.ModuleList
) -> tuple[str, ...] | None:
    """The order of the features if the head is a ``Linear`` on them side by side, and no more."""
    order = None
    if type(replay.head) is nn.Linear:
        order = _match(try_forward(replay, features)[0], features)

    def side_by_side(given: Mapping[str, Tensor]) -> bool:
        read = try_forward(replay, given)[0]
        return read is not None and torch.equal(read, torch.cat([given[m] for m in order or ()], 1))

    # A forward may put something else in the place of a modality that is missing.
    missing = [{**features, m: torch.zeros_like(z)} for m, z in features.items()]
    if order and not all(side_by_side(given) for given in missing):
        order = None
    everything.train()
    if order is None:
        try_forward(replay, features)  # what fails in training only shall fail now
    elif not all(side_by_side(features) for _ in range(TRIES)):
        order = None
    return order


def _match(read: Tensor | None, features: Mapping[str, Tensor]) -> tuple[str, ...] | None:
    """The modalities in the order in which ``read`` is made of them, if it is."""
    if read is None or read.dim() != 2 or len(read) != ROWS:
        return None
    order: list[str] = []
    while read.shape[1]:
        fitting = [m for m, z in features.items() if torch.equal(read[:, : z.shape[1]], z)]
        if len(fitting) != 1 or fitting[0] in order:
            return None
        order += fitting
        read = read[:, features[fitting[0]].shape[1] :]
    return tuple(order) if len(order) == len(features) else None


class Untouched(Tensor):
    """Stands for an input [B, ...] while a forward is tried; whoever computes with it is told.

    It tells its batch size, device and type. Moves and conversions give it back, as they do a
    tensor that is there already.
    """

    label: str

    @classmethod
    def of(cls, label: str, like: Tensor) -> Untouched:
        """An input as long as ``like``; ``label`` is what the error calls it."""
        made = torch.empty(len(like), device=like.device).as_subclass(cls)
        made.label = label
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in MOVES:
            return args[0]
        if func in HARMLESS:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        flat = [x for a in args for x in (a if isinstance(a, (tuple, list)) else [a])]
        label = next((x.label for x in flat if isinstance(x, Untouched)), "its inputs")
        raise InputError(
            f"{label} is used outside of its encoder ({func.__name__}); put that into the encoder, "
            "and pass call=lambda model, features: what comes after the encoders"
        )


# What can be asked of an input without reading it: its batch size, device and type.
PROPERTIES: tuple[Any, ...] = (Tensor.shape, Tensor.device, Tensor.dtype, Tensor.is_cuda)
SIZES = (Tensor.size, Tensor.__len__, Tensor.new_zeros, Tensor.new_ones, Tensor.new_full)
HARMLESS: set[Any] = {*SIZES, *(p.__get__ for p in PROPERTIES)}
MOVES: set[Any] = {Tensor.to, Tensor.float, Tensor.contiguous, Tensor.cuda}
