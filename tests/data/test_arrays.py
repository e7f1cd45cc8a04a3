import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from counterpoise.core.tasks import Classification, MultiLabel, Regression
from counterpoise.data import ArrayData, Split
from counterpoise.data.splits import SPLITS, draw
from counterpoise.errors import InputError

N = 60


def some(seed=0, **changes):
    """Arguments of a sound data set, with changes."""
    generator = np.random.default_rng(seed)
    arguments = {
        "inputs": {"a": generator.normal(size=(N, 3)), "b": generator.normal(size=(N, 2, 4))},
        "target": np.arange(N) % 3,
    }
    return {**arguments, **changes}


def rows_of(data: ArrayData, values: np.ndarray) -> dict[str, list[int]]:
    """Split -> rows, told from the distinct first values of modality "a"."""
    at = {np.float32(v).item(): i for i, v in enumerate(values[:, 0])}
    return {p: [at[v.item()] for v in s.inputs["a"][:, 0]] for p, s in data.splits.items()}


# What a data set holds


def test_parts_hold_every_sample_once_with_its_target():
    arguments = some()
    data = ArrayData(**arguments)
    rows = rows_of(data, arguments["inputs"]["a"])
    assert sorted(row for part in rows.values() for row in part) == list(range(N))
    for part, split in data.splits.items():
        assert split.target.tolist() == (np.array(rows[part]) % 3).tolist()
        assert torch.equal(
            split.inputs["b"], torch.tensor(arguments["inputs"]["b"][rows[part]]).float()
        )
    assert (len(data.train), len(data.validation), len(data.test)) == (42, 9, 9)
    assert tuple(data.splits) == SPLITS
    assert data.modalities == ("a", "b")
    assert data.shapes == {"a": (3,), "b": (2, 4)}


def test_types_of_input():
    data = ArrayData(
        {
            "double": np.ones((N, 2)),
            "half": torch.ones(N, 2, dtype=torch.bfloat16),
            "tokens": np.ones((N, 5), dtype=np.int32),
            "pixels": np.full((N, 2, 2), 255, dtype=np.uint8),
            "flags": np.ones((N, 2), dtype=bool),
            "scalar": np.arange(N, dtype=float),
            "big-endian": np.full((N, 1), 3, dtype=">f8"),
            "rows": [[1, 2.5]] * N,
        },
        np.arange(N) % 2,
    )
    inputs = data.train.inputs
    types = {name: x.dtype for name, x in inputs.items()}
    assert types.pop("tokens") == torch.int64
    assert set(types.values()) == {torch.float32}
    assert inputs["pixels"].max() == 255
    assert data.shapes["scalar"] == (1,)
    assert inputs["big-endian"].unique().tolist() == [3]
    assert inputs["rows"][0].tolist() == [1, 2.5]
    assert all(x.is_contiguous() for x in inputs.values())


def test_target_tells_the_task():
    whole = ArrayData({"a": np.ones((N, 1))}, (np.arange(N) % 4).tolist())
    assert isinstance(whole.task, Classification) and whole.task.outputs == 4
    real = ArrayData({"a": np.ones((N, 1))}, np.linspace(0, 1, N))
    assert isinstance(real.task, Regression) and real.task.outputs == 1
    wide = ArrayData({"a": np.ones((N, 1))}, np.ones((N, 3)))
    assert wide.task.outputs == 3
    several = ArrayData({"a": np.ones((N, 1))}, np.ones((N, 3), bool))
    assert isinstance(several.task, MultiLabel) and several.task.outputs == 3
    assert several.train.target.dtype == torch.float32
    given = ArrayData({"a": np.ones((N, 1))}, np.arange(N) % 2, task=Classification(7))
    assert given.task.outputs == 7
    counts = ArrayData({"a": np.ones((N, 1))}, np.arange(N), task=Regression())
    assert counts.train.target.dtype == torch.float32


def test_missing_from_nan_none_and_present():
    arguments = some()
    a, b = arguments["inputs"]["a"], arguments["inputs"]["b"]
    a[1] = np.nan
    b[2] = np.nan
    rows = [None if i == 3 else b[i] for i in range(N)]
    allowed = np.ones(N, dtype=bool)
    allowed[4] = False
    data = ArrayData(
        {"a": a, "b": rows},
        arguments["target"],
        present={"a": allowed},
        split={"train": np.arange(20), "validation": np.arange(20, 40), "test": np.arange(40, 60)},
    )
    assert (~data.train.present["a"]).nonzero().squeeze(1).tolist() == [1, 4]
    assert (~data.train.present["b"]).nonzero().squeeze(1).tolist() == [2, 3]
    assert data.train.inputs["a"][[1, 4]].abs().sum() == 0
    assert data.train.inputs["b"][[2, 3]].abs().sum() == 0
    assert all(bool(s.inputs[m].isfinite().all()) for s in data.splits.values() for m in s.inputs)
    assert data.describe()["modalities"]["a"]["present"]["train"] == pytest.approx(0.9)


