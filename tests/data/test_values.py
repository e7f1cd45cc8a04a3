"""Values of all kinds: not measured, masked, sparse, offset, vast, ragged; what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from counterpoise import build_model, evaluate, fit
from counterpoise.data import ArrayData
from counterpoise.data.channels import find_moments
from counterpoise.errors import InputError

# Tables this small repeat themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore:the same samples are in two splits"),
    pytest.mark.filterwarnings("ignore:.* are longer than any of training"),
]

N = 60
TARGET = np.arange(N) % 2
SPLIT = {"train": range(40), "validation": range(40, 50), "test": range(50, 60)}


def made(values: Any, **changes: Any) -> ArrayData:
    return ArrayData({"x": values}, TARGET, **{"split": SPLIT, **changes})


def rows(data: ArrayData) -> np.ndarray:
    """The samples of all splits, in the order of the rows."""
    parts = (data.splits[part].inputs["x"] for part in SPLIT)
    return torch.cat(list(parts)).numpy()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# Not measured


@pytest.mark.parametrize("shape", [(5,), (3, 20), (9, 10), (2, 9, 9), (4, 2, 5, 6)])
def test_a_value_not_measured_becomes_the_training_mean_of_its_channel(shape) -> None:
    whole = normal(N, *shape) + 3
    holed = np.where(normal(N, *shape, seed=1) > 1, np.nan, whole)
    with pytest.warns(UserWarning, match=r"inputs\['x'\]: \d+\.\d % of the values of"):
        data = made(holed)
    axes = {1: (0,), 2: (0, 2), 3: (0, 2, 3), 4: (0, 1, 3, 4)}[len(shape)]
    # [9, 10] would be a picture, if pictures had holes
    mean = np.nanmean(holed[:40], axis=axes, keepdims=True)
    np.testing.assert_allclose(rows(data), np.where(np.isnan(holed), mean, holed), rtol=1e-6)
    assert all(bool(split.present["x"].all()) for split in data.splits.values())


def test_the_line_counts_and_names_what_training_never_measured() -> None:
    values = normal(N, 3)
    values[:, 1] = np.nan
    values[:45, 2] = np.nan
    values[50] = np.nan
    text = (
        r"inputs\['x'\]: 58\.8 % of the values of 59 samples were not measured; filled with the "
        r"training mean of their channel \(0 in channels 1, 2: never measured in training\); "
        r"indicators=True adds what was measured$"
    )
    with pytest.warns(UserWarning, match=text):
        data = ArrayData({"x": values, "y": np.ones(N)}, TARGET, split=SPLIT)
    assert not data.test.present["x"][0] and data.test.present["x"].sum() == 9
    assert not data.train.inputs["x"][:, 1:].any() and not data.test.inputs["x"][0].any()


def test_whole_data_warn_of_nothing_and_keep_their_bits() -> None:
    values = normal(N, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (rows(made(values)) == values.astype(np.float32)).all()
        assert (rows(made(values, indicators=True))[:, 3:] == 1).all()


@pytest.mark.parametrize(
    ("shape", "found", "kinds"),
    [
        ((5,), (10,), {}),
        ((3, 20), (6, 20), {}),
        ((2, 9, 9), (4, 9, 9), {}),
        ((9, 10), (18, 10), {}),
        ((9, 10), (2, 9, 10), {"x": "image"}),
        ((4, 2, 5, 6), (4, 4, 5, 6), {}),
    ],
)
@pytest.mark.filterwarnings("ignore:.*were not measured")
def test_indicators_stand_beside_the_channels(shape, found, kinds) -> None:
    values = np.where(normal(N, *shape) > 1, np.nan, 7.0)
    data = made(values, indicators=["x"], kinds=kinds)
    assert data.shapes["x"] == found
    axis = 2 if len(shape) == 4 else 1
    if kinds:
        filled, known = rows(data)[:, 0], rows(data)[:, 1]
    else:
        filled, known = np.split(rows(data), 2, axis=axis)
    assert (filled == 7).all() and (known == ~np.isnan(values)).all()


def test_indicators_are_checked() -> None:
    with pytest.raises(InputError, match="unknown modality in indicators 'y'"):
        made(normal(N, 2), indicators=["y"])
    with pytest.raises(InputError, match="indicators need one array of floats, and 'x' is none"):
        made(np.ones((N, 2), dtype=int), indicators="x")
    assert made(np.ones((N, 2), dtype=int), indicators=True).shapes["x"] == (2,)


def test_padding_has_no_indicator() -> None:
    values = normal(N, 2, 20)
    values[:, :, 15:] = 0
    found = rows(made(values, indicators=True))
    assert (found[:, 2:, :15] == 1).all() and not found[:, :, 15:].any()


@pytest.mark.data
def test_clinical_series_keep_every_sample_and_are_learnt(real_data: Path) -> None:
    with np.load(real_data / "arrays" / "icu-2012.npz") as file:
        arrays, target = {m: file[m] for m in ("demographics", "vitals")}, file["target"]
    with pytest.warns(UserWarning, match="were not measured"):
        data = ArrayData(arrays, target, indicators=True)
    assert sum(len(split) for split in data.splits.values()) == 4000
    assert data.train.present["demographics"].all()
    assert data.train.present["vitals"].float().mean() > 0.98
    model = build_model(data, width=16)
    fit(model, data, epochs=3, batch_size=64)
    found = evaluate(model, data, metrics=["auroc"], split="validation").metrics
    assert found["demographics", "vitals"]["auroc"] > 0.6


# Of any kind


def test_masked_arrays() -> None:
    values = normal(N, 4)
    mask = np.zeros((N, 4), bool)
    mask[3, 1], mask[45] = True, True
    values[3, 1], values[45, 2] = 1e300, np.inf  # what lies under a mask is nothing
    with pytest.warns(UserWarning, match=r"25\.0 % of the values of 1 sample were not"):
        data = ArrayData(
            {"x": np.ma.array(values, mask=mask), "y": np.ones(N)}, TARGET, split=SPLIT
        )
    assert data.train.inputs["x"][3, 1] == pytest.approx(np.delete(values[:40, 1], 3).mean())
    assert data.validation.present["x"].tolist() == [k != 5 for k in range(10)]
    whole = np.ma.array(np.arange(N * 2).reshape(N, 2), mask=False)
    assert made(whole).train.inputs["x"].dtype == torch.int64


def test_objects_with_none() -> None:
    values = normal(N, 3).astype(object)
    values[2, 0], values[4] = None, None
    with pytest.warns(UserWarning, match=r"33\.3 % of the values of 1 sample were not"):
        data = ArrayData({"x": values, "y": np.ones(N)}, TARGET, split=SPLIT)
    assert data.train.present["x"].sum() == 39 and data.train.inputs["x"].isfinite().all()
    with pytest.warns(UserWarning, match=r"50\.0 % of the values of 1 sample were not"):
        assert rows(made([[1, None], *[[3, 4]] * (N - 1)]))[0].tolist() == [1, 4]
    numbers = np.array([1.5, None, *range(N - 2)], dtype=object)
    data = ArrayData({"x": numbers, "y": np.ones(N)}, TARGET, split=SPLIT)
    assert data.shapes["x"] == (1,) and not data.train.present["x"][1]


class Table:
    """What pandas, polars and others have."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.values


