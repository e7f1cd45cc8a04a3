"""Somebody's own PyTorch model as a :class:`MultimodalModel`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from counterpoise.core.device import float32
from counterpoise.errors import InputError, check_choice, check_number, unknown
from counterpoise.fusion import Fusion

from .multimodal import MultimodalModel
from .probe import (
    device_of,
    find_order,
    measure_widths,
    random_features,
    read_width,
    try_forward,
    unseen,
)
from .replay import Call, Replay
from .replayed import Replayed, WrappedConcat


@float32()
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

    Nothing is copied and nothing is added to ``model``: training moves its own parameters. The
    fusion (:class:`Replayed`) calls it with encoders that answer by the features they gave before,
    zeros for a missing modality, and reads the head's output. Where the head is one ``Linear`` on
    the features side by side, the fusion is :class:`Concat` by that layer, which more methods and
    policies know.

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
            logits compared with those of forward; otherwise widths are read from each encoder's
            last layer.
        unimodal: policy of unimodal logits (:class:`Fusion`); by default ``"slice"`` for the
            linear head, ``"ablate"`` for any other.
        precision: ``"fp32"`` or ``"bf16"`` (:class:`MultimodalModel`).
        seed: of the extra heads of ``unimodal="aux"``.

    Raises:
        InputError: a part is not there, or forward does something else with inputs or features.
    """
    check_choice("precision", precision, ("fp32", "bf16"))
    _check_model(model)
    modules = _find_encoders(model, encoders, call)
    by_name = call is None and _takes_names(model, tuple(modules))
    replay = Replay(model, modules, _find_head(model, head, modules), call, by_name)
    with unseen(nn.ModuleList([model, *modules.values()])) as everything:
        everything.eval()
        if example is None:
            widths = {m: read_width(encoder, m) for m, encoder in modules.items()}
        else:
            widths = measure_widths(replay, example)
        features = random_features(widths, device_of(model))
        outputs = try_forward(replay, features)[1].shape[1]
        order = find_order(replay, features, everything)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(check_number("seed", seed, whole=True))
        fusion = _build_fusion(replay, widths, outputs, unimodal, order)
    wrapped = MultimodalModel(modules, fusion, precision)
    wrapped.training = fusion.training = model.training
    return wrapped


def _build_fusion(
    replay: Replay,
    widths: Mapping[str, int],
    outputs: int,
    unimodal: str | None,
    order: tuple[str, ...] | None,
) -> Fusion:
    """The head as :class:`Concat`, if it reads the features in this order; else all of forward."""
    fusion: Fusion
    if order is None:
        fusion = Replayed(replay, widths, outputs, unimodal or "ablate")
    else:
        fusion = WrappedConcat(replay, widths, outputs, unimodal or "slice", order)
    if fusion.policy == "aux":
        fusion.aux.to(device_of(replay.model))
    return fusion


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


def _find_part(model: nn.Module, part: str | nn.Module, argument: str) -> nn.Module:
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


def _find_encoders(
    model: nn.Module, encoders: Mapping[str, str | nn.Module], call: Call | None
) -> dict[str, nn.Module]:
    if not isinstance(encoders, Mapping) or not encoders:
        raise InputError(
            "encoders must name a module for each modality, such as "
            f"{{'audio': 'audio_net', 'video': 'video_net'}}, found {encoders!r}"
        )
    found = {m: _find_part(model, part, f"encoders[{m!r}]") for m, part in encoders.items()}
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


def _find_head(
    model: nn.Module, head: str | nn.Module | None, encoders: Mapping[str, nn.Module]
) -> nn.Module | None:
    if head is None:
        return None
    found = _find_part(model, head, "head")
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


def _takes_names(model: nn.Module, names: tuple[str, ...]) -> bool:
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
