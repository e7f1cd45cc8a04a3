"""A model for a data set: an encoder per modality, by its shape, and the method's fusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from counterpoise.core.declared import WIDEST
from counterpoise.core.device import check_weights, float32
from counterpoise.core.presence import check_trained
from counterpoise.core.registry import make
from counterpoise.data.dataset import Dataset
from counterpoise.data.kinds import KINDS
from counterpoise.data.readers.measured import Measured
from counterpoise.data.settle import Form
from counterpoise.encoders import ENCODERS, Encoder, Standardize, usual_encoder
from counterpoise.encoders.adapter import feed
from counterpoise.encoders.base import Shapes
from counterpoise.encoders.pictures import Pictures
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_mapping, check_number, show, unknown
from counterpoise.fusion import FUSIONS, Fusion
from counterpoise.methods.registry import build_method
from counterpoise.models.frozen import is_pretrained
from counterpoise.models.multimodal import MultimodalModel

FEW = 2048  # samples outside of memory from which statistics are taken


def build_model(
    data: Dataset,
    method: str | Method | type[Method] = "joint",
    *,
    encoders: Mapping[str, nn.Module | str | type[Encoder]] | None = None,
    fusion: str | Fusion | type[Fusion] | None = None,
    unimodal: str | None = None,
    width: int = 128,
    precision: str = "fp32",
    freeze: Sequence[str] = (),
    seed: int = 0,
) -> MultimodalModel:
    """A model that fits a data set and a method.

    Args:
        data: says modalities, shapes and task. Encoders of vectors, sequences and small pictures
            begin by standardising with the statistics of ``data.train``, unless ``data.scaled``.
        method: decides the fusion, if ``fusion`` does not (:func:`counterpoise.build_method`).
        encoders: modality -> module [B, ...] -> [B, D], which is taken as it is; or a name in
            ``ENCODERS``, also with options, ``name:option=value:option=value``; or a subclass of
            :class:`Encoder`. Others are chosen by shape.
        fusion: a name in ``FUSIONS``, also with options, ``name:option=value:option=value``; or a
            subclass of :class:`Fusion`; or one that is built, which is taken as it is. By default
            the first that the method can train.
        unimodal: policy of unimodal logits; by default the method's, where the fusion knows it.
        width: of the encoders' features, where neither module nor label says it.
        precision: ``"fp32"`` or ``"bf16"`` (:class:`MultimodalModel`).
        freeze: modalities whose encoders stay as they are (:meth:`MultimodalModel.freeze`).
        seed: of the initial weights. The global random state is left as it was.

    Raises:
        InputError: an unknown modality, encoder or fusion, a modality that no training sample has,
            other arguments of an ``__init__`` or widths of a fusion, a shape of no usual encoder.
    """
    seed = check_number("seed", seed, whole=True)
    width = check_number("width", width, 1, WIDEST, whole=True)
    with float32(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = assemble_model(
            data,
            method,
            encoders=encoders,
            fusion=fusion,
            unimodal=unimodal,
            width=width,
            precision=precision,
        )
    if isinstance(freeze, str):
        raise InputError(f"freeze must be a list of modalities, found {show(freeze)}")
    if freeze:
        _warn_of_frozen(model.freeze(*freeze), data, encoders or {})
    return model


def assemble_model(
    data: Dataset,
    method: str | Method | type[Method] = "joint",
    *,
    encoders: Mapping[str, nn.Module | str | type[Encoder]] | None = None,
    fusion: str | Fusion | type[Fusion] | None = None,
    unimodal: str | None = None,
    width: int = 128,
    precision: str = "fp32",
    check: Callable[[Mapping[str, nn.Module], Dataset], None] | None = None,
) -> MultimodalModel:
    """:func:`build_model` with the random state as it is.

    Args:
        check: instead of :func:`check_encoders`.
    """
    method = build_method(method)
    given = check_mapping("encoders", encoders, "encoders")
    check_trained(data.train)
    for name in given:
        if name not in data.modalities:
            raise unknown("modality in encoders", name, data.modalities)
    if precision not in ("fp32", "bf16"):
        raise unknown("precision", precision, ("fp32", "bf16"))
    if fusion is None:
        fusion = method.fusions[0] if method.fusions[0] is not Fusion else "concat"
    kind, options = (fusion, {}) if isinstance(fusion, Fusion) else FUSIONS.resolve(fusion)
    modules = {
        m: chosen
        if isinstance(chosen := given.get(m), nn.Module)
        else _encoder(data, m, chosen, width)
        for m in data.modalities
    }
    (check or check_encoders)(modules, data)
    widths = {m: feature_width(module, data, m, kind) for m, module in modules.items()}
    if isinstance(kind, Fusion):
        _check_built(kind, widths, unimodal)
        return MultimodalModel(modules, kind, precision)
    policy = unimodal or _policy(kind, method)
    head = make("fusion", Fusion, kind, widths, data.task.outputs, unimodal=policy, **options)
    return MultimodalModel(modules, head, precision)


def _warn_of_frozen(model: MultimodalModel, data: Dataset, given: Mapping[str, Any]) -> None:
    """Warn where frozen encoders have learnt nothing, or would draw if they were trained."""
    for name in model.frozen:
        parts = list(model.encoders[name].modules())
        learnt = is_pretrained(model.encoders[name])
        if not (learnt or isinstance(given.get(name), nn.Module)) and any(
            True for _ in model.encoders[name].parameters()
        ):
            data.warn(
                f"the encoder of {name!r} is frozen at random weights, so its features are random "
                "projections, and other ones with each seed; choose an encoder that was trained "
                f"(--encoder {name}=hugging-face:model=FOLDER)"
            )
        if any(isinstance(part, Pictures) and (part.crop or part.flip) for part in parts):
            data.warn(
                f"the encoder of {name!r} is frozen, so it neither crops nor mirrors pictures in "
                "training: each is encoded once, whole, as in evaluation"
            )


def _check_built(fusion: Fusion, widths: Mapping[str, int], unimodal: str | None) -> None:
    """Raise :class:`InputError` unless a built fusion fits what the encoders give."""
    if dict(fusion.widths) != dict(widths):
        raise InputError(
            f"fusion is built for features of widths {dict(fusion.widths)}, and the encoders give "
            f"{dict(widths)}; pass encoders with these widths, or the fusion's class or name"
        )
    if unimodal not in (None, fusion.policy):
        raise InputError(
            f"unimodal is {unimodal!r}, and the fusion is built with {fusion.policy!r}; pass one "
            "of them, or the fusion's class or name"
        )


def _policy(kind: type[Fusion], method: Method) -> str:
    """The policy that the method asks for, or the first that both know."""
    both = [p for p in kind.policies if p in method.policies]
    return method.unimodal if method.unimodal in both or not both else both[0]


def _encoder(data: Dataset, name: str, chosen: str | type[Encoder] | None, width: int) -> nn.Module:
    """The encoder of a label or a class, or the usual one for the modality's shape."""
    if chosen is None and not _real(data, name) and not _several(data, name):
        raise InputError(
            f"modality {name!r} holds whole numbers: if they are tokens, choose --encoder "
            f"{name}=tokens (`encoders`), else pass floats (prepare with --set {name}.real=true)"
        )
    shape = _shapes(data, name)
    chosen = chosen or data.kinds.get(name) or usual_encoder(shape, name)
    try:
        kind, options = ENCODERS.resolve(chosen)
        if kind.sized:
            options = {"width": width, **options}
        encoder = kind.build(shape, **kind.fill_options(options, data, name))
    except InputError as error:
        raise InputError(f"the encoder of {name!r}: {error}") from None
    first = _standardize(data, name, encoder)
    return encoder if first is None else nn.Sequential(first, encoder)