@pytest.mark.filterwarnings("ignore:.*(in beta|prototype stage)")
def test_tables_sparse_and_nested() -> None:
    values = normal(N, 3) * (normal(N, 3, seed=1) > 0)
    wanted = values.astype(np.float32)
    for given in (
        Table(values),
        Table(values.astype(object)),
        sparse.csr_matrix(values),
        sparse.coo_array(values),
        torch.from_numpy(values).to_sparse(),
        torch.from_numpy(values).to_sparse_csr(),
        torch.nested.nested_tensor(list(torch.from_numpy(values))),
        torch.from_numpy(values).requires_grad_(),
        list(sparse.csr_matrix(values).toarray()),
    ):
        assert (rows(made(given)) == wanted).all()


@pytest.mark.filterwarnings("error")
def test_read_only_memory_is_read_and_not_changed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", normal(N, 3).astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert (rows(made(mapped)) == mapped).all()
    fixed = normal(N, 3)
    fixed.flags.writeable = False
    assert (rows(made(list(fixed))) == fixed.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((N, 2), 2**64 - 1, dtype=np.uint64), "fit int64, found 18446744073709551615"),
        ([[2**63, 2**63]] * N, "fit int64, found 9223372036854775808; pass floats"),
        ([[2**70, 1]] * N, f"fit int64, found {2**70}; pass floats"),
        (
            np.full((N, 2), np.datetime64("2020-01-01")),
            "pass seconds since some day",
        ),
        (np.full((N, 2), np.timedelta64(1, "s")), r"found timedelta64\[s\]; pass seconds as"),
        (np.full((N, 2), 1j), "found complex128; pass real and imaginary part"),
        (torch.full((N, 2), 1j), "found complex64; pass real and imaginary part"),
        (np.full((N, 2), "a"), "found <U1; pass classes as columns of 0 and 1"),
        (np.full((N, 2), "a", dtype=object), "found 'a'; pass classes as columns"),
        (np.full((N, 2), {}, dtype=object), "hold numbers, found dict; None marks"),
    ],
)
def test_what_is_no_number_is_refused_in_a_line_that_helps(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=rf"^inputs\['x'\] must .*{message}"):
        made(values)


