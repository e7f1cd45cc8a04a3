"""BatchNorm over the rows of all ranks, which are threads here."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from folded import check_each
from threads import on_ranks
from torch import Tensor, nn
from toy import linear_encoders, toy_data, weights

from counterpoise import Batch, MultimodalModel
from counterpoise.core import ranks
from counterpoise.fusion import Late
from counterpoise.models import batch_norm
from counterpoise.models.batch_norm import join_ranks, keep_apart
from counterpoise.models.shares import Shares, split_rows

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "vectors": (lambda: nn.BatchNorm1d(4), (4,)),
    "sequences": (lambda: nn.BatchNorm1d(4, momentum=None), (4, 3)),
    "images": (lambda: nn.BatchNorm2d(4, momentum=0.3), (4, 3, 2)),
    "volumes": (lambda: nn.BatchNorm3d(4), (4, 2, 1, 2)),
    "not affine": (lambda: nn.BatchNorm1d(4, affine=False), (4,)),
    "not tracked": (lambda: nn.BatchNorm1d(4, track_running_stats=False), (4,)),
    "of users, for GPUs": (lambda: nn.SyncBatchNorm(4), (4, 3)),
    "functional": (lambda: Own(4), (4,)),
}
PLACES = ([0, 3, 6, 8], [1, 2, 4, 5, 7], [])  # rows of each rank; the last one has none


class Own(nn.BatchNorm1d):
    def forward(self, x: Tensor) -> Tensor:
        mean, var = self.running_mean, self.running_var
        found = nn.functional.batch_norm(x, mean, var, self.weight, self.bias, self.training)
        return found.relu()


def make(name: str, shift: float = 0.0) -> tuple[nn.Module, Tensor, Tensor]:
    """A layer, rows for it far from zero by ``shift``, and gradients of what it gives."""
    build, shape = LAYERS[name]
    torch.manual_seed(1)
    layer = build().train()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer, torch.randn(9, *shape) + shift, torch.randn(9, *shape)


def check_layer(monkeypatch: pytest.MonkeyPatch, shift: float, name: str) -> None:
    layer, rows, back = make(name, shift)
    alone = copy.deepcopy(layer)
    x = rows.clone().requires_grad_()
    wanted = alone(x)
    wanted.backward(back)

    def compute(rank: int) -> Any:
        mine, places = copy.deepcopy(layer), torch.tensor(PLACES[rank], dtype=torch.int64)
        own = (rows[places] if len(places) else rows[:1] * 7 + 5).requires_grad_()
        with join_ranks(mine, 9, len(places) > 0):
            found = mine(own)
        found = found[: len(places)]
        found.backward(back[places])
        return places, found.detach(), own.grad, weights(mine), [p.grad for p in mine.parameters()]

    every = on_ranks(monkeypatch, 3, compute)
    near: Any = partial(torch.testing.assert_close, atol=1e-4, rtol=1e-4)
    for places, found, gradient, state, _ in every:
        near(found, wanted.detach()[places])
        near(gradient, x.grad[places] if len(places) else torch.zeros_like(gradient))
        for key, value in alone.state_dict().items():
            near(state[key], value)
            assert torch.equal(state[key], every[0][3][key]), "ranks differ"
    for k, p in enumerate(alone.parameters()):
        near(sum(one[4][k] for one in every), p.grad)


def test_a_layer_on_all_ranks_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [*((0.0, name) for name in LAYERS), (100.0, "vectors")]
    check_each(cases, partial(check_layer, monkeypatch))


def mean_of_ranks(every: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    means, squares = every[:, :-1].chunk(2, 1)
    return every[:, -1].sum(), means.mean(0), squares.sum(0)


def sums_of_squares(every: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Right in exact arithmetic; where means are far from zero nothing of the variance is left."""
    means, squares = every[:, :-1].chunk(2, 1)
    counts = every[:, -1:]
    mean = (means * counts).sum(0) / counts.sum()
    whole = (squares + counts * means.square()).sum(0)
    return counts.sum(), mean, whole - counts.sum() * mean.square()


measure = batch_norm.measure_moments
MUTANTS: dict[str, tuple[str, Any]] = {
    "the dummy row counts": ("measure_moments", lambda x, _: measure(x, True)),
    "means of ranks": ("merge_moments", mean_of_ranks),
    "sums of squares": ("merge_moments", sums_of_squares),
    "own gradients": ("sum_gradients", lambda sums: 2 * sums),
}