def check_encoders(modules: Mapping[str, nn.Module], data: Dataset) -> None:
    """Raise :class:`InputError` where an encoder does not know what its modality holds."""
    for name, module in modules.items():
        for part in module.modules():
            if isinstance(part, Encoder):
                try:
                    part.check_data(data, name)
                except InputError as error:
                    raise InputError(f"the encoder of {name!r}: {error}") from None


def _standardize(data: Dataset, name: str, encoder: Encoder) -> Standardize | None:
    if not encoder.kind:
        return None
    if not _real(data, name):
        label = ENCODERS.name_of(encoder)
        raise InputError(f"{label} takes real numbers, and modality {name!r} holds tokens")
    return None if data.scaled else standardize(data, name, encoder.kind, encoder.padding)


def _several(data: Dataset, name: str) -> bool:
    """Whether a modality has several tensors, such as text."""
    return set(data.specs[name]) != {""}


def _shapes(data: Dataset, name: str) -> Shapes:
    """The shape of a sample, or of each of its tensors."""
    if not _several(data, name):
        return data.shapes[name]
    return {key: shape for key, (_, shape) in data.specs[name].items()}


def _real(data: Dataset, name: str) -> bool:
    """Whether the samples are one array of numbers or pixels, not tokens."""
    return not _several(data, name) and not data.specs[name][""][0].startswith("int")


