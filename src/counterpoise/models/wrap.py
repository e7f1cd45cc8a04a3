"""Somebody's own PyTorch model as a :class:`MultimodalModel`."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from counterpoise.errors import InputError, check_choice, unknown
from counterpoise.fusion import Fusion

from .multimodal import MultimodalModel
from .replay import Call, Replay, Replayed, Untouched, WrappedConcat, described

# What layers call the width of what they give; recurrent ones and LayerNorm are told apart.
WIDTHS = ("out_features", "out_channels", "num_features", "num_channels", "embedding_dim")
ROWS = 8  # of the random features that a forward is tried on
# How often in training mode: what a forward does in one step of five is then seen 999 times of
# 1,000.
TRIES = 32


def wrap(
    model: nn.Module,
    encoders: Mapping[str, str | nn.Module],
    head: str | nn.Module | None = None,
    *,
    call: Call | None = None,
    example: Mapping[str, Any] | None = None,
    unimodal: str | None = None,
    precision: str = "fp32",
    seed: int = 0,
) -> MultimodalModel:
    """An existing model for ``fit``, ``evaluate`` and every method, by naming its parts.

    Nothing is copied and nothing is added to ``model``: training moves its own parameters. It is
    called, in training and evaluation, with its encoders answering by features that they gave
    before, zeros for a missing modality, and the head's output is read: that is the fusion
    (:class:`Replayed`). Where it is one ``Linear`` on the features side by side, the fusion is
    :class:`Concat` by that layer, which more methods and policies know.

    Args:
        model: calls each encoder once with that modality's input alone, and the head once.
        encoders: modality -> attribute path (``"backbone.audio"``) or module, [B, ...] -> [B, D].
            Their order is the model's order, and that of forward's inputs unless these have the
            names of the modalities. A module that is not part of ``model`` needs ``call``.
        head: attribute path or module whose output is the logits [B, K]; without it, what forward
            returns.
        call: ``call(model, features)``, modality -> [B, D], reaches the head: what forward does
            after the encoders, or forward itself, in which encoders give back the features that
            they are called with. It must use the model that it is given, which may be a copy.
        example: modality -> a few rows of input. Widths of features are then measured, and the
            logits compared with those of forward; otherwise widths are told from each encoder's
            last layer.
        unimodal: policy of unimodal logits (:class:`Fusion`); by default ``"slice"`` for the
            linear head, ``"ablate"`` for any other.
        precision: ``"fp32"`` or ``"bf16"`` (:class:`MultimodalModel`).
        seed: of the extra heads of ``unimodal="aux"``.

    Raises:
        InputError: a part is not there, or forward does something else with inputs and features
            than the above; what, and what to do.
    """
    check_choice("precision", precision, ("fp32", "bf16"))
    _check_model(model)
    modules = _encoders(model, encoders, call)
    by_name = call is None and _by_name(model, tuple(modules))
    replay = Replay(model, modules, _head(model, head, modules), call, by_name)
    with unseen(nn.ModuleList([model, *modules.values()])) as everything:
        everything.eval()
        if example is None:
            widths = {m: _told(encoder, m) for m, encoder in modules.items()}
        else:
            widths = _measured(replay, example)
        features = _random(widths, _device(model))
        outputs = _tried(replay, features)[1].shape[1]
        order = _columns(replay, features, everything)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fusion: Fusion
        if order is None:
            fusion = Replayed(replay, widths, outputs, unimodal or "ablate")
        else:
            fusion = WrappedConcat(replay, widths, outputs, unimodal or "slice", order)
    if fusion.policy == "aux":
        fusion.aux.to(_device(model))
    wrapped = MultimodalModel(modules, fusion, precision)
    wrapped.training = fusion.training = model.training
    return wrapped


def _check_model(model: nn.Module) -> None:
    name = type(model).__name__
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, found {name}")
    if isinstance(model, MultimodalModel):
        raise InputError("model is a MultimodalModel already; pass it to fit as it is")
    inner = next((a for a in ("_orig_mod", "module") if a in model._modules), "")
    parallel = isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))
    if parallel or inner == "_orig_mod":
        raise InputError(f"model must be the bare model, found it in {name}; pass model.{inner}")
    parameters = list(model.parameters())
    if not parameters:
        raise InputError(f"model must have parameters, found none in {name}")
    for parameter in parameters:
        if is_lazy(parameter):
            raise InputError(
                f"model must know its shapes, found lazy layers in {name}; call it once first"
            )
        if parameter.dtype != torch.float32:
            raise InputError(
                f"model must be in float32, found {parameter.dtype} in {name}; pass "
                "model.float(), and precision='bf16' for encoders under autocast"
            )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _found(model: nn.Module, part: str | nn.Module, argument: str) -> nn.Module:
    """A part of a model by its attribute path; a module is what it is."""
    if isinstance(part, nn.Module):
        return part
    if not isinstance(part, str):
        raise InputError(
            f"{argument} must be a module or its attribute path, found {type(part).__name__}"
        )
    known: dict[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    if part and part in known:
        return known[part]
    value: Any = model
    for step in part.split("."):
        value = getattr(value, step, None)
    if value is not None and part:
        raise InputError(
            f"{argument} must be a module, found {part!r}, a {type(value).__name__}; put it into "
            "a module"
        )
    near = get_close_matches(part, known, n=3, cutoff=0.5)
    children = [name for name, _ in model.named_children()]
    raise unknown(
        f"part of {type(model).__name__} in {argument}", part, dict.fromkeys([*near, *children])
    )


def _encoders(
    model: nn.Module, encoders: Mapping[str, str | nn.Module], call: Call | None
) -> dict[str, nn.Module]:
    if not isinstance(encoders, Mapping) or not encoders:
        raise InputError(
            "encoders must name a module for each modality, such as "
            f"{{'audio': 'audio_net', 'video': 'video_net'}}, found {encoders!r}"
        )
    found = {m: _found(model, part, f"encoders[{m!r}]") for m, part in encoders.items()}
    parts = {id(module) for module in model.modules()}
    for name, encoder in found.items():
        where = f"encoders[{name!r}]"
        if any(module is model for module in encoder.modules()):
            raise InputError(f"{where} must be a part of the model, found the whole of it")
        for other, second in found.items():
            if other != name and any(module is second for module in encoder.modules()):
                how = "is also" if encoder is second else "contains"
                raise InputError(
                    f"{where} must be that modality's own, but it {how} the encoder of {other!r}"
                )
        if call is None and id(encoder) not in parts:
            raise InputError(
                f"{where} is no part of {type(model).__name__}, so its forward does not call it; "
                "pass call=lambda model, features: what comes after the encoders"
            )
    return found


def _head(
    model: nn.Module, head: str | nn.Module | None, encoders: Mapping[str, nn.Module]
) -> nn.Module | None:
    if head is None:
        return None
    found = _found(model, head, "head")
    if not any(module is found for module in model.modules()):
        raise InputError(
            f"head must be a part of the model, found a {type(found).__name__} of its own"
        )
    for name, encoder in encoders.items():
        if any(module is found for module in encoder.modules()):
            raise InputError(f"head must come after the encoders, found it in that of {name!r}")
        if any(module is encoder for module in found.modules()):
            raise InputError(
                f"head must come after the encoders, found that of {name!r} in it; leave head out "
                "if forward returns the logits"
            )
    return found


def _by_name(model: nn.Module, names: tuple[str, ...]) -> bool:
    """Whether forward takes the inputs by the names of the modalities, or else in their order."""
    signature = inspect.signature(model.forward)
    try:
        signature.bind(**dict.fromkeys(names))
    except TypeError:
        pass
    else:
        return True
    try:
        signature.bind(*names)
    except TypeError:
        raise InputError(
            f"forward of {type(model).__name__} takes {signature}, not an input for each of "
            f"{', '.join(names)}; pass call=lambda model, inputs: model(...)"
        ) from None
    return False


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
    device, states = _device(everything), (random.getstate(), np.random.get_state())
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


def _told(encoder: nn.Module, name: str) -> int:
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


def _measured(replay: Replay, example: Mapping[str, Any]) -> dict[str, int]:
    """Widths by trying the encoders; forward must say the same with them as by itself."""
    modules, device = replay.encoders, _device(replay.model)
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
                f"encoders[{name!r}] fails on the example ({reason(error)}); "
                "give it rows as the encoder takes them"
            ) from error
        if not isinstance(found, Tensor) or found.dim() != 2:
            raise InputError(
                f"encoders[{name!r}] must give features [B, D], found {described(found)}; pass "
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


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _random(widths: Mapping[str, int], device: torch.device) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    return {m: torch.randn(ROWS, w, generator=source).to(device) for m, w in widths.items()}


def _tried(replay: Replay, features: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
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
            f"{replay.name} fails on features {shapes} ({reason(error)}); pass example= if the "
            "encoders give others, and call= if it pools features or reads the shapes of inputs"
        ) from error


def _columns(
    replay: Replay, features: Mapping[str, Tensor], everything: nn.ModuleList
) -> tuple[str, ...] | None:
    """The order of the features if the head is a ``Linear`` on them side by side, and no more."""
    order = None
    if type(replay.head) is nn.Linear:
        order = _order(_tried(replay, features)[0], features)

    def side_by_side(given: Mapping[str, Tensor]) -> bool:
        read = _tried(replay, given)[0]
        return read is not None and torch.equal(read, torch.cat([given[m] for m in order or ()], 1))

    # A forward may put something else in the place of a modality that is missing.
    missing = [{**features, m: torch.zeros_like(z)} for m, z in features.items()]
    if order and not all(side_by_side(given) for given in missing):
        order = None
    everything.train()
    if order is None:
        _tried(replay, features)  # what fails in training only shall fail now
    elif not all(side_by_side(features) for _ in range(TRIES)):
        order = None
    return order


def _order(read: Tensor | None, features: Mapping[str, Tensor]) -> tuple[str, ...] | None:
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
