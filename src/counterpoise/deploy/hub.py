"""Packs on the Hugging Face Hub, by the conventions of its libraries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from counterpoise.core.paths import expand
from counterpoise.data.readers.base import need
from counterpoise.errors import InputError

PATTERNS = ["*.json", "*.safetensors", "README.md"]


def find_folder(name: str | Path, **more: Any) -> Path:
    """A folder as it is; that of a repository after it was downloaded, or from the cache.

    Args:
        name: a folder, or ``owner/name``.
        more: ``revision``, ``token``, ``cache_dir``, ``local_files_only``.

    Raises:
        InputError: neither a folder nor a repository that can be had.
    """
    if expand(name).is_dir():
        return expand(name)
    hub = need("huggingface_hub", "hub")
    try:
        return Path(hub.snapshot_download(str(name), allow_patterns=PATTERNS, **more))
    except Exception as error:  # of whichever library the Hub is called with
        raise InputError(
            f"{name} is no folder here, and no repository that can be fetched: {_say(error)}"
        ) from None


def _say(error: Exception) -> str:
    words = str(error).strip()
    return words.splitlines()[0] if words else type(error).__name__


def upload(
    save: Callable[[Path], None],
    name: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    commit_message: str = "Upload a counterpoise model",
    revision: str | None = None,
) -> str:
    """Write a pack into a temporary folder and upload that; returns the address of the commit."""
    hub = need("huggingface_hub", "hub")
    with tempfile.TemporaryDirectory(prefix="counterpoise-") as folder:
        save(Path(folder) / "pack")
        try:
            api = hub.HfApi(token=token)
            found = api.create_repo(name, private=private, exist_ok=True)
            return str(
                api.upload_folder(
                    repo_id=found.repo_id,
                    folder_path=str(Path(folder) / "pack"),
                    commit_message=commit_message,
                    revision=revision,
                )
            )
        except Exception as error:  # of whichever library the Hub is called with
            raise InputError(f"the pack cannot be uploaded to {name!r}: {_say(error)}") from None
