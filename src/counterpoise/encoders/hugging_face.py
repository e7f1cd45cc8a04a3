"""Models of the transformers library as encoders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Input
from counterpoise.core.declared import Bounds
from counterpoise.core.paths import expand
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

from . import ENCODERS
from .adapter import picked, pooled
from .base import Encoder, Shapes
from .pictures import Pictures, resize
from .pooling import blank, pool
from .pretrained import (
    Preparation,
    find_class,
    find_file,
    hide_progress,
    how_to_find,
    load_pretrained,
    parse_size,
)
from .text import holds_tokens, ids_and_mask
from .vocabulary import check_tokens

if TYPE_CHECKING:
    from typing_extensions import Self

    from counterpoise.data.dataset import Dataset

Pooling = Literal["auto", "pooler", "mean", "max", "first"]
INPUTS = ("input_ids", "pixel_values", "input_values", "input_features")
TOKENIZER = "tokenizer.json"


class HuggingFace(Encoder):
    """A model of the transformers library for text, pictures, video or sound: -> [B, D].

    Text is a dict of token numbers, passed by keyword. Pictures [B, 3, H, W] are resized to the
    size that the model takes; bytes are scaled and normalised as its ``preprocessor_config.json``
    says (0.5 and 0.5 where there is none), floats are taken as they are. Frames [B, T, 3, H, W] go
    to a video model whole; an image model encodes them one by one, and their features are averaged.
    Sound is a waveform [B, 1, T], or a spectrogram [B, F, T] for models that expect one. Models
    with an encoder and a decoder contribute the encoder, pairs of towers (CLIP) the tower of the
    modality. A model's own masking of sound in training is switched off, since it ignores seeds.

    Args:
        model: an instance, trained in place; a folder; or a name. Weights are read from
            safetensors only, and code that comes with them is never run.
        pool: ``"pooler"``: ``pooler_output``; ``"mean"``, ``"max"`` or ``"first"`` step of
            ``last_hidden_state``, without padding; ``"auto"``: the first if there is one, else
            the mean.
        freeze: keep the weights and the evaluation mode; no gradients are computed.
        steps: give the last hidden states, [B, T, D], zeros where there is padding.
        tower: which of two towers: ``"text"`` or ``"vision"``.
        fetch: download a named model that is not in the local cache.
        revision: branch, tag or commit of a named model.
        white: the value of white in float pictures, such as 255 or 1: they are divided by it and
            then normalised like bytes.

    Raises:
        InputError: no such model, or one that accepts neither text nor pictures nor sound.
    """

    name = "hugging-face"
    sized = False

    def __init__(
        self,
        model: nn.Module | str | Path,
        *,
        pool: Pooling = "auto",
        freeze: bool = False,
        steps: bool = False,
        tower: Literal["text", "vision"] | None = None,
        fetch: bool = False,
        revision: str | None = None,
        white: Annotated[float | None, Bounds(above=0)] = None,
    ) -> None:
        super().__init__()
        prepared, tokenizer = Preparation(), None
        self.source = str(getattr(model, "name_or_path", model))
        self.pretrained = bool(self.source)
        if self.source.startswith("~"):
            self.source = str(expand(self.source))
        if not isinstance(model, nn.Module):
            model, prepared = load_pretrained(self.source, fetch, revision)
        module: Any = _choose_tower(model, tower)
        if not hasattr(module, "config"):
            raise InputError(f"model must be one of transformers, found {type(module).__name__}")
        usual = {"text": "input_ids", "vision": "pixel_values"}.get(tower or "", "")
        self.wants = str(getattr(module, "main_input_name", usual))
        if self.wants not in INPUTS:
            raise InputError(f"model takes {self.wants!r}; known inputs: {', '.join(INPUTS)}")
        if self.wants == "input_ids" and self.source:
            where = how_to_find(self.source, fetch, revision)
            tokenizer = find_file(self.source, TOKENIZER, where)
        self.model, self.tokenizer = module, tokenizer
        self.pool, self.steps, self.freeze = pool, steps, freeze
        config = module.config
        if getattr(config, "apply_spec_augment", False):
            config.apply_spec_augment = False  # draws from NumPy, which no seed of a run reaches
        self._set_up(prepared, white)
        if freeze:
            module.requires_grad_(False)
            self.train(self.training)

    def _set_up(self, prepared: Preparation, white: float | None) -> None:
        """Prepare inputs as the model wants them."""
        config: Any = self.model.config
        self.prepared, self.white = prepared, white
        self.channels = int(getattr(config, "num_channels", 3))
        self.size = parse_size(getattr(config, "image_size", None)) or prepared.size
        self.frames = getattr(config, "num_frames", None)
        half = (0.5,) * self.channels
        self.pictures = Pictures(
            self.channels, white=white, mean=prepared.mean or half, std=prepared.std or half
        )

    @classmethod
    def options(cls) -> dict[str, Any]:
        return {"model": None, **super().options()}

    @classmethod
    def build(cls, shape: Shapes, width: int = 128, **options: Any) -> Self:
        ENCODERS.check(cls, options)
        if "model" not in options:
            raise InputError(f"{cls.name} needs a model: {cls.name}:model=FOLDER, or a name")
        model = options.pop("model")
        return cls(model, **{"tower": "text" if isinstance(shape, Mapping) else "vision"} | options)

    def recipe(self) -> dict[str, Any]:
        kind, config = type(self.model), cast(Any, self.model).config
        return {
            "model": f"{kind.__module__}:{kind.__qualname__}",
            "config": f"{type(config).__module__}:{type(config).__qualname__}",
            "settings": json.loads(config.to_json_string(use_diff=False)),
            "prepared": asdict(self.prepared),
            "white": self.white,
            "options": {
                "pool": self.pool,
                "steps": self.steps,
                "freeze": self.freeze,
                "tower": "text" if self.wants == "input_ids" else "vision",
            },
        }

    @classmethod
    def remake(cls, recipe: Mapping[str, Any]) -> Self:
        library = need("transformers", "text")
        kind = find_class(recipe["model"], nn.Module)
        config = find_class(recipe["config"], library.PretrainedConfig)
        with hide_progress(library):
            made = cls(kind(config.from_dict(dict(recipe["settings"]))), **recipe["options"])
        prepared = recipe["prepared"].items()
        said: Any = {key: tuple(v) if isinstance(v, list) else v for key, v in prepared}
        made._set_up(Preparation(**said), recipe["white"])
        return made

    def check_data(self, data: Dataset, name: str) -> None:
        if self.wants == "input_ids" and holds_tokens(data, name):
            check_tokens(self.model, data, name, self.source, self.tokenizer)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.freeze:
            self.model.eval()
        return self

    def forward(self, inputs: Input) -> Tensor:
        with torch.no_grad() if self.freeze else nullcontext():
            return self._encode(inputs)

    def _encode(self, inputs: Input) -> Tensor:
        if self.wants == "input_ids":
            return self._encode_text(inputs)
        if not isinstance(inputs, Tensor):
            raise InputError(f"{type(self.model).__name__} takes {self.wants}, found token numbers")
        if self.wants != "pixel_values":
            return self._pool(self._call(self._prepare_sound(inputs)))
        pictures = inputs if inputs.dim() > 3 else inputs[:, None]
        if pictures.shape[-3] == 1 < self.channels:
            pictures = pictures.expand(*pictures.shape[:-3], self.channels, -1, -1)
        pictures = self.pictures(pictures)
        if self.size is not None:
            flat = resize(pictures.flatten(0, -4), self.size)
            pictures = flat.view(*pictures.shape[:-2], *self.size)
        return self._encode_pictures(pictures)

    def _encode_pictures(self, pictures: Tensor) -> Tensor:
        video = pictures.dim() == 5
        if self.frames is not None:
            found = pictures.shape[1] if video else 1
            if found != self.frames:
                raise InputError(
                    f"{type(self.model).__name__} takes {self.frames} frames, found {found}; read "
                    "as many"
                )
            return self._pool(self._call(pictures if video else pictures[:, None]))
        features = self._pool(self._call(pictures.flatten(0, 1) if video else pictures))
        if not video:
            return features
        features = features.view(pictures.shape[0], -1, features.shape[-1])
        return features if self.steps else features.mean(1)

    def _encode_text(self, inputs: Input) -> Tensor:
        ids, real = ids_and_mask(inputs, self.model.config.pad_token_id or 0)
        words = {} if isinstance(inputs, Tensor) else dict(inputs)
        # A row without tokens keeps its first one: attention to nothing is not defined.
        words |= {"input_ids": ids, "attention_mask": real.long()}
        output = self.model(**words, return_dict=True)
        return self._pool(output, real)

    def _prepare_sound(self, waves: Tensor) -> Tensor:
        """[B, 1, T] -> [B, T]; spectrograms [B, F, T] -> [B, T, F], or as they are."""
        if self.wants == "input_features":
            return waves
        spectrogram = waves.dim() == 3 and waves.shape[1] > 1
        if spectrogram or hasattr(self.model.config, "num_mel_bins"):
            if self.prepared.mean is not None and self.prepared.std is not None:
                waves = (waves - self.prepared.mean[0]) / (2 * self.prepared.std[0])
            return waves.transpose(1, 2)
        waves = waves.flatten(1).float()
        if self.prepared.each:
            centred = waves - waves.mean(1, keepdim=True)
            waves = centred / (centred.square().mean(1, keepdim=True) + 1e-7).sqrt()
        return waves

    def _call(self, values: Tensor) -> Any:
        return self.model(**{self.wants: values}, return_dict=True)

    def _pool(self, output: Any, real: Tensor | None = None) -> Tensor:
        """[B, D] or, as steps, [B, T, D]."""
        summary = output.get("pooler_output")
        if self.pool == "pooler" and summary is None:
            raise InputError(f"{type(self.model).__name__} has no pooler_output; use pool=mean")
        if summary is not None and not self.steps and self.pool in ("auto", "pooler"):
            return picked(output, "pooler_output").flatten(1)
        states = pooled(picked(output, "last_hidden_state"), "steps")
        if real is None or real.shape[1] != states.shape[1]:
            real = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
        if self.steps:
            return blank(states, real)
        return pool(states, real, "mean" if self.pool == "auto" else self.pool)


def _choose_tower(model: nn.Module, tower: str | None) -> nn.Module:
    """The part of a model that encodes one modality."""
    if hasattr(model, "text_model") and hasattr(model, "vision_model"):
        if tower is None:
            raise InputError("model has two towers; say which: tower=text or tower=vision")
        chosen: nn.Module = getattr(model, f"{tower}_model")
        return chosen
    config: Any = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        encoder: nn.Module = cast(Any, model).get_encoder()
        return encoder
    return model
