"""Models of the transformers library: found, loaded, and made again from their settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn

from counterpoise.core.files import check_file, read_bytes
from counterpoise.core.registry import import_path
from counterpoise.core.schema import RAISED, Shape, blame, check, parse_json
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

PREPROCESSOR = "preprocessor_config.json"


class Said(Shape):
    """What is read of the file; it says more."""

    image_mean: list[float] | float | None = None
    image_std: list[float] | float | None = None
    mean: list[float] | float | None = None
    std: list[float] | float | None = None


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
        return cls(mean, std, parse_size(sizes), waves and bool(said.get("do_normalize", True)))


def parse_size(said: Any) -> tuple[int, int] | None:
    """Height and width, in any of the forms that configurations use."""
    if isinstance(said, Mapping):
        edge = said.get("shortest_edge")
        said = edge if edge is not None else [said.get("height"), said.get("width")]
    if isinstance(said, int):
        return said, said
    if isinstance(said, list | tuple) and len(said) == 2 and all(isinstance(s, int) for s in said):
        return said[0], said[1]
    return None


def load_pretrained(
    source: str, fetch: bool, revision: str | None
) -> tuple[nn.Module, Preparation]:
    """A model and the preparation of its inputs, from a folder or by name."""
    library = need("transformers", "text")
    where, folder = how_to_find(source, fetch, revision), Path(source)
    for file in folder.iterdir() if folder.is_dir() else ():
        if not file.is_dir():
            check_file(file)
    try:
        with hide_progress(library):
            model = library.AutoModel.from_pretrained(
                source, use_safetensors=True, trust_remote_code=False, **where
            )
    except (OSError, SafetensorError, *RAISED) as error:
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


def how_to_find(source: str, fetch: bool, revision: str | None) -> dict[str, Any]:
    """How the files of a model are found."""
    if Path(source).is_dir():
        return {"local_files_only": True}
    return {"local_files_only": not fetch, "revision": revision}


def find_file(source: str, name: str, where: Mapping[str, Any]) -> Path | None:
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
    path = find_file(source, PREPROCESSOR, where)
    if path is None:
        return Preparation()
    try:
        with blame(path, "fetch it again"):
            said = parse_json(read_bytes(path))
            check(said, Said, path, "fetch it again")
            return Preparation.read(said)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error})") from None


@contextmanager
def hide_progress(library: Any) -> Iterator[None]:
    """Hide progress bars, which disturb tests and pipes."""
    logging = library.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def find_class(path: str, base: type) -> Any:
    """A class of the transformers library, and of no other."""
    if not path.startswith("transformers."):
        raise InputError(f"a model must be one of transformers, found {path}")
    try:
        found = import_path(path)
    except (ImportError, AttributeError) as error:
        raise InputError(f"this version of transformers lacks {path} ({error})") from None
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(f"{path} is no {base.__name__} of transformers")
    return found
