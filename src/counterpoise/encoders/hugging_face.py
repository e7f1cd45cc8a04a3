"""Models of the transformers library as encoders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from counterpoise.core.batch import Input
from counterpoise.core.paths import expand
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError, check_choice

from . import ENCODERS
from .adapter import picked, pooled
from .base import Encoder, Shapes
from .pictures import Pictures, resize
from .pooling import blank, pool
from .text import holds_tokens, ids_and_mask
from .vocabulary import check_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from counterpoise.data.dataset import Dataset

POOLING = ("auto", "pooler", "mean", "max", "first")
INPUTS = ("input_ids", "pixel_values", "input_values", "input_features")
PREPROCESSOR, TOKENIZER = "preprocessor_config.json", "tokenizer.json"


@dataclass(frozen=True)
class Preparation:
    """How a model wants its inputs prepared, by its ``preprocessor_config.json``.

    Attributes:
        mean, std: one value per channel of pictures; a single one for spectrograms.
        size: height and width of pictures; None leaves them as they are.
        each: whether each waveform is scaled to mean 0 and deviation 1.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    each: bool = False

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Preparation:
        """From the content of the file."""
        mean, std = (said.get(f"image_{k}", said.get(k)) for k in ("mean", "std"))
        if mean is not None and std is not None and said.get("do_normalize", True):
            mean, std = (tuple(v) if isinstance(v, list) else (float(v),) for v in (mean, std))
        else:
            mean = std = None
        sizes = said.get("crop_size") if said.get("do_center_crop") else said.get("size")
        waves = "Wav2Vec2" in str(said.get("feature_extractor_type"))
        return cls(mean, std, _parse_size(sizes), waves and bool(said.get("do_normalize", True)))


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
        pool: str = "auto",
        freeze: bool = False,
        steps: bool = False,
        tower: str | None = None,
        fetch: bool = False,
        revision: str | None = None,
        white: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("pool", pool, POOLING)
        prepared, tokenizer = Preparation(), None
        self.source = str(getattr(model, "name_or_path", model))
        if self.source.startswith("~"):
            self.source = str(expand(self.source))
        if not isinstance(model, nn.Module):
            model, prepared = _load(self.source, fetch, revision)
        module: Any = _choose_tower(model, tower)
        if not hasattr(module, "config"):
            raise InputError(f"model must be one of transformers, found {type(module).__name__}")
        usual = {"text": "input_ids", "vision": "pixel_values"}.get(tower or "", "")
        self.wants = str(getattr(module, "main_input_name", usual))
        if self.wants not in INPUTS:
            raise InputError(f"model takes {self.wants!r}; known inputs: {', '.join(INPUTS)}")
        if self.wants == "input_ids" and self.source:
            tokenizer = _find_file(self.source, TOKENIZER, _where(self.source, fetch, revision))
        self.model, self.prepared, self.tokenizer = module, prepared, tokenizer
        self.pool, self.steps, self.freeze = pool, steps, freeze
        config = module.config
        if getattr(config, "apply_spec_augment", False):
            config.apply_spec_augment = False  # draws from NumPy, which no seed of a run reaches
        self.channels = int(getattr(config, "num_channels", 3))
        self.size = _parse_size(getattr(config, "image_size", None)) or prepared.size
        self.frames = getattr(config, "num_frames", None)
        half = (0.5,) * self.channels
        self.pictures = Pictures(
            self.channels, white=white, mean=prepared.mean or half, std=prepared.std or half
        )
        if freeze:
            module.requires_grad_(False)
            self.train(self.training)

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
        features = features.view(len(pictures), -1, features.shape[-1])
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
        check_choice("tower", tower, ("text", "vision"))
        chosen: nn.Module = getattr(model, f"{tower}_model")
        return chosen
    config: Any = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False):
        encoder: nn.Module = cast(Any, model).get_encoder()
        return encoder
    return model


def _parse_size(said: Any) -> tuple[int, int] | None:
    """Height and width, in any of the forms that configurations use."""
    if isinstance(said, Mapping):
        edge = said.get("shortest_edge")
        said = edge if edge is not None else [said.get("height"), said.get("width")]
    if isinstance(said, int):
        return said, said
    if isinstance(said, list | tuple) and len(said) == 2 and all(isinstance(s, int) for s in said):
        return said[0], said[1]
    return None


def _load(source: str, fetch: bool, revision: str | None) -> tuple[nn.Module, Preparation]:
    """A model and the preparation of its inputs, from a folder or by name."""
    library = need("transformers", "text")
    where, folder = _where(source, fetch, revision), Path(source)
    try:
        with _quiet(library):
            model = library.AutoModel.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, **where
            )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        if folder.is_dir():
            raise InputError(f"the model in {source} cannot be read: {reason}") from None
        if fetch:
            raise InputError(f"the model {source!r} cannot be fetched: {reason}") from None
        raise InputError(
            f"the model {source!r} is neither a folder nor in the local cache; fetch=true "
            "downloads it"
        ) from None
    # Weights may be stored in half precision; the model says by itself where it uses that.
    return model.float(), _read_preparation(source, where)


def _where(source: str, fetch: bool, revision: str | None) -> dict[str, Any]:
    """How the files of a model are found."""
    if Path(source).is_dir():
        return {"local_files_only": True}
    return {"local_files_only": not fetch, "revision": revision}


def _find_file(source: str, name: str, where: Mapping[str, Any]) -> Path | None:
    """A file beside a model, or None if it has none."""
    path = Path(source) / name
    if not Path(source).is_dir():
        hub = need("huggingface_hub", "text")
        try:
            path = Path(hub.hf_hub_download(source, name, **where))
        except (OSError, ValueError):  # there is none, or the source is no name
            return None
    return path if path.is_file() else None


def _read_preparation(source: str, where: Mapping[str, Any]) -> Preparation:
    path = _find_file(source, PREPROCESSOR, where)
    if path is None:
        return Preparation()
    try:
        return Preparation.read(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error})") from None


@contextmanager
def _quiet(library: Any) -> Iterator[None]:
    """Hide progress bars, which disturb tests and pipes."""
    logging = library.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
