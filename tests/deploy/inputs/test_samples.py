"""New rows as users bring them: what is read, what is refused, and what is listed row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from data.media import jpeg, wav
from folded import check_each
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import toy_data

from counterpoise import ArrayData, InputError, Modalities
from counterpoise.data import make_plan, prepare, read_manifest
from counterpoise.deploy.inputs.preprocessing import Preprocessing
from counterpoise.deploy.inputs.samples import Samples, read_samples

How = dict[str, Preprocessing]


def ways(data: Any) -> How:
    """By way of JSON, as on another machine."""
    found = {m: Preprocessing.of(data, m) for m in data.modalities}
    return {
        m: Preprocessing.from_state(json.loads(json.dumps(way.state())), way.files())
        for m, way in found.items()
    }


@pytest.fixture(scope="module")
def arrays() -> How:
    return ways(toy_data(3))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, How]:
    """Recordings, pictures, texts and numbers; the folder and how they are read."""
    folder = tmp_path_factory.mktemp("media")
    lines = ["id,audio,image,text,speed,target"]
    for k in range(18):
        wav(folder / f"{k}.wav", 0.1, hertz=300 + 40 * k)
        jpeg(folder / f"{k}.jpg", colour=(80 * (k % 3), 20, 9 * k))
        lines.append(f"r{k},{k}.wav,{k}.jpg,the text number {k},{k} 1 {k % 3},c{k % 3}")
    (folder / "t.csv").write_text("\n".join(lines) + "\n")
    table = read_manifest(folder / "t.csv", modalities=["audio", "image", "text", "speed"])
    plan = make_plan(table, options={"image": {"size": 16}})
    data = prepare(plan, folder / "out")
    how = ways(data)
    rows = [{"audio": f"{k}.wav", "image": folder / f"{k}.jpg"} for k in range(18)]
    more = [{"text": f"the text number {k}", "speed": [k, 1, k % 3]} for k in range(18)]
    found = read_samples([a | b for a, b in zip(rows, more, strict=True)], how, folder)
    assert found.problems == {} and found.filled == {}
    places = [int(plan.rows[int(p)].id[1:]) for part in plan.splits.values() for p in part]
    for name in how:  # exactly what was prepared
        splits = data.splits.values()
        parts = [split.column(name).rows(torch.arange(len(split))) for split in splits]
        whole = Samples.join([Samples({name: p}, {name: torch.ones(_count(p))}, {}) for p in parts])
        assert _same(_take(found.inputs[name], places), whole.inputs[name]), name
    return folder, how


def _count(value: Any) -> int:
    return len(next(iter(value.values())) if isinstance(value, dict) else value)


def _take(value: Any, places: list[int]) -> Any:
    return {k: x[places] for k, x in value.items()} if isinstance(value, dict) else value[places]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return all(torch.equal(left[key], right[key]) for key in left)
    return torch.equal(left, right)


def tell(X: Any, how: How, folder: Path | None = None) -> dict[str, Any]:
    """Modality -> where it is there; and the problems."""
    found = read_samples(X, how, folder)
    there = {m: mask.tolist() for m, mask in found.present.items() if mask.any()}
    for name, mask in found.present.items():
        value = found.inputs[name]
        for part in value.values() if isinstance(value, dict) else [value]:
            assert part.isfinite().all() and not part[~mask].any()
    return {**there, "problems": found.problems}


def test_wrong_cells_are_problems_of_their_rows(media: tuple[Path, How]) -> None:
    folder, how = media
    rows: list[Mapping[str, Any]] = [
        {"audio": "nowhere.wav", "text": "hello"},
        {"image": "t.csv", "speed": [1, None, 3]},
        {"speed": [1, 2]},
        {"text": ["a"], "audio": ""},
        {},
        {"audio": ("1.wav", 0, 0.05), "image": np.nan, "text": pd.NA},
        {"speed": "1 inf 3", "image": 3.5},
    ]
    found = tell(rows, how, folder)
    nothing = "; has no modality"
    assert found["problems"] == {
        0: f"audio: {folder / 'nowhere.wav'} is not there",
        1: "image: t.csv is no picture, or damaged",
        2: f"speed: must hold 3 numbers, found 2{nothing}",
        3: f"text: is a list, where a text or a number is wanted{nothing}",
        4: "has no modality",
        6: "image: is a number, 3.5; give a path; "
        f"speed: must be finite numbers, found '1 inf 3'{nothing}",
    }
    assert [k for k, here in enumerate(found["speed"]) if here] == [1]
    assert [k for k, here in enumerate(found["audio"]) if here] == [5]
    read, fill = read_samples(rows, how, folder), how["speed"].fill
    assert fill is not None and read.filled == {"speed": 1}
    assert read.inputs["speed"][1].tolist() == [1, fill[1], 3] and fill[1] != 0


def test_arrays_are_read_or_are_samples(media: tuple[Path, How]) -> None:
    """What a reader reads as in files is read by it; else it is what was decoded already."""
    _, how = media
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16)).astype(np.uint8)
    spectra = np.zeros((2, *how["audio"].spec[""][1]), np.float32)
    spectra[1, 0, 0] = np.inf
    found = read_samples({"image": pixels, "audio": spectra, "speed": np.ones((2, 3))}, how)
    assert torch.equal(found.inputs["image"], torch.from_numpy(pixels))
    assert found.problems == {1: "audio: must be finite numbers, found an infinity"}
    tokens = read_samples({"text": ["a b", "c"]}, how).inputs["text"]
    assert isinstance(tokens, dict)
    assert _same(read_samples({"text": tokens}, how).inputs["text"], tokens)
    beyond = {**tokens, "input_ids": tokens["input_ids"] + 10**6}
    assert "outside 0.." in tell({"text": beyond}, how)["problems"][0]
    refused: list[tuple[dict[str, Any], str]] = [
        (
            {"audio": np.zeros((2, 16000), np.float32)},
            "samples of float32 .*32 .16000",
        ),
        ({"image": pixels.astype("f4")}, "samples of uint8 .*, found float32"),
        ({"image": pixels[:, :, :9]}, "found uint8 .3, 9, 16."),
        ({"text": {"input_ids": tokens["input_ids"]}}, "'attention_mask', found one of"),
        ({"text": np.ones((2, 4))}, "found an array"),
        ({"image": pixels, "speed": [[1, 2, 3]]}, "as many rows of each"),
    ]

    def check(X: dict[str, Any], words: str) -> None:
        with pytest.raises(InputError, match=words):
            read_samples(X, how)

    check_each(refused, check)


def test_numbers_that_were_scaled_in_training_are_scaled(tmp_path: Path) -> None:
    """Arrays too, of which float32 holds no difference otherwise."""
    lines = ["note,time,target"]
    lines += [f"this is note {k},{1.6e9 + k / 7},c{k % 2}" for k in range(30)]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    table = read_manifest(tmp_path / "t.csv", modalities=["time"], types={"time": "numbers"})
    with pytest.warns(UserWarning, match="float32 cannot hold"):
        how = ways(make_plan(table).live())
    cells = [1.6e9 + 1 / 7, 1.6e9 + 2 / 7]
    texts = read_samples({"time": list(map(str, cells))}, how).inputs["time"]
    array = read_samples({"time": np.array(cells)[:, None]}, how).inputs["time"]
    assert isinstance(texts, torch.Tensor) and isinstance(array, torch.Tensor)
    rows = read_samples({"time": list(np.array(cells)[:, None])}, how).inputs["time"]
    assert isinstance(rows, torch.Tensor) and torch.equal(texts, rows)
    assert torch.equal(texts, array) and texts.abs().max() < 5 and texts[0] != texts[1]


def test_rows_of_numbers_may_be_written_in_many_ways(arrays: How) -> None:
    row = [1.0, 2.0, 3.0, 4.0]
    same: list[Any] = [
        np.array([row]),
        torch.tensor([row]),
        torch.tensor([row], dtype=torch.bfloat16),
        np.array([row]).astype(int),
        [row],
        [tuple(row)],
        [np.array(row)],
        [torch.tensor(row)],
        ["1 2 3 4"],
        ["[1, 2, 3, 4]"],
        ["1,2;3 4.0"],
        pd.Series(["1 2 3 4"]),
        pd.Series([row]),
        pd.DataFrame([row]),
        np.array(["1 2 3 4"]),
        np.array([[*row[:3], "4"]], dtype=object),
    ]

    def check(value: Any) -> None:
        found = read_samples({"a": value}, arrays)
        assert found.problems == {} and torch.equal(found.inputs["a"], torch.tensor([row]))

    check_each(((value,) for value in same), check)
    absent: list[Any] = [None, np.nan, pd.NA, pd.NaT, "", " ", "NA", "[]", [], [None] * 4, [np.nan]]
    found = tell({"a": [row, *absent]}, arrays)
    assert found["a"] == [True] + [False] * len(absent)
    assert set(found["problems"].values()) == {"has no modality"}


def test_one_wrong_row_spoils_no_other(arrays: How) -> None:
    """Nor the other modalities of the same row."""
    row, other = [1.0, 2.0, 3.0, 4.0], [1.0] * 5
    wrong: list[tuple[Any, str]] = [
        ([1, 2, 3], r"must hold numbers of shape [4], found [3]"),
        (np.zeros((2, 2)), r"must hold numbers of shape [4], found [2, 2]"),
        ([1, 2, 3, np.inf], "must be finite numbers, found an infinity"),
        ([1, 2, 3, 1e300], "holds numbers that float32 cannot hold"),
        ("1 2 three 4", "is no number: '1 2 three 4'"),
        ("[1, 2", "is no list of numbers: '[1, 2'"),
        ({"x": 1}, "is no number: {'x': 1}"),
        (b"1 2 3 4", "is no number: b'1 2 3 4'"),
        (7, "must hold numbers of shape [4], found [1]"),
        (np.zeros(4, complex), "must hold real numbers, found complex128"),
    ]

    def check(cell: Any, words: str) -> None:
        found = tell({"a": [row, cell, row], "b": [None, other, None]}, arrays)
        assert found["a"] == [True, False, True] and found["b"] == [False, True, False]
        assert found["problems"] == {1: f"a: {words}"}

    check_each(wrong, check)
    array = np.array([row, [1, 2, 3, np.inf], [1, 2, 3, 1e300]])
    assert tell({"a": array}, arrays)["a"] == [True, False, False]


def test_what_is_wrong_for_all_rows_is_refused(arrays: How) -> None:
    x = np.ones((2, 4))
    refused: list[tuple[Any, str]] = [
        ({"ab": x}, "unknown modality in X 'ab'; did you mean 'b'"),
        (pd.DataFrame({"a": ["1 2 3 4"], "aa": [1]}), "unknown column of X 'aa'; did you mean 'a'"),
        (
            [{"a": [1, 2, 3, 4]}, {"z": 1}],
            "unknown modality in the rows of X 'z'.*leave the key out",
        ),
        ({"a": x, "z": x}, "unknown modality in X 'z'.*; if it is no modality, leave it out"),
        (pd.DataFrame({"a": ["1"], "z": [1]}), r"column of X 'z'.*pass X\[\['a'\]\]$"),
        (
            pd.DataFrame([["1"] * 4], columns=list("abcz")),
            r"pass X\[list\(predictor.modalities\)\]$",
        ),
        (pd.DataFrame({"z": [1]}), "unknown column of X 'z'; known: a, b, c$"),
        ({"a": np.zeros(4)}, r"; rows are \[N, 4\]: pass x\[None\] where x is a single one"),
        ({"a": np.zeros(4), "b": torch.zeros(5)}, r"; rows are \[N, 4\]: pass x\[None\]"),
        ({"a": x, "b": np.ones((3, 5))}, "as many rows of each modality, at least one, found"),
        ({"a": np.ones((2, 9))}, r"X\['a'\] must hold rows of torch.float32 \[4\].*found .* \[9\]"),
        ({"a": np.ones((2, 4), complex)}, "must hold numbers, found complex"),
        ({"a": "a.wav"}, "must hold a row for each sample, found the text"),
        ({"a": None}, "rows of at least one modality, found none"),
        ({"a": np.ones((0, 4))}, "at least one, found"),
        ({"a": 3}, "must hold rows, found int"),
        ({"a": {"ids": x}}, "must hold a dict of|must hold"),
        ({}, "rows of at least one modality"),
        ([], "found an empty list"),
        (x, "must be a dict modality -> array, a data frame or a list of dicts, found ndarray"),
        ("text", "found str"),
        (None, "found NoneType"),
    ]

    def check(X: Any, words: str) -> None:
        with pytest.raises(InputError, match=words) as error:
            read_samples(X, arrays)
        assert "\n" not in str(error.value)

    check_each(refused, check)


def test_sequences_of_any_length_are_filled_up_or_cropped() -> None:
    rng = np.random.default_rng(0)
    waves = [rng.normal(size=(int(n), 2)) for n in rng.integers(3, 9, 40)]
    how = ways(ArrayData({"wave": waves}, np.arange(40) % 2))
    longest = how["wave"].spec[""][1][1]
    rows = [
        np.ones((2, 2)),
        np.ones((longest + 3, 2)),
        np.ones((4, 3)),
        [[1, 2]],
        "[[1, 2], [3, 4]]",
    ]
    found = read_samples({"wave": rows}, how)
    value = found.inputs["wave"]
    assert isinstance(value, torch.Tensor)
    assert value[0].tolist() == [[1, 1] + [0] * (longest - 2)] * 2 and value[1].all()
    assert value[3, :, 0].tolist() == [1, 2] and value[4, :, :2].tolist() == [[1, 3], [2, 4]]
    assert found.cropped == {"wave": 1}
    assert "of shape [2] of" in found.problems[2] and list(found.problems) == [2]


def test_a_plain_table_is_the_modality_x() -> None:
    how = ways(ArrayData({"x": np.random.default_rng(0).normal(size=(40, 3))}, np.arange(40) % 2))
    rows = np.ones((2, 3))
    assert tell(rows, how) == tell({"x": rows}, how) == tell(Modalities({"x": rows}), how)
    with pytest.raises(InputError, match="unknown column"):  # its order is not known
        read_samples(pd.DataFrame(rows, columns=list("abc")), how)


def test_parts_are_joined_in_their_order(arrays: How) -> None:
    rows: list[Any] = [[1, 2, 3, 4], [1, None, 3, 4], "x", None, [4, 3, 2, 1]]
    whole = read_samples({"a": rows}, arrays)
    joined = Samples.join([read_samples({"a": [row]}, arrays) for row in rows])
    assert len(joined) == 5 and joined.problems == whole.problems and joined.filled == {"a": 1}
    assert all(_same(joined.inputs[m], whole.inputs[m]) for m in arrays)
    assert all(torch.equal(joined.present[m], whole.present[m]) for m in arrays)
    with pytest.raises(InputError, match="found none"):
        Samples.join([])


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=6)
    | st.binary(max_size=3)
    | st.sampled_from(
        [pd.NA, pd.NaT, np.float32(2), np.array(3), "1 2 3 4", "[[1],[2, 3]]", Path("a")]
    )
    | st.lists(st.floats(-9, 9), min_size=4, max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=5))
def test_no_cell_breaks_the_reading(arrays: How, media: tuple[Path, How], cells: list[Any]) -> None:
    for how, names in ((arrays, "abc"), (media[1], ("text", "speed", "image"))):
        for name in names:
            tell({name: cells}, how)