def test_infinity_is_ignored_where_missing():
    arguments = some()
    arguments["inputs"]["a"][5, 0] = np.inf
    allowed = np.arange(N) != 5
    data = ArrayData(**arguments, present={"a": allowed})
    assert sum(int(s.present["a"].sum()) for s in data.splits.values()) == N - 1


def test_inputs_are_not_changed():
    arguments = some()
    a = arguments["inputs"]["a"].astype(np.float32)  # the type that needs no conversion
    a[1] = np.nan
    before = a.copy()
    tensor = torch.ones(N, 2)
    other = np.ones((N, 1))
    data = ArrayData(
        {"a": a, "t": tensor, "o": other},
        arguments["target"],
        present={"t": np.arange(N) > 3, "a": np.arange(N) != 5},
        split=["train"] * 40 + ["validation"] * 10 + ["test"] * 10,
    )
    data.train.inputs["t"].zero_()
    data.train.inputs["a"].zero_()
    np.testing.assert_array_equal(a, before)
    assert tensor.eq(1).all()


def test_read_only_arrays():
    a = np.ones((N, 2), dtype=np.float32)
    a.flags.writeable = False
    assert ArrayData({"a": a}, np.arange(N) % 2).train.inputs["a"].sum() > 0


def test_a_modality_of_several_tensors():
    ids = np.ones((N, 4), dtype=np.int64)
    weights = np.ones((N, 4))
    weights[0] = np.nan
    data = ArrayData(
        {"text": {"ids": ids, "weights": weights}, "a": np.arange(N) / N},
        np.arange(N) % 2,
        split=["train"] * 40 + ["validation"] * 10 + ["test"] * 10,
    )
    batch = data.train[torch.tensor([0, 1])]
    assert batch.inputs["text"]["ids"].tolist() == [[0] * 4, [1] * 4]
    assert batch.present["text"].tolist() == [False, True]
    assert data.shapes["text"] == (4,)
    assert len(data.fingerprint()) == 16


# Batches


def test_batch():
    target = torch.arange(5)
    split = Split(
        {"a": torch.arange(10.0).reshape(5, 2)},
        {"a": torch.tensor([True, False, True, False, True])},
        target,
    )
    index = torch.tensor([3, 1, 4])
    batch = split[index]
    assert len(split) == 5 and len(batch) == 3
    assert batch.inputs["a"].tolist() == [[6, 7], [2, 3], [8, 9]]
    assert batch.present["a"].tolist() == [False, False, True]
    assert batch.target.tolist() == [3, 1, 4]
    assert batch.index is index


