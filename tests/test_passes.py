"""The passes through the encoders that a step takes are those that a method declares."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from settings import CASES, build
from torch import Tensor
from toy import toy_context, toy_data, toy_model

from counterpoise import METHODS, Context, Method


def passes(method: Method, epochs: int = 2) -> tuple[int, int]:
    """The most forward and backward passes of one encoder in a step of the first epochs."""
    data = toy_data()
    model = toy_model(data, method)
    ctx = toy_context(data, model, parameters=list(method.parameters()), epochs=epochs)
    forward: Counter[str] = Counter()
    backward: Counter[str] = Counter()

    def count(name: str) -> Any:
        def hook(module: Any, inputs: Any, features: Tensor) -> None:
            forward[name] += 1
            if features.requires_grad:
                # Called once for each backward pass that reaches the encoder.
                features.register_hook(lambda _: backward.update([name]))

        return hook

    for name, encoder in model.encoders.items():
        encoder.register_forward_hook(count(name))
    most = (0, 0)
    method.setup(ctx)
    for epoch in range(epochs):
        ctx.epoch = epoch
        method.epoch_start(ctx)
        for number, batch in enumerate(method.batches(ctx)):
            ctx.batch = number
            forward.clear()
            backward.clear()
            method.step(batch, ctx)
            most = (
                max(most[0], *forward.values(), 0),
                max(most[1], *backward.values(), 0),
            )
        method.epoch_end(ctx)
    return most


@pytest.mark.parametrize("case", CASES)
def test_a_step_takes_the_passes_that_its_card_says(case: str) -> None:
    method = build(case)
    assert passes(method) == method.passes


def test_one_pass_too_many_would_be_seen() -> None:
    class Twice(METHODS["joint"]):  # type: ignore[misc]
        def step(self, batch: Any, ctx: Context) -> dict[str, Tensor]:
            ctx.model(batch)
            return super().step(batch, ctx)  # type: ignore[no-any-return]

    assert passes(Twice()) == (2, 1)