def standardize(data: Dataset, name: str, kind: str, padding: bool = False) -> Standardize | None:
    """What brings a modality to mean 0 and deviation 1 over the training split.

    By the statistics that came with prepared data; else from the samples, of which a modality
    outside of memory gives the first of a few thousand.

    Args:
        data: the data set.
        name: of the modality.
        kind: how its samples are standardised (``KINDS``).
        padding: steps of zeros are padding: they do not count, and stay zeros.
    """
    form = data.forms.get(name)
    inner = form is None or not form.padded  # filled up here: zeros inside are values
    padding = padding or not inner
    if name in data.scales:
        first = Standardize(*data.scales[name], padding, inner)
        _warn_of_channels(data, name, first)
        return first
    present = data.train.present[name].nonzero().squeeze(1)
    if not len(present):
        return None
    column = data.train.column(name)
    rows = column.rows(present[:FEW] if column.stored else present)
    assert isinstance(rows, torch.Tensor)  # as _real found
    rows = rows if rows.is_floating_point() else rows.float()
    first = Standardize.fit(rows, kind, padding, inner)
    _warn_of_channels(data, name, first)
    return first


def _warn_of_channels(data: Dataset, name: str, first: Standardize) -> None:
    """Warn where channels do not vary in training, or by less than float32 resolves."""
    form, reader = data.forms.get(name), data.readers.get(name)
    still, coarse = first.still.flatten(), first.coarse.flatten()
    if any(isinstance(x, Form | Measured) and x.indicators for x in (form, reader)):
        still = still[: len(still) // 2]  # that everything was measured is no fault
    count, total = int(still.sum()), len(still)
    if count and total > 1:
        verb = "does" if count == 1 else "do"
        data.warn(f"{name}: {count} of {total} channels {verb} not vary in the training rows")
    elif count:
        data.warn(f"{name} does not vary in the training rows")
    if count := int(coarse.sum()):
        data.warn(
            f"{name}: float32 hardly resolves how {count} of {len(coarse)} channels vary around "
            "their mean; give float64, from which they are standardised, or take an offset off"
        )


def known_kinds(
    encoders: Mapping[str, nn.Module | str | type[Encoder]] | None,
) -> dict[str, str]:
    """Modality -> the kind of samples that its encoder takes, where an encoder says so."""
    kinds = {}
    for name, chosen in (encoders or {}).items():
        kind = getattr(chosen, "kind", None)
        if isinstance(chosen, str):
            with suppress(InputError):  # reported by build_model
                kind = ENCODERS.resolve(chosen)[0].kind
        if kind in KINDS:
            kinds[name] = str(kind)
    return kinds


def feature_width(
    encoder: nn.Module, data: Dataset, name: str, fusion: Fusion | type[Fusion] = Fusion
) -> int:
    """The width ``D`` of an encoder's features, by trying it on one sample.

    Args:
        encoder: gives [B, D], or [B, T, D] where the fusion has ``steps``.
        data: the data set.
        name: of the modality.
        fusion: what the features are for.
    """
    check_weights(f"the encoder of {name!r}", encoder)
    training = encoder.training
    encoder.eval()
    row = data.train.present[name].int().argmax()  # the first that has it
    sample = data.train[row[None]].inputs[name]
    try:
        with torch.no_grad():
            features = feed(encoder, sample)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        known = f"of shape {list(data.shapes[name])}"
        if isinstance(sample, dict):
            known = f"of several tensors ({', '.join(sample)}), all by name or as one dict"
        raise InputError(
            f"the encoder of {name!r} does not take samples {known}: {str(error).splitlines()[0]}"
        ) from None
    finally:
        encoder.train(training)
    steps = fusion.steps
    if isinstance(features, torch.Tensor) and features.dim() == (3 if steps else 2):
        return features.shape[-1]
    if not isinstance(features, torch.Tensor):
        raise InputError(
            f"the encoder of {name!r} must give features, found {type(features).__name__}; say "
            "which part of it: Adapter(module, pick=..., pool=...)"
        )
    found = list(features.shape)
    hint = "an encoder of one vector a sample, or a fusion of sequences such as fusion=bottleneck"
    raise InputError(
        f"the encoder of {name!r} must give features {'[B, T, D]' if steps else '[B, D]'}, found "
        f"{found}; use {'lstm:steps=true or fusion=concat' if steps else hint}"
    )
