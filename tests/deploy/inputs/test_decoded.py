"""Rows that bring arrays, pictures or numbers where a reader opens files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data.media import jpeg, wav
from folded import check_each
from PIL import Image as Pillow

from counterpoise import InputError
from counterpoise.data.readers import build_reader
from counterpoise.deploy.inputs.preprocessing import Preprocessing
from counterpoise.deploy.inputs.samples import read_samples

SHAPE = (3, 8, 10)
TOLD = "give a path, or a decoded sample uint8 [3, 8, 10]"


@pytest.fixture(scope="module")
def how() -> dict[str, Preprocessing]:
    picture = build_reader({"type": "image", "size": (8, 10)})
    sound = build_reader({"type": "audio", "seconds": 0.1})
    text = build_reader({"type": "text", "length": 4}).fit(["a text", "another text"])
    return {
        "picture": Preprocessing({"": ("uint8", SHAPE)}, picture),
        "sound": Preprocessing({"": ("float32", (1, 4))}, sound, fill=np.full((1, 1), 7, "f4")),
        "text": Preprocessing(
            {"input_ids": ("int64", (4,)), "attention_mask": ("int64", (4,))}, text
        ),
    }


def draw(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.uint8)


def test_decoded_samples_may_come_row_by_row(how: dict[str, Preprocessing], tmp_path: Path) -> None:
    pixels = draw(3)
    jpeg(tmp_path / "a.jpg")
    wanted = read_samples({"picture": pixels}, how).inputs["picture"]

    def check(X: Any) -> None:
        found = read_samples(X, how, tmp_path)
        assert found.problems == {} and torch.equal(found.inputs["picture"], wanted)

    series = pd.Series([None] * 3, dtype=object)
    for k in range(3):
        series[k] = pixels[k]
    rows: list[Any] = [
        {"picture": list(pixels)},
        {"picture": list(torch.from_numpy(pixels))},
        [{"picture": row} for row in pixels],
        pd.DataFrame({"picture": series}),
    ]
    check_each(((X,) for X in rows), check)
    mixed = read_samples({"picture": [pixels[0], None, "a.jpg", pixels[2]]}, how, tmp_path)
    assert mixed.present["picture"].tolist() == [True, False, True, True]
    values = mixed.inputs["picture"]
    file = read_samples({"picture": ["a.jpg"]}, how, tmp_path).inputs["picture"]
    assert isinstance(values, torch.Tensor) and isinstance(file, torch.Tensor)
    assert torch.equal(values[0], wanted[0]) and torch.equal(values[3], wanted[2])
    assert torch.equal(values[2], file[0])


def test_decoded_rows_are_checked_as_arrays_of_them(how: dict[str, Preprocessing]) -> None:
    whole = np.array([[[1, np.nan, 3, 4]], [[np.nan] * 4], [[1, np.inf, 3, 4]]], np.float32)
    tokens = {"input_ids": np.array([1, 2, 0, 0]), "attention_mask": np.array([1, 1, 0, 0])}
    beyond = {**tokens, "input_ids": np.array([10**6, 2, 0, 0])}
    found = read_samples({"sound": list(whole), "text": [tokens, beyond, "a text"]}, how)
    assert found.filled == {"sound": 1}
    sound, text = found.inputs["sound"], found.inputs["text"]
    assert isinstance(sound, torch.Tensor) and sound[0, 0].tolist() == [1, 7, 3, 4]
    assert isinstance(text, dict) and text["input_ids"][0].tolist() == [1, 2, 0, 0]
    assert found.present["sound"].tolist() == [True, False, False]
    assert found.present["text"].tolist() == [True, False, True]
    assert "text: holds a token outside" in found.problems[1]
    assert found.problems[2] == "sound: must be finite numbers, found an infinity"


def test_what_is_no_path_is_told_in_a_short_line(
    how: dict[str, Preprocessing], tmp_path: Path
) -> None:
    picture = draw(1)[0]

    def check(name: str, cell: Any, words: str) -> None:
        for X in ({name: [cell, None]}, [{name: cell}, {}]):
            found = read_samples(X, how, tmp_path)
            assert found.problems[0] == f"{name}: {words}; has no modality"

    array = f"is an array uint8 [8, 10, 3]; {TOLD}"
    wave = "give a path, or a decoded sample float32 [1, 4]"
    odd = picture.transpose(1, 2, 0)
    check_each(
        [
            ("picture", odd, array),
            ("picture", torch.from_numpy(odd), array),
            ("picture", picture.astype("f4"), f"is an array float32 [3, 8, 10]; {TOLD}"),
            ("picture", picture.tolist(), f"is a list of numbers; {TOLD}"),
            ("picture", [picture], f"is a list; {TOLD}"),
            ("picture", {"x": picture}, f"is of type dict; {TOLD}"),
            ("picture", 3, "is a number, 3; give a path"),
            ("picture", np.float64(4.5), "is a number, 4.5; give a path"),
            ("picture", b"ab", "is of type bytes; give a path"),
            (
                "picture",
                Pillow.new("F", (5, 4)),
                f"is a picture of Pillow (F, 5 x 4); {TOLD}",
            ),
            ("sound", np.zeros(1600, "f4"), f"is an array float32 [1600]; {wave}"),
            ("picture", "no.jpg", f"{tmp_path / 'no.jpg'} is not there"),
        ],
        check,
    )


def test_clips_and_lists_of_paths_are_no_arrays(
    how: dict[str, Preprocessing], tmp_path: Path
) -> None:
    wav(tmp_path / "a.wav", 0.2)
    found = read_samples({"sound": [("no.wav", 0, 0.1), ("a.wav", 3, 1)]}, how, tmp_path)
    assert found.problems[0].startswith(f"sound: {tmp_path / 'no.wav'} is not there")
    assert found.problems[1].startswith("sound: start must be before end")


def test_pictures_of_pillow_are_those_of_their_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = Pillow.fromarray(rng.integers(0, 256, (20, 30, 3)).astype(np.uint8))
    turned = Pillow.Exif()
    turned[0x0112] = 6

    def check(mode: str, grey: bool, keep: str) -> None:
        reader = build_reader({"type": "image", "size": [8, 10], "grey": grey, "keep": keep})
        way = {"picture": Preprocessing({"": ("uint8", (1 if grey else 3, 8, 10))}, reader)}
        path = tmp_path / f"{mode}.png"
        more = {"transparency": bytes(range(256))} if mode == "P" else {}
        colours.convert(mode).save(path, exif=turned, **more)
        with Pillow.open(path) as picture:
            found = read_samples({"picture": [path, picture]}, way)
        values = found.inputs["picture"]
        assert found.problems == {} and isinstance(values, torch.Tensor)
        assert torch.equal(values[0], values[1]) and values.any()

    modes = ("RGB", "L", "RGBA", "LA", "P", "1")
    check_each(((m, g, k) for m in modes for g in (False, True) for k in ("squash", "crop")), check)


def test_arrays_of_numbers_are_refused_for_all_rows() -> None:
    reader = build_reader({"type": "numbers"})
    way = {"n": Preprocessing({"": ("float32", (3,))}, reader)}
    with pytest.raises(InputError, match=r"X\['n'\] must hold real numbers, found complex128"):
        read_samples({"n": np.zeros((2, 3), complex)}, way)
    with pytest.raises(InputError, match=r"\[\]; rows are \[N, 3\]: pass x\[None\]"):
        read_samples({"n": np.zeros(3)}, way)