def test_small_unsigned_numbers_are_numbers() -> None:
    assert rows(made(np.full((N, 2), 7, dtype=np.uint64))).tolist() == [[7, 7]] * N


# Offsets and scales


@pytest.mark.parametrize(
    ("scale", "offset", "warned"),
    [(1, 0, False), (1e25, 0, False), (1e-25, 0, False), (1, 1.7e9, True), (1e300, 0, True),
     (1e-320, 0, True), (1e-40, 5e-40, True), (1e308, 0, True)],
)  # fmt: skip
def test_any_offset_and_scale_is_learnt(scale: float, offset: float, warned: bool) -> None:
    signal = np.clip(normal(N, 3), -1, 1) / 4 + (TARGET - 0.5)[:, None]
    values = signal * scale + offset
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        data = made(values)
    text = "inputs['x']: float32 cannot hold how its values vary; standardised in float64 by the "
    assert [str(w.message).startswith(text) for w in said] == [True] * warned
    model = build_model(data, width=16)
    first = model.encoders["x"][0]
    scaled = first(data.train.inputs["x"])
    assert torch.allclose(scaled.mean(0), torch.zeros(3), atol=0.01)
    assert torch.allclose(scaled.std(0), torch.ones(3), atol=0.05)
    fit(model, data, epochs=8, batch_size=8, lr=0.1)
    assert evaluate(model, data, split="validation").metrics["x",]["accuracy"] > 0.8


def test_only_what_float32_cannot_hold_is_standardised() -> None:
    values = normal(N, 3) + np.array([0, 1e3, -1e3])
    assert (rows(made(values)) == values.astype(np.float32)).all()
    with pytest.warns(UserWarning, match="standardised in float64"):
        data = made(values + np.array([0, 1e8, 0]))
    wanted = (values - values[:40].mean(0)) / values[:40].std(0)
    np.testing.assert_allclose(rows(data), wanted, atol=1e-6)
    constant = np.column_stack([values[:, 0], np.full(N, 1.7e9)])
    assert (rows(made(constant)) == constant.astype(np.float32)).all()


def test_moments_are_exact() -> None:
    values = normal(N, 3, 50) * [[1], [1e-200], [1e200]] + [[1e6], [0], [0]]
    holed = np.where(normal(N, 3, 50, seed=1) > 0.5, np.nan, values)
    found = find_moments(holed)
    np.testing.assert_allclose(found.mean[:, 0], np.nanmean(holed, (0, 2)), rtol=1e-9)
    np.testing.assert_allclose(found.std[[0], 0], np.nanstd(holed[:, [0]], (0, 2)), rtol=1e-9)
    units = np.array([1e-200, 1e200])
    wide = np.nanstd(holed[:, 1:] / units[:, None], (0, 2))
    np.testing.assert_allclose(found.std[1:, 0] / units, wide, rtol=1e-9)
    assert find_moments(np.full((7, 2), 0.1)).std.tolist() == [0, 0]
    padded = values.copy()
    padded[:, :, 30:] = 0
    inner, outer = find_moments(values[:, :, :30]), find_moments(padded, padded=True)
    np.testing.assert_allclose(outer.std, inner.std)
    assert outer.count.ravel().tolist() == [N * 30] * 3


