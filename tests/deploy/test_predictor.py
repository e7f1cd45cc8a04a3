"""Predictors: what they answer, from whatever is there; saved, opened, shared."""

from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from folded import check_each
from toy import toy_data

import counterpoise as cp
from counterpoise import InputError, MultimodalClassifier, MultimodalRegressor, Predictor
from counterpoise.deploy import hub
from counterpoise.evaluation import subsets


def train(data: cp.Dataset, method: str = "multi-loss", epochs: int = 2) -> cp.Run:
    return cp.fit(cp.build_model(data, method, width=8), data, method, epochs=epochs)


@pytest.fixture(scope="module")
def data() -> cp.Dataset:
    return toy_data(3, 0.3, samples=200)


@pytest.fixture(scope="module")
def run(data: cp.Dataset) -> cp.Run:
    return train(data)


@pytest.fixture(scope="module")
def predictor(run: cp.Run) -> Predictor:
    return run.predictor()


def inputs(data: cp.Dataset, *names: str) -> dict[str, Any]:
    """The complete rows of the test split."""
    split = data.test
    rows = torch.stack(list(split.present.values())).all(0)
    return {m: split.inputs[m][rows].numpy() for m in names or data.modalities}


def test_every_subset_is_answered_as_the_method_predicts(
    run: cp.Run, predictor: Predictor, data: cp.Dataset
) -> None:
    rows = inputs(data)

    def check(*subset: str) -> None:
        found = predictor.predict({m: rows[m] for m in subset})
        tensors = {m: torch.from_numpy(x) for m, x in rows.items()}
        batch = cp.Batch(tensors, target=torch.zeros(len(rows["a"]))).only(*subset)
        with torch.no_grad():
            logits = run.method.predict(run.model, batch)
        mask = torch.stack([batch.present[m] for m in data.modalities], 1)
        heat = predictor.confidence.temperature(mask).float()[:, None]
        assert np.allclose(found.probabilities, (logits / heat).softmax(1), atol=1e-6)
        assert (found.label == logits.argmax(1).numpy()).all()
        assert set(found.subsets()) == {"+".join(subset)} and found.problems == {}
        whole = sum(found.weights.values())
        assert np.allclose(whole, 1) and all(
            not found.weights[m].any() for m in set(data.modalities) - set(subset)
        )
        figure = predictor.facts["figures"]["test"]["+".join(subset)]["accuracy"]["value"]
        assert np.allclose(found.expected, figure) and found.metric == "accuracy"

    check_each(subsets(data.modalities), check)


def test_a_row_does_not_depend_on_the_others(predictor: Predictor, data: cp.Dataset) -> None:
    rows = inputs(data)
    mixed = [
        {"a": rows["a"][0], "b": rows["b"][0], "c": rows["c"][0]},
        {"b": rows["b"][1]},
        {"c": rows["c"][2], "a": None},
        {"a": rows["a"][3], "c": rows["c"][3]},
    ]
    together = predictor.predict(mixed)
    for k, row in enumerate(mixed):
        alone = predictor.predict([row])
        assert np.allclose(alone.probabilities[0], together.probabilities[k], atol=1e-6)
        for name, weight in together.weights.items():
            assert np.isclose(alone.weights[name][0], weight[k], atol=1e-5)
    assert together.subsets() == ["a+b+c", "b", "c", "a+c"]


def test_weights_are_what_the_answer_moves(predictor: Predictor, data: cp.Dataset) -> None:
    rows = inputs(data)
    whole = predictor.predict(rows).probabilities
    moves = {}
    for name in rows:
        rest = {m: x for m, x in rows.items() if m != name}
        moves[name] = np.abs(whole - predictor.predict(rest).probabilities).sum(1)
    total = sum(moves.values())
    found = predictor.predict(rows).weights
    for name in rows:
        assert np.allclose(found[name], moves[name] / total, atol=1e-4)


def test_rows_that_cannot_be_answered_are_listed(predictor: Predictor, data: cp.Dataset) -> None:
    rows = inputs(data)
    mixed = [
        {"a": rows["a"][0]},
        {},
        {"a": [1.0, 2.0], "b": rows["b"][0]},
    ]
    with pytest.warns(
        UserWarning, match=r"2 of 3 rows have problems.*the first, row 1: has no mod"
    ):
        found = predictor.predict(mixed)
    assert list(found.answered()) == [True, False, True]
    assert set(found.problems) == {1, 2} and "a: " in found.problems[2]
    plain = json.loads(json.dumps(found.rows(), allow_nan=False))
    assert found.label[1] is None and found.label[0] in (0, 1, 2)
    assert plain[1]["label"] is None and plain[1]["problem"] == "has no modality"
    assert plain[2]["present"] == "b" and plain[2]["weights"] == {"b": 1.0}
    with pytest.raises(InputError, match="row 1: has no modality; predict answers the others"):
        predictor.predict_proba(mixed)
    with pytest.raises(InputError, match="unknown modality in X 'aa'"):
        predictor.predict({"aa": rows["a"]})


