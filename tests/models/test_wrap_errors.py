"""What cannot be wrapped is said in one line, with what to do."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from own_models import ENCODERS, Gate, Plain, made, wrapped
from torch import Tensor, nn
from toy import toy_data

from counterpoise import InputError, fit, wrap


def with_forward(forward: Any) -> nn.Module:
    return made(type("Own", (Plain,), {"forward": forward}))


def refuse(said: str, *arguments: Any, **options: Any) -> None:
    with pytest.raises(InputError) as error:
        wrap(*arguments, **options)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_parts_that_are_not_there() -> None:
    model = made(Plain)
    model.note, model.both = "x", nn.ModuleList([nn.Linear(2, 2)])
    refuse("in encoders['a'] 'frist'; did you mean 'first'?", model, {"a": "frist"}, "head")
    refuse("part of Plain in head 'haed'; did you mean 'head'", model, ENCODERS, "haed")
    refuse("encoders['a'] must be a module, found 'note', a str", model, {"a": "note"}, "head")
    refuse("found 'forward', a method", model, {"a": "forward"}, "head")
    refuse("must be a module or its attribute path, found int", model, {"a": 3}, "head")
    refuse("encoders must name a module for each modality", model, ["first"], "head")
    refuse("encoders must name a module for each modality", model, {}, "head")
    refuse("found the whole of it", model, {"a": model}, "head")
    refuse("must be that modality's own, but it is also", model, {"a": "first", "b": "first"})
    refuse("contains the encoder of 'b'", model, {"a": "first", "b": "first.0"}, "head")
    refuse("must be a part of the model, found a Linear", model, ENCODERS, nn.Linear(9, 3))
    refuse("must come after the encoders, found it in", model, ENCODERS, "first.3")
    refuse("found that of 'a' in it", nn.Sequential(model), {"a": "0.first"}, "0")
    new = {"a": nn.Sequential(model.first), "b": "second"}
    refuse("encoders['a'] is no part of Plain", model, new, "head")
    refuse("precision", model, ENCODERS, "head", precision="fp16")
    refuse(
        "unknown value for unimodal 'slice'", made(Gate), ENCODERS, "classifier", unimodal="slice"
    )


class Compiled(nn.Module):
    """As ``torch.compile`` holds a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


