"""Objects that remember what they were made with."""

from __future__ import annotations

import copy
import inspect
import pickle

import torch
from torch import nn

from counterpoise import FUSIONS, Concat
from counterpoise.core.recorded import Recorded
from counterpoise.encoders import LSTM, MLP
from counterpoise.fusion import Late


class Base(Recorded, nn.Module):
    pass


class Outer(Base):
    def __init__(self, size: int, *, name: str = "x", part: nn.Module | None = None) -> None:
        super().__init__()
        self.size, self.name, self.part = size, name, part


class Inner(Outer):
    def __init__(self, half: int) -> None:
        super().__init__(2 * half, name="y")


def test_the_outermost_constructor_is_kept() -> None:
    assert Outer(3, name="z").made_from == ((3,), {"name": "z"})
    assert Inner(2).made_from == ((2,), {}) and Inner(2).size == 4
    assert Base().made_from == ((), {})


def test_copies_keep_what_the_original_was_made_with() -> None:
    first = Inner(2)
    assert (
        copy.deepcopy(first).made_from == pickle.loads(pickle.dumps(first)).made_from == ((2,), {})
    )


def test_a_module_among_the_arguments_is_registered_once() -> None:
    part = nn.Linear(2, 2)
    made = Outer(3, part=part)
    assert made.made_from[1]["part"] is part
    assert list(made.state_dict()) == ["part.weight", "part.bias"]


def test_signatures_stay() -> None:
    assert list(inspect.signature(Outer).parameters) == ["size", "name", "part"]
    assert list(inspect.signature(FUSIONS["boosted"]).parameters)[-2:] == ["layers", "hidden"]


def test_parts_of_the_library_are_recorded() -> None:
    assert MLP(4, width=8).made_from == ((4,), {"width": 8})
    assert LSTM(3, 8, layers=2).recipe() == {"arguments": [3, 8], "options": {"layers": 2}}
    assert Late({"a": 2}, 3).made_from == (({"a": 2}, 3), {})
    torch.manual_seed(0)
    again = LSTM.remake(LSTM(3, 8, layers=2, bidirectional=True).recipe())
    assert again.get_submodule("lstm").bidirectional
    assert Concat({"a": 2}, 3, "ablate").made_from[0][2] == "ablate"