def test_what_is_not_finite_is_no_answer(data: cp.Dataset) -> None:
    made = train(data, epochs=1).predictor()
    with torch.no_grad():
        made.model.encoders["a"][1][0].weight.mul_(1e38)  # type: ignore[index,operator]
    rows = inputs(data)
    found = made.answer(made.read([{"b": rows["b"][0]}, {"a": rows["a"][0] * 1e6}]))
    assert list(found.answered()) == [True, False] and "no finite prediction" in found.problems[1]
    assert found.rows()[1]["label"] is None


def test_tasks_answer_in_their_own_way() -> None:
    def check(kind: str) -> None:
        data = toy_data(2, 0.2, samples=150, **({kind: True} if kind else {}))
        made = train(data).predictor()
        found = made.predict(inputs(data))
        count = len(found)
        if kind == "regression":
            target = data.test.target[torch.stack(list(data.test.present.values())).all(0)]
            assert found.probabilities is None and found.label.shape == (count,)
            assert np.abs(found.label - target.numpy()).mean() < 1, "in the units of the target"
            assert found.metric == "mae" and found.rows()[0]["weights"].keys() == {"a", "b"}
            ranges = made.predict(inputs(data), coverage=0.8).sets
            assert ranges is not None and ranges.shape == (count, 1, 2)
            with pytest.raises(InputError, match="a regression has no probabilities"):
                made.predict_proba(inputs(data))
        elif kind == "multilabel":
            assert found.label.dtype == bool and found.label.shape == (count, 4)
            assert (found.label == (found.probabilities > 0.5)).all()
            assert isinstance(found.rows()[0]["label"], list)
            some = made.answer(made.read([{"a": inputs(data)["a"][0]}, {}]))
            assert np.isnan(some.label[1]).all() and (some.label[0] == found.label[0]).shape == (4,)
            assert some.rows()[1]["label"] is None
        else:
            kept = made.predict(inputs(data), accuracy=0.6, coverage=0.8)
            assert kept.keeps is not None and kept.sets is not None
            assert isinstance(kept.rows()[0]["set"], list)

    check_each(("", "regression", "multilabel"), check)


def test_features_are_the_models(predictor: Predictor, data: cp.Dataset, run: cp.Run) -> None:
    rows = inputs(data)
    found = predictor.embed({"a": rows["a"], "c": rows["c"]})
    assert {k: v.shape[1] for k, v in found.items()} == {"a": 8, "b": 8, "c": 8, "fused": 24}
    assert np.isnan(found["b"]).all() and not found["fused"][:, 8:16].any()
    assert np.array_equal(found["fused"][:, :8], found["a"])
    film = cp.fit(cp.build_model(data, fusion="film", width=8), data, epochs=1).predictor()
    assert film.embed(rows)["fused"].shape == (len(rows["a"]), 8)


def check_equal(first: Predictor, second: Predictor, rows: dict[str, Any]) -> None:
    one, two = first.predict(rows), second.predict(rows)
    assert np.array_equal(one.label, two.label) and one.rows() == two.rows()
    assert np.array_equal(first.embed(rows)["fused"], second.embed(rows)["fused"])