def test_models_that_are_not_bare() -> None:
    model = made(Plain)
    refuse("pass model.module", nn.DataParallel(model), ENCODERS, "head")
    refuse("pass model._orig_mod", Compiled(model), ENCODERS, "head")
    refuse("must be a torch.nn.Module, found str", "model", ENCODERS, "head")
    refuse("is a MultimodalModel already", wrapped(model), ENCODERS, "head")
    refuse("must have parameters, found none in Identity", nn.Identity(), ENCODERS, "head")
    refuse("found torch.float64 in Plain; pass model.float()", made(Plain).double(), ENCODERS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.head = nn.LazyLinear(3)
    refuse("found lazy layers in Plain; call it once first", model, ENCODERS, "head")


FORWARDS = {
    "is used outside of its encoder (mul)": lambda s, x, y: s.head(
        s.join(s.first(x * 2), s.second(y))
    ),
    "the input of 'b' in forward of Own is used outside": lambda s, x, y: s.head(
        s.join(s.first(x), s.second(y)) + torch.cat([y, y], 1).sum()
    ),
    "calls it with 2 values": lambda s, x, y: s.head(s.join(s.first(x, y), s.second(y))),
    "calls it with something made of it": lambda s, x, y: s.head(
        s.join(s.first(x.new_zeros(8, 4)), s.second(y))
    ),
    "is called by forward of Own with the input of 'b'": lambda s, y, x: s.head(
        s.join(s.first(x), s.second(y))
    ),
    "the encoder of 'b' is not called": lambda s, x, y: s.head(
        s.join(s.first(x), torch.zeros(8, 3))
    ),
    "the encoder of 'a' must be called once": lambda s, x, y: s.head(
        s.join(s.first(x) + s.first(x), s.second(y))
    ),
    "found 0 calls": lambda s, x, y: s.join(s.first(x), s.second(y)),
    "found 2 calls": lambda s, x, y: (
        s.head(s.head.weight).sum() + s.head(s.join(s.first(x), s.second(y)))
    ),
    "found [8, 1, 3]": lambda s, x, y: s.head(s.join(s.first(x), s.second(y))[:, None]),
    "fails on features a [8, 6], b [8, 3] (": lambda s, x, y: s.head(s.first(x)),
    "takes (x), not an input for each of a, b; pass call=": lambda s, x: s.head(x),
    "or reads the shapes of inputs": lambda s, x, y: s.head(
        s.join(s.first(x), s.second(y)) * x.shape[1]
    ),
}


@pytest.mark.parametrize("said", FORWARDS)
def test_forwards_that_cannot_be_replayed(said: str) -> None:
    refuse(said, with_forward(FORWARDS[said]), ENCODERS, "head")


def test_what_only_training_does_is_seen_too() -> None:
    def forward(self: Any, x: Tensor, y: Tensor) -> Tensor:
        return self.head(self.join(self.first(x + 1 if self.training else x), self.second(y)))

    refuse("is used outside of its encoder (add)", with_forward(forward), ENCODERS, "head")


def test_examples_that_do_not_fit() -> None:
    model, data = made(Plain), toy_data()
    example = {m: x[:3] for m, x in data.train.inputs.items()}
    refuse("unknown modality in example 'c'", model, ENCODERS, "head", example={"c": 1, **example})
    refuse("found no 'b'", model, ENCODERS, "head", example={"a": example["a"]})
    wrong = {**example, "a": example["b"]}
    refuse("encoders['a'] fails on the example (", model, ENCODERS, "head", example=wrong)
    model.first = nn.LSTM(4, 6)
    refuse("found tuple; pass nn.Sequential(", model, ENCODERS, "head", example=example)
    model.first = nn.Unflatten(1, (2, 2))
    refuse("[B, D], found [3, 2, 2]", model, ENCODERS, "head", example=example)


def test_an_example_shows_a_forward_that_does_more() -> None:
    class Seen(nn.BatchNorm1d):
        seen = False

        def forward(self, x: Tensor) -> Tensor:
            self.seen = not self.seen
            return super().forward(x)

    def forward(self: Any, x: Tensor, y: Tensor) -> Tensor:
        joined = self.join(self.first(x), self.second(y))
        return self.head(joined if self.first[1].seen else joined * 0)

    model, data = with_forward(forward), toy_data()
    model.first[1] = Seen(8)
    example = {m: x[:3] for m, x in data.train.inputs.items()}
    refuse("gives other logits on the example", model, ENCODERS, "head", example=example)


def test_encoders_that_give_no_vectors_are_said_at_the_first_step() -> None:
    data = toy_data(sequences=True)

    class Sequences(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.a, self.b, self.head = layer, nn.Conv1d(2, 5, 3), nn.Linear(17, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.head(torch.cat([self.a(a), self.b(b)], 1))

    for layer, found in ((nn.LSTM(12, 12), "tuple"), (nn.Linear(12, 12), r"\[32, 2, 12\]")):
        model = wrap(Sequences(layer), {"a": "a", "b": "b"}, "head")
        said = rf"encoder 'a' must give features \[B, 12\], found {found}; what makes them so"
        with pytest.raises(InputError, match=said):
            fit(model, data, epochs=1)


def test_fit_says_what_does_not_fit() -> None:
    data = toy_data(classes=4)
    with pytest.raises(InputError, match="must give 4 logits for this classification, found a hea"):
        fit(wrapped(made(Plain)), data)
    with pytest.raises(InputError, match="must be a MultimodalModel, found Plain; wrap"):
        fit(made(Plain), data)
    with pytest.raises(InputError, match="'g-blending' needs a fusion with unimodal=aux"):
        fit(wrapped(made(Plain), unimodal="ablate"), toy_data(), "g-blending")
