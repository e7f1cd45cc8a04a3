"""A modality has one interface, in memory or in files."""

from __future__ import annotations

import numpy as np
import torch

from counterpoise import ArrayData
from counterpoise.data import Dataset
from counterpoise.data.columns import Decoded, InMemory, to_column
from counterpoise.data.readers import Numbers


def small() -> ArrayData:
    """Twelve samples: a list with a missing row, a dict of two tensors, pixels."""
    n = 12
    whole = np.arange(2 * n).reshape(n, 2)
    return ArrayData(
        {
            "a": [None if k == 4 else [k, -k] for k in range(n)],
            "t": {"ids": whole, "mask": whole % 3 > 0},
            "p": np.arange(4 * n, dtype=np.uint8).reshape(n, 2, 2),
        },
        np.arange(n) % 3,
        split=["train"] * 6 + ["validation"] * 3 + ["test"] * 3,
        name="small",
        groups=np.arange(n),
    )


def test_types_and_shapes() -> None:
    assert small().specs == {
        "a": {"": ("int64", (2,))},
        "t": {"ids": ("int64", (2,)), "mask": ("float32", (2,))},
        "p": {"": ("float32", (2, 2))},
    }
    assert small().shapes == {"a": (2,), "t": (2,), "p": (2, 2)}


def test_fingerprints_are_those_of_the_first_version() -> None:
    """Runs name the data that they were trained on by it; as commit b6368ef computed them."""
    assert small().fingerprint() == "72f493cfccd4a54b"
    assert small().select("t").fingerprint() == "d684a45847ffb1cf"


def test_rows_and_parts_are_the_same_in_memory_and_decoded() -> None:
    values = torch.arange(10.0).reshape(5, 2)
    memory = to_column(values)
    spec = {"": ("float32", (2,))}
    cells = [" ".join(map(str, row)) for row in values.tolist()]
    decoded = to_column(Decoded(cells, Numbers(count=2), spec, [str(k) for k in range(5)]))
    assert memory.spec == decoded.spec == spec and len(memory) == len(decoded) == 5
    assert isinstance(memory, InMemory) and not memory.stored and decoded.stored
    index = torch.tensor([3, 0, 3])
    for column in (memory, decoded):
        rows, part = column.rows(index), to_column(column.part(index))
        assert isinstance(rows, torch.Tensor) and torch.equal(rows, values[index])
        assert torch.equal(part.rows(torch.tensor([1])), values[:1])  # type: ignore[arg-type]


def test_what_replaces_a_tensor_of_a_split_is_what_batches_hold() -> None:
    data = small()
    data.train.inputs["a"] = torch.full((6, 3), 7.0)
    assert data.train.column("a").spec == {"": ("float32", (3,))}
    assert data.train[torch.tensor([2])].inputs["a"].tolist() == [[7.0] * 3]  # type: ignore[union-attr]


def test_a_part_of_array_data_is_a_dataset() -> None:
    part = small().select("a", "p")
    assert isinstance(small(), Dataset) and type(part) is Dataset
    assert repr(part) == "Dataset('small', a + p; train 6, validation 3, test 3)"
    assert repr(small()).startswith("ArrayData('small', a + t + p; ")
