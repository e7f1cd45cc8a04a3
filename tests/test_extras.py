"""Heavy libraries are extras: imported where they are used, and named where they are missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data.media import jpeg, video
from data.tables import toy_table

from counterpoise import InputError, build_model, load
from counterpoise.data import prepare, read_manifest, settle
from counterpoise.data.readers import ArrayFile, Image, Text, Video


def hdf5(folder: Path) -> None:
    path = folder / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    ArrayFile().read(path)


def parquet(folder: Path) -> None:
    path = folder / "x.parquet"
    path.write_bytes(b"PAR1")
    read_manifest(path)


def transformer(_: Path) -> None:
    build_model(load("digits"), encoders={"image": "hugging-face:model=none"})


USES: list[tuple[str, str, Callable[[Path], object]]] = [
    ("pyarrow", "stream", lambda folder: prepare(settle(toy_table(folder / "raw")), folder / "o")),
    ("pyarrow", "stream", parquet),
    ("av", "media", lambda folder: Video().read(folder / "x.mp4")),
    ("PIL.Image", "media", lambda folder: Image().read(folder / "x.jpg")),
    ("h5py", "media", hdf5),
    ("tokenizers", "text", lambda _: Text().fitted(["some words"])),
    ("transformers", "text", transformer),
]


@pytest.mark.parametrize(
    ("module", "extra", "use"), USES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_the_error_names_the_extra(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    extra: str,
    use: Callable[[Path], object],
) -> None:
    video(tmp_path / "x.mp4", 0.2)
    jpeg(tmp_path / "x.jpg")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"pip install 'counterpoise\[{extra}\]'"):
        use(tmp_path)


def test_importing_the_library_brings_none_of_them() -> None:
    heavy = {module.split(".")[0] for module, _, _ in USES} | {"matplotlib", "sklearn", "soundfile"}
    program = (
        "import sys, counterpoise, counterpoise.data, counterpoise.cli.main\n"
        f"print(*({heavy!r} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []


def test_numbers_and_texts_need_no_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("av", "PIL", "PIL.Image", "h5py"):
        monkeypatch.setitem(sys.modules, module, None)
    lines = [f"{k},{'ab'[k % 2]},{k} {k + 1},{np.sqrt(k)}" for k in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["id,target,x,y", *lines]))
    data = prepare(settle(read_manifest(tmp_path / "t.csv")), tmp_path / "out")
    assert data.shapes == {"x": (2,), "y": (1,)}