# Splits


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    seed=st.integers(0, 2**32 - 1),
    fractions=st.sampled_from([(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.8, 0.1, 0.1)]),
)
@settings(max_examples=100, deadline=None)
def test_draw_is_stratified(sizes, seed, fractions):
    classes = np.repeat(np.arange(len(sizes)), sizes)
    rows = draw(classes, None, fractions, seed)
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(classes)))
    for c, size in enumerate(sizes):
        assert (classes[rows["train"]] == c).any()
        for part, fraction in zip(SPLITS, fractions, strict=True):
            # Rounding, and what rounding owed before.
            assert abs((classes[rows[part]] == c).sum() - fraction * size) <= 3
    again = draw(classes, None, fractions, seed)
    assert all(np.array_equal(rows[p], again[p]) for p in SPLITS)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=3, max_size=30),
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 5),
)
@settings(max_examples=100, deadline=None)
def test_draw_keeps_groups_whole(sizes, seed, classes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = np.random.default_rng(seed).integers(0, classes, len(groups))
    rows = draw(labels, groups, (0.7, 0.15, 0.15), seed)
    assert np.array_equal(np.sort(np.concatenate(list(rows.values()))), np.arange(len(groups)))
    members = [set(groups[rows[p]]) for p in SPLITS]
    assert all(members)
    assert sum(len(m) for m in members) == len(sizes)


def test_groups_are_shared_out_in_proportion():
    groups = np.repeat(np.arange(20), 5)
    rows = draw(np.tile(np.arange(5), 20), groups, (0.7, 0.15, 0.15), 0)
    assert [len(rows[p]) for p in SPLITS] == [70, 15, 15]


def test_seed_decides_the_split():
    values = some()["inputs"]["a"]
    one, same, other = (rows_of(ArrayData(**some(), seed=s), values) for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_seed_decides_which_groups():
    groups = np.repeat(np.arange(20), 3)
    values = some()["inputs"]["a"]
    one, other = (rows_of(ArrayData(**some(), groups=groups, seed=s), values) for s in (1, 2))
    assert one != other


def test_split_by_names_and_by_rows():
    arguments = some()
    names = np.array(["test"] * 10 + ["train"] * 30 + ["validation"] * 20)
    by_name = rows_of(ArrayData(**arguments, split=names), arguments["inputs"]["a"])
    assert by_name["train"] == list(range(10, 40))
    index = {"train": [3, 1], "validation": torch.tensor([2]), "test": np.array([0])}
    by_row = rows_of(ArrayData(**arguments, split=index), arguments["inputs"]["a"])
    assert by_row == {"train": [3, 1], "validation": [2], "test": [0]}


def test_groups_stay_together_and_are_kept():
    groups = np.array([f"person {i % 7}" for i in range(N)])
    data = ArrayData(**some(), groups=groups)
    members = [set(s.groups.tolist()) for s in data.splits.values()]
    assert sum(len(m) for m in members) == 7 == len(set().union(*members))


# Selecting, describing


def test_select():
    arguments = some()
    arguments["inputs"]["b"][:6] = np.nan
    data = ArrayData(
        **arguments,
        split=["train"] * 40 + ["validation"] * 10 + ["test"] * 10,
        groups=np.arange(N),
        name="mine",
    )
    both = data.select("b", "a")
    assert both.modalities == ("a", "b") and len(both.train) == 40
    alone = data.select("b")
    assert alone.name == "mine" and alone.task is data.task
    assert alone.modalities == ("b",) and alone.shapes == {"b": (2, 4)}
    assert len(alone.train) == 34 and bool(alone.train.present["b"].all())
    assert torch.equal(alone.train.inputs["b"], data.train.inputs["b"][6:])
    assert torch.equal(alone.train.target, data.train.target[6:])
    assert torch.equal(alone.train.groups, data.train.groups[6:])
    assert len(data.train) == 40


def test_describe_is_json():
    description = ArrayData(**some(), name="mine").describe()
    assert json.loads(json.dumps(description)) == {
        "name": "mine",
        "task": {"task": "classification", "outputs": 3},
        "modalities": {
            "a": {"shape": [3], "present": {"train": 1.0, "validation": 1.0, "test": 1.0}},
            "b": {"shape": [2, 4], "present": {"train": 1.0, "validation": 1.0, "test": 1.0}},
        },
        "splits": {"train": 42, "validation": 9, "test": 9},
    }


def test_fingerprint_changes_with_everything():
    changed = some()
    changed["inputs"]["b"][7, 0, 0] += 1e-3
    renamed = some()
    renamed["inputs"] = {"c" if m == "a" else m: x for m, x in renamed["inputs"].items()}
    labels = some()["target"].copy()
    labels[0] = 2
    variants = [
        some(),
        changed,
        renamed,
        some(target=labels),
        some(seed=0, present={"a": np.arange(N) != 8}),
        {**some(), "name": "other"},
        {**some(), "task": Classification(4)},
    ]
    marks = [ArrayData(**v).fingerprint() for v in variants] + [
        ArrayData(**some(), seed=5).fingerprint(),
        ArrayData(**some()).select("a").fingerprint(),
    ]
    assert len(set(marks)) == len(marks)
    assert ArrayData(**some()).fingerprint() == marks[0]


def test_select_keeps_kinds_and_scaled():
    data = ArrayData(**some(), kinds={"a": "vector", "b": "image"}, scaled=True)
    assert data.select("b").kinds == {"b": "image"}
    assert data.select("b").scaled


def test_fingerprint_tells_which_rows_are_missing_and_what_is_learnt():
    """Where sizes, shares and values are the same."""

    def mark(**changes):
        arguments = {
            "inputs": {"a": np.zeros((N, 2)), "b": np.arange(N) / N},
            "target": np.arange(N) % 2,
            "split": ["train"] * 40 + ["validation"] * 10 + ["test"] * 10,
            "present": {"a": np.arange(N) != 3},
        }
        return ArrayData(**{**arguments, **changes}).fingerprint()

    other_row = mark(present={"a": np.arange(N) != 4})
    other_target = mark(target=(np.arange(N) + 1) % 2)
    assert len({mark(), other_row, other_target}) == 3


# Errors


def with_a(value):
    return some(inputs={"a": value})


def ones(*shape):
    return np.ones(shape)


def infinite():
    array = ones(N, 2)
    array[[4, 9], 1] = -np.inf
    return array


ROWS = [ones(2)] * N
LAST = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
THIRDS = {"train": range(20), "validation": range(20, 40), "test": range(40, 60)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (some(inputs={}), "inputs must hold at least one modality, found none"),
        *(
            (
                some(inputs={name: ones(N, 1)}),
                "inputs must name modalities by a text without any of + , : (names are joined by "
                f"these) and without control characters, found {name!r}; choose another name",
            )
            for name in ("", " ", "a+b", "a,b", "a:b", "a\nb", "\ud800", 3)
        ),
        (
            with_a(ones(N - 1, 2)),
            "inputs['a'] must hold one row per target, found 59 rows and 60 targets; give None "
            "or NaN for a missing row",
        ),
        (
            with_a([[1.0]] * (N + 1)),
            "inputs['a'] must hold one row per target, found 61 rows and 60 targets; give None "
            "or NaN for a missing row",
        ),
        (
            with_a(infinite()),
            "inputs['a'] must be finite in float32, found an infinity in row 4 (2 such rows); "
            "mark a missing row by None or NaN",
        ),
        (
            some(inputs={"a": np.where(np.arange(N) < 59, 1, 1e300)}, split=LAST),
            "inputs['a'] must be finite in float32, found 1 row(s) far beyond the training rows "
            "and float32's range; mark a missing row by None or NaN",
        ),
        (
            with_a([*ROWS[:-1], ones(3)]),
            "inputs['a'] must hold rows of one shape, found [2] in row 0 but [3] in row 59; "
            "pad or crop them",
        ),
        (
            with_a([*ROWS[:-1], [[1], [1, 2]]]),
            "inputs['a'] must hold rows of numbers, found list that is no such array in row 59",
        ),
        (
            with_a([*ROWS[:7], "seven", *ROWS[8:]]),
            "inputs['a'] must hold rows of numbers, found str that is no such array in row 7",
        ),
        (with_a([None] * N), "inputs['a'] must hold at least one row that is not None, found none"),
        (
            with_a(np.array(["x"] * N)),
            "inputs['a'] must hold numbers, found <U1; pass classes as columns of 0 and 1, "
            "numbers as floats, and texts as tokens",
        ),
        (
            with_a(ones(N, 1) * 1j),
            "inputs['a'] must hold numbers, found complex128; pass real and imaginary part, or "
            "magnitude and angle, as channels of their own",
        ),
        (
            with_a("text"),
            "inputs['a'] must be an array, a tensor or a list of rows, found str",
        ),
        (with_a({}), "inputs['a'] must hold at least one array, found an empty dict"),
        (
            some(inputs={"a": [None, None, *[[1.0]] * (N - 2)]}),
            "inputs must give every sample at least one modality, found 2 of 60 without any, "
            "the first in row 0; drop these rows",
        ),
        (
            some(present={"a": [1] * N}),
            "present['a'] must hold one bool per sample ([60]), found int64 [60]",
        ),
        (
            some(present={"a": [True]}),
            "present['a'] must hold one bool per sample ([60]), found bool [1]",
        ),
        (
            some(present={"bb": [True] * N}),
            "unknown modality in present 'bb'; did you mean 'b'? known: a, b",
        ),
        (
            some(target=["x"] * N),
            "target must hold at least 2 classes to learn, found ['x']",
        ),
        (
            some(target=["x"] * N, task=Classification(2)),
            "target must hold numbers, found words, such as 'x'; np.unique(target, "
            "return_inverse=True)[1] numbers the classes of any labels",
        ),
        (some(target=[]), "target must hold at least 1 sample, found shape [0]"),
        (some(target=3), "target must hold at least 1 sample, found shape []"),
        (
            some(target=np.zeros(N, dtype=int)),
            "target must hold at least 2 classes to learn, found ['0']",
        ),
        (
            some(target=np.arange(N) - 1),
            "target holds 60 whole numbers from -1 to 58, which may be amounts or classes: pass "
            '--task regression (in Python task="regression") or --task classification',
        ),
        (
            some(task=Classification(2)),
            "target must lie in 0..1 (2 classes), found 2",
        ),
        (
            some(task=3),
            "task must be classification, regression, multilabel or a Task such as "
            "Classification(10), found int",
        ),
        (
            some(task="regressions"),
            "unknown value for task 'regressions'; did you mean 'regression'? known: "
            "classification, regression, multilabel",
        ),
        (
            some(target=np.full(N, np.nan)),
            "target must hold numbers or words, found nothing but empty rows",
        ),
        (
            some(split=["train"] * 59 + ["validate"]),
            "unknown split 'validate'; did you mean 'validation'? known: train, validation, test",
        ),
        (
            some(split={**THIRDS, "dev": [1]}),
            "unknown split 'dev'; known: train, validation, test",
        ),
        (
            some(split=["train"] * 3),
            "split must hold one name per sample ([60]), found shape [3]",
        ),
        (
            some(split=["train"] * 59 + ["valid"]),
            "split must leave no part empty, found no sample in 'test' of 60; give more "
            "samples (or groups), other fractions or a split of your own",
        ),
        (
            some(split={**THIRDS, "test": [19, 50]}),
            "split must hold no row twice, found row 19 in 'train' and 'test'",
        ),
        (
            some(split={**THIRDS, "test": [50, 50]}),
            "split['test'] must name each row once, found a row twice",
        ),
        (some(split={**THIRDS, "test": [60]}), "split['test'] must lie in 0..59, found 60"),
        (some(split={**THIRDS, "test": [-1]}), "split['test'] must lie in 0..59, found -1"),
        (
            some(split={**THIRDS, "test": [0.5]}),
            "split['test'] must hold row numbers (int64 [n]), found float64 [1]",
        ),
        (
            some(split=THIRDS, groups=["ann"] * 21 + ["bob"] * 19 + ["eve"] * 20),
            "groups must each lie in one split, found ann in 'train' and 'validation'",
        ),
        (
            some(groups=["ann"] * 30 + ["bob"] * 30),
            "groups must hold at least 3 groups, one for each split, found 2",
        ),
        (
            some(groups=[1]),
            "groups must hold one label per sample ([60]), found shape [1]",
        ),
        (some(kinds={"c": "image"}), "unknown modality in kinds 'c'; known: a, b"),
        (
            some(kinds={"a": "images"}),
            "unknown value for kinds 'images'; did you mean 'image'? known: vector, sequence, "
            "image",
        ),
        (
            some(fractions=(0.7, 0.2, 0.2)),
            "fractions must be three positive numbers that add up to 1 (train, validation, test), "
            "found (0.7, 0.2, 0.2)",
        ),
        (
            some(fractions=(0.8, 0.2, 0.0)),
            "fractions must be three positive numbers that add up to 1 (train, validation, test), "
            "found (0.8, 0.2, 0.0)",
        ),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(InputError) as raised:
        ArrayData(**arguments)
    assert str(raised.value) == message


def test_select_errors():
    data = ArrayData(**some())
    with pytest.raises(InputError, match=r"^unknown modality 'c'; known: a, b$"):
        data.select("c")
    with pytest.raises(InputError, match=r"^select needs a modality; known: a, b$"):
        data.select()
    arguments = some(present={"a": np.arange(N) < 40})
    split = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    empty = ArrayData(**arguments, split=split)
    message = r"^no sample in 'validation' has any of the modalities a$"
    with pytest.raises(InputError, match=message):
        empty.select("a")


@pytest.mark.parametrize(
    "labels",
    [
        np.where(np.arange(N) < 30, np.arange(N) // 5, np.nan),
        [f"person {k // 5}" if k < 30 else "" for k in range(N)],
        [f"person {k // 5}" if k < 30 else None for k in range(N)],
    ],
)
def test_a_sample_without_a_group_is_a_group_of_its_own(labels):
    """They were one group, which lay in one split."""
    data = ArrayData(**some(groups=labels))
    lone = {part: int((rows >= 30).sum()) for part, rows in data.rows.items()}
    assert min(lone.values()) > 0 and sum(lone.values()) == 30
    member = np.r_[np.arange(30) // 5, np.arange(30) + 100]
    seen = [set(member[rows]) for rows in data.rows.values()]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_validation_is_drawn_where_no_row_is_named_for_it():
    names = ["training"] * 40 + ["test"] * 20
    data = ArrayData(**some(split=names))
    assert data.rows["test"].tolist() == list(range(40, 60))
    assert np.bincount(data.validation.target).tolist() == [2, 3, 2]
    rows = {"train": np.arange(40), "test": np.arange(40, 60)}
    assert ArrayData(**some(split=rows)).fingerprint() == data.fingerprint()
    assert ArrayData(**some(split=names, seed=1)).fingerprint() != data.fingerprint()