def test_each_mutant_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(mutant: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(batch_norm, *MUTANTS[mutant])
            with pytest.raises(AssertionError):
                check_layer(monkeypatch, 100.0, "vectors")

    check_each(MUTANTS, check)


def test_layers_are_left_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    for layer in (nn.SyncBatchNorm(4), nn.BatchNorm1d(4)):
        before, names = vars(layer).copy(), list(layer.state_dict())
        with keep_apart(layer):
            layer(torch.randn(3, 4))
        assert vars(layer).keys() == before.keys() and list(layer.state_dict()) == names


# Models

ROWS = 11
PRESENT = {  # modality -> the rows of a batch that have it
    "a": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    "b": [1, 4, 7, 10],  # only on rank 1 of 3
    "c": [2, 3],
}


def model_and_batch(present: dict[str, list[int]], rows: int) -> tuple[MultimodalModel, Batch]:
    data = toy_data(3, samples=60)
    encoders = linear_encoders(data, 6, norm=True)
    torch.manual_seed(2)
    model = MultimodalModel(encoders, Late(dict.fromkeys("abc", 6), 3)).train()
    whole = data.train[torch.arange(rows)]
    masks = {m: torch.isin(torch.arange(rows), torch.tensor(k)) for m, k in present.items()}
    return model, Batch(whole.inputs, masks, whole.target)


def share_of(batch: Batch, rank: int, world: int) -> Batch:
    def cut(x: Any) -> Any:
        return x[rank::world]

    present = {m: cut(x) for m, x in batch.present.items()}
    # A batch of the user's own may not even hold what none of its rows has.
    inputs = {m: cut(x) for m, x in batch.inputs.items() if present[m].any()}
    return Batch(inputs, present, cut(batch.target))


def loss_of(model: MultimodalModel, batch: Batch, read: Sequence[str], rows: int) -> Tensor:
    """A loss that reads some unimodal logits, where any row of this rank has the modality."""
    out = model(batch)
    total = out.logits.sum() * 0 if batch.present["a"].any() else out.logits.sum()
    for name in read:
        if mask := batch.present[name].any():
            kept = out.unimodal[name].square().sum(1) * batch.present[name]
            total = total + kept.sum() * (mask / rows)
    return total


def check_model(
    monkeypatch: pytest.MonkeyPatch,
    parts: int,
    world: int,
    present: dict[str, list[int]],
    rows: int,
) -> None:
    model, batch = model_and_batch(present, rows)
    model.split_into(parts)
    alone = copy.deepcopy(model)
    loss_of(alone, batch, "ab", rows).backward()

    def compute(rank: int) -> Any:
        mine = copy.deepcopy(model)
        loss_of(mine, share_of(batch, rank, world), "ab", rows).backward()
        return weights(mine), {n: p.grad for n, p in mine.named_parameters()}

    every = on_ranks(monkeypatch, world, compute)
    for state, _ in every:
        for key, value in alone.state_dict().items():
            torch.testing.assert_close(state[key], value, atol=1e-5, rtol=1e-5)
    for name, p in alone.named_parameters():
        found = [gradients[name] for _, gradients in every if gradients[name] is not None]
        assert bool(found) == (p.grad is not None), name
        if found:
            torch.testing.assert_close(sum(found), p.grad, atol=1e-5, rtol=1e-4)


CASES: dict[str, tuple[int, int, dict[str, list[int]], int]] = {
    "two ranks": (1, 2, PRESENT, ROWS),
    "three ranks, one modality on one of them": (1, 3, PRESENT, ROWS),
    "three parts": (3, 3, PRESENT, ROWS),
    "more ranks than rows, in parts": (2, 4, {"a": [0, 1, 2], "b": [0, 2], "c": [1]}, 3),
    "nobody has b": (1, 2, {"a": [0, 1, 2], "b": [], "c": [0, 1, 2]}, 3),
    "nobody has c, and a rank has nothing": (1, 3, {"a": [0, 1], "b": [0], "c": []}, 2),
    "a single row": (1, 2, {"a": [0], "b": [0], "c": []}, 1),
}


def test_a_model_on_all_ranks_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, running statistics, and which gradients there are at all; and nobody waits."""
    check_each(CASES, lambda case: check_model(monkeypatch, *CASES[case]))


def test_features_that_are_not_tied_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank that leaves out what none of its rows has would let the others wait for it."""
    monkeypatch.setattr("counterpoise.models.multimodal.tie", lambda features, names: features)
    with pytest.raises(Exception):  # noqa: B017  # whichever rank waits in vain
        check_model(monkeypatch, *CASES["three ranks, one modality on one of them"])


def test_a_single_process_computes_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a single process has nobody to ask")

    for name in ("host_sum", "all_sum", "stack", "send"):
        monkeypatch.setattr(ranks, name, refuse)
    monkeypatch.setattr(batch_norm, "normalize", refuse)
    model, batch = model_and_batch(PRESENT, ROWS)
    loss_of(model, batch, "ab", ROWS).backward()


def test_local_statistics_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = model_and_batch(PRESENT, ROWS)
    model.local_batch_norm = True
    monkeypatch.setattr(ranks, "world", lambda: 2)
    monkeypatch.setattr(batch_norm, "normalize", lambda *_: 1 / 0)
    loss_of(model, share_of(batch, 0, 2), "ab", ROWS).backward()


def test_parts_are_the_rows_that_one_process_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    _, batch = model_and_batch(PRESENT, ROWS)

    def compute(rank: int) -> Any:
        share = share_of(batch, rank, 3)
        rows = share.present["b"].nonzero()[:, 0] * 3 + rank
        parts = Shares(share, ["a", "b"]).split("b", 3)
        return [(part.total, rows[part.start : part.stop].tolist()) for part in parts]

    every = on_ranks(monkeypatch, 3, compute)
    for k, part in enumerate(split_rows(4, 3)):
        together = sorted(row for rank in every for row in rank[k][1])
        assert together == PRESENT["b"][part.start : part.stop]
        assert {rank[k][0] for rank in every} == {part.total}