def test_channels_that_do_not_vary_are_counted_once() -> None:
    values = normal(N, 64)
    values[:, [3, 5, 60]] = [0, 0.1, 7e5]
    data = made(values)
    with pytest.warns(UserWarning) as said:
        build_model(data, width=8)
        build_model(data.select("x"), width=8)
    assert [str(w.message) for w in said] == [
        "x: 3 of 64 channels do not vary in the training rows"
    ]
    with pytest.warns(UserWarning, match="^x does not vary in the training rows"):
        build_model(made(np.ones(N)), width=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_model(made(normal(N, 4), indicators=True), width=8)  # all was measured: no fault
    coarse = (normal(N, 1) / 10 + 2**20).astype(np.float32)
    with pytest.warns(UserWarning, match="x: float32 hardly resolves how 1 of 1 channels vary"):
        build_model(made(coarse), width=8)


# Lengths


LENGTHS = np.random.default_rng(0).integers(3, 12, N)
LENGTHS[3], LENGTHS[55] = 12, 15


@pytest.mark.parametrize("shape", ["T", "TC", "CT"])
def test_rows_of_several_lengths_are_sequences(shape: str) -> None:
    whole = normal(N, 2, 20) + 5
    if shape == "T":
        whole = whole[:, :1]
    cut = [row[:, :t] for row, t in zip(whole, LENGTHS, strict=True)]
    given = [r[0] if shape == "T" else r.T if shape == "TC" else r for r in cut]
    for value in (given, np.array([*given, None], dtype=object)[:-1]):
        data = made(value)
        assert data.kinds == {"x": "sequence"} and data.shapes["x"] == (len(whole[0]), 12)
        for row, sample, t in zip(whole, rows(data), LENGTHS, strict=True):
            assert (sample[:, :t] == row.astype(np.float32)[:, : min(t, 12)]).all()
            assert not sample[:, t:].any()
    first = build_model(data, width=8).encoders["x"][0]
    scaled = first(data.train.inputs["x"])
    real = torch.arange(12) < torch.from_numpy(LENGTHS[:40])[:, None]
    assert not scaled.transpose(1, 2)[~real].any()
    assert scaled.transpose(1, 2)[real].mean().abs() < 1e-5  # padding does not count


@pytest.mark.filterwarnings("ignore:.*(were not measured|cannot hold)")
def test_padding_stays_zero_where_values_are_filled_and_scaled() -> None:
    given = [normal(t, 2, seed=t) + 1.7e9 for t in LENGTHS]
    given[0][1, 0] = np.nan
    found = rows(made(given, indicators=True))
    assert found.shape == (N, 4, 12) and found[0, :2, 1].tolist()[0] == 0
    assert found[0, 2:, :3].tolist() == [[1, 0, 1], [1, 1, 1]]
    assert not found[0, :, LENGTHS[0] :].any()
    assert abs(found[:40, :2].sum() / (2 * LENGTHS[:40].sum())) < 1e-6


def test_what_is_ambiguous_is_refused() -> None:
    rows = [normal(3, 10)] * (N - 1)
    for last, shape in ((normal(4, 12), "[4, 12]"), (normal(3), "[3]")):
        with pytest.raises(InputError) as caught:
            made([*rows, last])
        assert str(caught.value) == (
            "inputs['x'] must hold rows of one shape, found [3, 10] in row 0 "
            f"but {shape} in row 59; pad or crop them"
        )
    with pytest.raises(InputError, match="rows of one shape"):  # a picture is no sequence
        made([normal(3, 8, 8 + k % 2) for k in range(N)])


def test_tokens_of_several_lengths_stay_numbers() -> None:
    ids = [list(range(1, t + 1)) for t in LENGTHS]
    data = ArrayData({"text": {"ids": ids}}, TARGET, split=SPLIT)
    found = data.train.inputs["text"]["ids"]
    assert found.dtype == torch.int64 and found[0].tolist() == ids[0] + [0] * (12 - len(ids[0]))
