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

from counterpoise import InputError, Predictor, build_method, build_model, load
from counterpoise.cli.arguments import parse
from counterpoise.cli.main import COMMANDS, main
from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.data.catalogue.av_mnist import _read_wave
from counterpoise.data.readers import ArrayFile, Audio, Image, Text, Video
from counterpoise.deploy import make_predictor


def hdf5(folder: Path) -> None:
    path = folder / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    ArrayFile().read(path)


def cache(folder: Path) -> None:
    prepare(make_plan(toy_table(folder / "raw")), folder / "out")


def recording(folder: Path) -> None:
    (folder / "x.wav").write_bytes(b"RIFF")
    Audio(seconds=1.0).read(folder / "x.wav")


def spoken_digit(folder: Path) -> None:
    _read_wave(folder / "x.wav")


def parquet(folder: Path) -> None:
    path = folder / "x.parquet"
    path.write_bytes(b"PAR1")
    read_manifest(path)


def transformer(_: Path) -> None:
    build_model(load("digits"), encoders={"image": "hugging-face:model=none"})


def packed(folder: Path) -> Path:
    """A pack of an untrained model."""
    data = load("digits")
    model = build_model(data, width=4)
    make_predictor(model, build_method("joint"), data.task, data).save(folder / "pack")
    return folder / "pack"


def run(*words: object) -> None:
    """The command, with its error raised."""
    options = parse([str(word) for word in words], COMMANDS)
    options.command_line = list(map(str, words))
    COMMANDS[options.command].run(options)


USES: list[tuple[str, str, Callable[[Path], object]]] = [
    ("pyarrow", "stream", cache),
    ("pyarrow", "stream", parquet),
    ("av", "media", lambda folder: Video().read(folder / "x.mp4")),
    ("PIL.Image", "media", lambda folder: Image().read(folder / "x.jpg")),
    ("h5py", "media", hdf5),
    ("soundfile", "media", recording),
    ("soundfile", "media", spoken_digit),
    ("tokenizers", "text", lambda _: Text().fit(["some words"])),
    ("transformers", "text", transformer),
    ("onnx", "export", lambda folder: run("export", packed(folder), folder / "m.onnx")),
    ("fastapi", "serve", lambda folder: run("serve", packed(folder))),
    ("ray", "ray", lambda _: run("compare", "digits", "--on", "ray")),
    ("optuna", "tune", lambda _: run("tune", "digits")),
    ("huggingface_hub", "hub", lambda _: Predictor.from_pretrained("me/model")),
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
    with pytest.raises(InputError, match=rf"pip install '\.\[{extra}\]' in the checkout"):
        use(tmp_path)


def test_importing_the_library_brings_none_of_them() -> None:
    heavy = {module.split(".")[0] for module, _, _ in USES} | {"matplotlib", "sklearn"}
    program = (
        "import sys, counterpoise, counterpoise.data, counterpoise.cli.main\n"
        f"print(*({heavy!r} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == []


def test_numbers_and_texts_need_no_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("av", "PIL", "PIL.Image", "h5py", "soundfile"):
        monkeypatch.setitem(sys.modules, module, None)
    lines = [f"{k},{'ab'[k % 2]},{k} {k + 1},{np.sqrt(k)}" for k in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["id,target,x,y", *lines]))
    data = prepare(make_plan(read_manifest(tmp_path / "t.csv")), tmp_path / "out")
    assert data.shapes == {"x": (2,), "y": (1,)}


def test_what_comes_with_the_package_needs_no_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in {module for module, _, _ in USES} - {"PIL.Image"}:  # which matplotlib brings
        monkeypatch.setitem(sys.modules, module, None)
    out = str(tmp_path / "out")
    words = ["compare", "digits", "--methods", "joint", "--epochs", "1", "--seeds", "1", "--quiet"]
    assert main([*words, "--out", out]) == 0
    assert main(["report", out]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
