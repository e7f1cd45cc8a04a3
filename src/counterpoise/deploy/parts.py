"""A model described in plain values, and built again from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from counterpoise.core.device import float32
from counterpoise.core.strict_json import to_json
from counterpoise.data.cells import Spec
from counterpoise.encoders import ENCODERS, Encoder, Standardize
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, plain
from counterpoise.fusion import FUSIONS, Fusion
from counterpoise.methods import METHODS
from counterpoise.methods.registry import build_method
from counterpoise.models.multimodal import MultimodalModel
from counterpoise.models.replayed import Replayed, WrappedConcat
from counterpoise.models.wrap import wrap

from .probe import draw_samples

Described = dict[str, Any]


@dataclass(frozen=True)
class Given:
    """The parts of somebody's own that a pack needs, as who opens it passes them.

    Attributes:
        model: a model of one's own (:func:`counterpoise.wrap`): an instance, or what makes one.
        encoders: modality -> a module, what makes one, or an :class:`Encoder` class.
        fusion: a fusion, or its class.
        method: a method, or its class.
        call: of :func:`counterpoise.wrap`, where it was used.
    """

    model: nn.Module | Callable[[], nn.Module] | None = None
    encoders: Mapping[str, nn.Module | Callable[[], nn.Module]] = field(default_factory=dict)
    fusion: Fusion | type[Fusion] | None = None
    method: Method | type[Method] | None = None
    call: Callable[..., Any] | None = None


def describe_model(model: MultimodalModel) -> Described:
    """Encoders and fusion of a model, without its weights.

    Returns:
        ``encoders``: modality -> description; ``fusion``; ``precision``; and ``wrapped``, of a
        model of somebody's own.
    """
    found: Described = {"precision": model.precision}
    if isinstance(model.fusion, Replayed | WrappedConcat):
        return found | {"wrapped": _describe_wrapped(model)}
    return found | {
        "encoders": {m: describe_encoder(encoder) for m, encoder in model.encoders.items()},
        "fusion": _describe_fusion(model.fusion),
    }


def describe_encoder(module: nn.Module) -> Described:
    """One encoder, with what standardises before it."""
    first: Described = {}
    if type(module) is nn.Sequential and len(module) == 2 and isinstance(module[0], Standardize):
        before, module = module[0], module[1]
        about = {"shape": list(before.mean.shape), "padding": before.padding}
        first = {"standardize": about | {"inner": before.inner}}
    if isinstance(module, Encoder) and _is_plain(recipe := module.recipe()):
        return {"name": ENCODERS.name_of(module), **recipe, **first}
    kind = type(module)
    return {"class": f"{kind.__module__}.{kind.__qualname__}", **first}


def _describe_fusion(fusion: Fusion) -> Described:
    args, options = fusion.made_from
    named = dict(zip(("widths", "outputs", "unimodal"), args, strict=False)) | options
    named |= {"widths": fusion.widths, "outputs": fusion.outputs, "unimodal": fusion.policy}
    kept = {option: value for option, value in plain(named).items() if _is_plain(value)}
    return {"name": FUSIONS.name_of(fusion), **kept}


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold it."""
    try:
        to_json(value)
    except (TypeError, ValueError):
        return False
    return True


def _describe_wrapped(model: MultimodalModel) -> Described:
    """Where the encoders and the head of somebody's own model lie in it."""
    fusion = model.fusion
    assert isinstance(fusion, Replayed | WrappedConcat)
    replay = fusion.replay
    paths = {id(module): path for path, module in replay.model.named_modules()}
    kind = type(replay.model)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "encoders": {m: paths.get(id(encoder)) for m, encoder in model.encoders.items()},
        "head": None if replay.head is None else paths[id(replay.head)],
        "unimodal": fusion.policy,
        "call": replay.call is not None,
    }