def test_saved_and_opened_it_answers_the_same(
    run: cp.Run, data: cp.Dataset, tmp_path: Path
) -> None:
    made = run.save(tmp_path / "model")
    found = Predictor.load(tmp_path / "model")
    check_equal(made, found, inputs(data))
    assert {**found.facts} == {**Predictor.load(str(tmp_path / "model")).facts}
    assert str(found) == "Predictor('multi-loss', classification, a + b + c)"
    found.save(tmp_path / "again")
    check_equal(made, Predictor.load(tmp_path / "again"), inputs(data))
    weights = [tmp_path / name / "model.safetensors" for name in ("model", "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert "multi-loss" in (tmp_path / "model" / "README.md").read_text()


def test_the_best_epoch_leaves_the_run_at_its_last(data: cp.Dataset) -> None:
    run = train(data, epochs=3)
    before = {k: v.clone() for k, v in run.model.state_dict().items()}
    run.best_weights = ({k: v * 0.5 for k, v in before.items()}, run.best_weights[1])
    best = run.predictor("best")
    assert all(torch.equal(v, before[k]) for k, v in run.model.state_dict().items())
    assert best.facts["training"]["which"] == "best"
    assert not np.allclose(
        best.predict(inputs(data)).probabilities,
        run.predictor().predict(inputs(data)).probabilities,
    )
    with pytest.raises(InputError, match="unknown value for which"):
        run.predictor("first")


def test_a_run_that_was_pickled_asks_for_its_data(run: cp.Run, data: cp.Dataset) -> None:
    again = pickle.loads(pickle.dumps(run))
    assert again.data is None and run.data is data
    with pytest.raises(InputError, match="data must hold the data set of this run"):
        again.predictor()
    check_equal(run.predictor(), again.predictor(data=data), inputs(data))


def test_thresholds_may_come_from_another_set(run: cp.Run, predictor: Predictor) -> None:
    other = toy_data(3, 0.3, samples=400, seed=0)
    made = run.predictor(thresholds=other)
    assert made.confidence.state() != predictor.confidence.state()


def test_estimators_are_saved(tmp_path: Path) -> None:
    data = toy_data(2, samples=150)
    X = {m: data.train.inputs[m].numpy() for m in data.modalities}
    words = np.array(["ant", "bee", "cat"])[data.train.target.numpy()]
    model = MultimodalClassifier("mla", epochs=2, width=8).fit(X, words)
    model.save(tmp_path / "words")
    found = Predictor.load(tmp_path / "words")
    assert (found.predict(X).label == model.predict(X)).all()
    assert found.classes == ("ant", "bee", "cat")
    again = pickle.loads(pickle.dumps(model))
    with pytest.raises(InputError, match="validation must be a pair"):
        again.save(tmp_path / "other")
    again.save(tmp_path / "other", validation=(X, words))
    assert (Predictor.load(tmp_path / "other").predict(X).label == model.predict(X)).all()

    numbers = MultimodalRegressor(epochs=2, width=8).fit(X, data.train.target.numpy() * 50.0)
    numbers.save(tmp_path / "numbers")
    found = Predictor.load(tmp_path / "numbers")
    assert np.allclose(found.predict(X).label, numbers.predict(X), rtol=1e-5)
    tens = MultimodalClassifier(epochs=1, width=8).fit(X, data.train.target.numpy() * 10)
    tens.save(tmp_path / "tens")
    assert Predictor.load(tmp_path / "tens").predict(X).label.dtype.kind == "i"


def test_threads_share_a_predictor(predictor: Predictor, data: cp.Dataset) -> None:
    rows = inputs(data)
    samples = predictor.read(rows)
    wanted = predictor.answer(samples)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: predictor.answer(samples), range(20)):
            assert np.array_equal(found.probabilities, wanted.probabilities)


def test_the_hub_by_its_conventions(
    predictor: Predictor, data: cp.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "hub"

    class Api:
        def __init__(self, token: str | None = None) -> None:
            self.token = token

        def create_repo(self, name: str, private: bool | None, exist_ok: bool) -> Any:
            return SimpleNamespace(repo_id=name)

        def upload_folder(self, repo_id: str, folder_path: str, **more: Any) -> str:
            Path(folder_path).rename(stored)
            return f"https://example.org/{repo_id}"

    def download(name: str, allow_patterns: list[str], **more: Any) -> str:
        if name != "me/model":
            raise OSError("404: no such repository\nmore")
        return str(stored)

    monkeypatch.setattr(
        hub, "need", lambda *_: SimpleNamespace(HfApi=Api, snapshot_download=download)
    )
    assert predictor.push_to_hub("me/model").endswith("me/model")
    check_equal(predictor, Predictor.from_pretrained("me/model", revision="main"), inputs(data))
    with pytest.raises(InputError, match=r"me/none is no folder here.*404: no such repository$"):
        Predictor.from_pretrained("me/none")
    predictor.save_pretrained(tmp_path / "local")
    predictor.save_pretrained(tmp_path / "local")
    check_equal(predictor, Predictor.from_pretrained(tmp_path / "local"), inputs(data))


def test_a_pack_whose_parts_do_not_fit_is_one_line(run: cp.Run, tmp_path: Path) -> None:
    made = run.predictor()
    made.facts = {**made.facts, "model": {**made.facts["model"], "fusion": {"name": "concat"}}}
    made.save(tmp_path / "model")
    with pytest.raises(InputError, match="cannot be opened") as error:
        Predictor.load(tmp_path / "model")
    assert len(str(error.value).splitlines()) == 1
    made.facts["modalities"]["a"]["encoder"] = {"class": "mine.Encoder"}
    made.facts["model"] = run.predictor().facts["model"]
    made.save(tmp_path / "own")
    with pytest.raises(InputError, match=r"own cannot be opened: the encoder of 'a' is .*pass one"):
        Predictor.load(tmp_path / "own")


def test_a_regression_without_a_scale_is_refused() -> None:
    data = toy_data(2, regression=True)
    run = train(data, epochs=1)
    with pytest.raises(InputError, match="the regression has no scale"):
        replace(run, task=cp.Regression()).predictor()
