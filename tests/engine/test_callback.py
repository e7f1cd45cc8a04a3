"""Callbacks: what they are told, in which order, and what is none."""

from __future__ import annotations

from typing import Any

import pytest
from toy import toy_data, toy_model

from counterpoise import Callback, InputError, fit

FAST: dict[str, Any] = {"epochs": 2, "batch_size": 16}


class Noting(Callback):
    """Writes every call into a list that several share."""

    def __init__(self, name: str, calls: list[tuple[Any, ...]]) -> None:
        self.name, self.calls = name, calls

    def on_batch(self, number: int) -> None:
        self.calls.append((self.name, "batch", number))

    def on_epoch(self, entry: dict[str, Any]) -> None:
        self.calls.append((self.name, "epoch", entry["epoch"]))

    def on_note(self, text: str) -> None:
        self.calls.append((self.name, "note", text))


def test_several_are_called_in_the_order_given() -> None:
    data, calls = toy_data(), []
    label = "umt:teacher_epochs=1"
    callbacks = [Noting("first", calls), Callback(), Noting("second", calls)]
    fit(toy_model(data, label), data, label, callbacks=callbacks, **FAST)
    own = [call[1:] for call in calls if call[0] == "first"]
    assert own == [
        ("note", "training beside, epoch 1 of 1"),
        *(("batch", number) for number in range(5)),
        ("epoch", 0),
        *(("batch", number) for number in range(5)),
        ("epoch", 1),
    ]
    assert calls == [(name, *call) for call in own for name in ("first", "second")]


@pytest.mark.parametrize("hook", ["on_batch", "on_epoch"])
def test_an_error_of_a_callback_ends_the_run(hook: str) -> None:
    class Failing(Callback):
        pass

    def fail(self: Callback, _: Any) -> None:
        raise ZeroDivisionError("of the callback")

    setattr(Failing, hook, fail)
    data = toy_data()
    with pytest.raises(ZeroDivisionError, match="of the callback"):
        fit(toy_model(data), data, callbacks=[Failing()], **FAST)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([print], "callbacks must be Callback objects, found <built-in function print>"),
        ([Noting], "make an object of a subclass of counterpoise.Callback"),
        (Callback(), "callbacks must be a list of Callback objects, found Callback"),
        (print, "callbacks must be a list of Callback objects"),
    ],
)
def test_what_is_no_callback_is_refused(given: Any, said: str) -> None:
    data = toy_data()
    with pytest.raises(InputError) as error:
        fit(toy_model(data), data, callbacks=given, **FAST)
    assert said in str(error.value) and "\n" not in str(error.value)