def remake_model(
    described: Mapping[str, Any], specs: Mapping[str, Spec], given: Given
) -> MultimodalModel:
    """A model like the one that was described, with weights that are still to be loaded.

    Args:
        described: what :func:`describe_model` gave.
        specs: modality -> types and shapes of a sample.
        given: parts of somebody's own.

    Raises:
        InputError: a part that has no name here and was not passed.
    """
    with float32(), torch.random.fork_rng(devices=[]):
        if "wrapped" in described:
            return _wrap_again(described, specs, given)
        known = described["encoders"]
        encoders = {m: _remake_encoder(m, about, given) for m, about in known.items()}
        return MultimodalModel(
            encoders, _remake_fusion(described["fusion"], given), described["precision"]
        )


def _remake_encoder(name: str, about: Mapping[str, Any], given: Given) -> nn.Module:
    chosen = given.encoders.get(name)
    if isinstance(chosen, nn.Module):
        encoder = chosen
    elif isinstance(chosen, type) and issubclass(chosen, Encoder) and "arguments" in about:
        encoder = chosen.remake(about)
    elif chosen is not None:
        encoder = chosen()
    elif about.get("name") in ENCODERS:
        encoder = ENCODERS.find(about["name"]).remake(about)
    else:
        kind = about.get("class") or about["name"]
        raise InputError(
            f"the encoder of {name!r} is a {kind}, which is no name here; pass one: "
            f"encoders={{{name!r}: ...}}"
        )
    first = about.get("standardize")
    if first is None or (isinstance(chosen, nn.Sequential) and isinstance(chosen[0], Standardize)):
        return encoder
    blank = torch.zeros(first["shape"])
    return nn.Sequential(Standardize(blank, blank, first["padding"], first["inner"]), encoder)


def _remake_fusion(about: Mapping[str, Any], given: Given) -> Fusion:
    options = dict(about)
    name, widths, outputs = (options.pop(key) for key in ("name", "widths", "outputs"))
    if isinstance(given.fusion, Fusion):
        return given.fusion
    if given.fusion is None and name not in FUSIONS:
        raise InputError(f"the fusion {name!r} is no name here; pass its class: fusion=...")
    kind = given.fusion or FUSIONS.find(name)
    return kind(widths, outputs, **options)


def _wrap_again(
    described: Mapping[str, Any], specs: Mapping[str, Spec], given: Given
) -> MultimodalModel:
    about = described["wrapped"]
    if given.model is None:
        raise InputError(
            f"this pack holds the weights of a model of class {about['class']}; pass one: "
            "Predictor.load(path, model=...), an instance or its class"
        )
    model = given.model if isinstance(given.model, nn.Module) else given.model()
    if about["call"] and given.call is None:
        raise InputError("this model was wrapped with call=...; pass the same: call=...")
    encoders: dict[str, Any] = {}
    for name, path in about["encoders"].items():
        encoders[name] = path if path is not None else given.encoders.get(name)
        if encoders[name] is None:
            raise InputError(
                f"the encoder of {name!r} is no part of the model; pass it: "
                f"encoders={{{name!r}: ...}}"
            )
    return wrap(
        model,
        encoders,
        about["head"],
        call=given.call,
        example={m: draw_samples(spec) for m, spec in specs.items()},
        unimodal=about["unimodal"],
        precision=described["precision"],
    )


def describe_rule(method: Method) -> Described | None:
    """The method whose own ``predict`` runs; ``None`` where the model's logits are the answer."""
    ruler = method.ruler()
    return None if ruler is None else {"name": ruler.label(), "options": ruler.settings()}


def remake_rule(described: Mapping[str, Any] | None, given: Given) -> Method:
    """The method that predicts, with the state that is still to be loaded.

    Raises:
        InputError: one that has no name here and was not passed.
    """
    if isinstance(given.method, Method):
        return given.method
    if described is None:
        return build_method("joint")
    name, options = described["name"], described["options"]
    if given.method is not None:
        return given.method(**options)
    if name not in METHODS:
        raise InputError(f"method {name!r} predicts, which is no name here; pass it: method=...")
    return build_method(name, **options)
