"""Every subset of the modalities, each sample encoded once."""

import pytest
import torch
from folded import check_each
from toy import Calls, same, toy_data, toy_model, weights

from counterpoise import METHODS, InputError, Regression, build_method, evaluate, fit
from counterpoise.evaluation import choose_subsets, present_name, subsets
from counterpoise.evaluation.result import format_value


def trained(data, name):
    """A model and the method that trained it."""
    method = build_method(name)
    return fit(toy_model(data, method), data, method, epochs=2, lr=0.05).model, method


def test_subsets_are_all_and_the_whole_first():
    found = subsets("abc")
    assert found[0] == ("a", "b", "c")
    assert len(found) == len(set(found)) == 7
    assert [len(s) for s in found] == [3, 2, 2, 2, 1, 1, 1]
    assert present_name(("b", "a")) == "a+b"


def test_of_many_modalities_some_subsets_of_each_size_are_chosen():
    assert choose_subsets("abc") == subsets("abc")
    assert choose_subsets("abcdef") == subsets("abcdef")
    names = "kjihgfedcba"
    found = choose_subsets(names)
    sizes = [len(subset) for subset in found]
    assert found[0] == tuple(names) and sizes == sorted(sizes, reverse=True)
    counts = {size: sizes.count(size) for size in sizes}
    assert counts == {11: 1, 10: 11, **dict.fromkeys(range(2, 10), 8), 1: 11}
    assert len(set(found)) == len(found)
    assert all(list(s) == sorted(s, key=names.index) for s in found)
    assert found == choose_subsets(names) != choose_subsets(names, seed=1)
    assert len(choose_subsets(names, most=3)) == 1 + 11 + 3 + 11
    assert len(choose_subsets([f"m{k}" for k in range(64)])) == 1 + 64 + 64 + 64


def test_some_subsets_are_evaluated_and_always_the_whole_and_the_single_ones():
    data = toy_data(4, missing=0.3)
    model = toy_model(data)
    every, some = (
        evaluate(model, data),
        evaluate(model, data, subsets=[("d", "b"), "c", ("a", "b", "d")]),
    )
    assert list(some.logits) == [s for s in subsets("abcd") if s in some.logits]
    assert {present_name(s) for s in some.logits} == {"a+b+c+d", "a+b+d", "b+d", *"abcd"}
    assert some.modalities == every.modalities
    for subset, logits in some.logits.items():
        assert torch.equal(logits, every.logits[subset])
        assert some.metrics[subset] == every.metrics[subset]
    with pytest.raises(InputError, match="unknown modality in subsets 'x'"):
        evaluate(model, data, subsets=[("a", "x")])
    with pytest.raises(InputError, match="subsets must each name a modality, found an empty one"):
        evaluate(model, data, subsets=[()])


def test_each_modality_is_encoded_once_a_batch_for_all_subsets():
    data = toy_data(3, missing=0.3)
    model = toy_model(data)
    calls = {m: Calls(model.encoders[m]) for m in data.modalities}
    evaluate(model, data, batch_size=10)
    for name, call in calls.items():
        assert len(call) == 3  # 24 samples
        assert sum(call.rows) == int(data.test.present[name].sum())


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_a_subset_is_a_plain_prediction_with_those_modalities_only(name, missing):
    data = toy_data(3, missing=missing)
    model, method = trained(data, name)
    found = evaluate(model, data, method)
    whole = data.test[torch.arange(len(data.test))]
    assert set(found.metrics) == set(subsets("abc"))
    for subset in subsets("abc"):
        batch = whole.only(*subset)
        has = batch.counts() > 0
        with torch.no_grad():
            wanted = method.predict(model, batch)[has]
        torch.testing.assert_close(found.logits[subset], wanted, rtol=1e-5, atol=1e-6)
        assert torch.equal(found.rows[subset], has.nonzero().squeeze(1))
        metrics = data.task.metrics(wanted, whole.target[has])
        assert found.metrics[subset] == pytest.approx(metrics, rel=1e-5)


def test_samples_that_lack_all_of_a_subset_are_left_out():
    data = toy_data(2, missing=0.4)
    found = evaluate(toy_model(data), data)
    mask = data.test.present["b"]
    assert 0 < int(mask.sum()) < len(mask)
    assert len(found.logits["b",]) == int(mask.sum())
    outcome = found.outcome("b")
    assert torch.equal(outcome.isnan(), ~mask)
    accuracy = found.metrics["b",]["accuracy"]
    assert float(outcome[mask].mean()) == pytest.approx(accuracy)


@pytest.mark.parametrize("name", METHODS)
def test_predictions_do_not_depend_on_the_batch_size(name):
    data = toy_data(2, missing=0.4)
    model, method = trained(data, name)
    whole = evaluate(model, data, method)

    def check(batch_size):
        found = evaluate(model, data, method, batch_size=batch_size)
        for subset, logits in whole.logits.items():
            torch.testing.assert_close(found.logits[subset], logits, rtol=1e-5, atol=1e-5)

    check_each([1, 7], check)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_model_and_random_state_as_they_were(training):
    data = toy_data(2, sequences=True)
    model = toy_model(data).train(training)
    before, state = weights(model), torch.get_rng_state()
    evaluate(model, data)
    assert same(before, weights(model))
    assert model.training is training
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_in_training_mode_is_evaluated_in_evaluation_mode():
    data = toy_data(2, sequences=True)
    model = toy_model(data)
    wanted = evaluate(model.eval(), data)
    assert evaluate(model.train(), data).metrics == wanted.metrics


@pytest.mark.parametrize("name", METHODS)
def test_a_modality_that_no_sample_has_gets_no_metrics(name):
    data = toy_data(2)
    data.test.present["b"].fill_(False)
    model, method = trained(data, name)
    found = evaluate(model, data, method)
    assert set(found.metrics) == {("a", "b"), ("a",)}
    assert bool(found.outcome("b").isnan().all())


def test_regression_is_evaluated_too():
    data = toy_data(regression=True)
    with pytest.raises(InputError, match="does not know the scale of its regression; pass task"):
        evaluate(toy_model(data), data)
    found = evaluate(toy_model(data), data, task=Regression(mean=0, scale=1))
    error = (found.logits["a", "b"][:, 0] - data.test.target).abs()
    torch.testing.assert_close(found.outcome("a", "b"), error)
    assert found.metrics["a", "b"]["mae"] == pytest.approx(float(error.mean()))


def test_the_table_has_a_line_for_each_subset():
    lines = str(evaluate(toy_model(toy_data(3)), toy_data(3))).splitlines()
    assert len(lines) == 9  # the names of the metrics take two
    assert lines[0].split() == ["balanced-", "average-"]
    assert lines[1].split()[:3] == ["accuracy", "accuracy", "macro-f1"]
    assert lines[2].startswith("a+b+c ")
    assert len({len(line) for line in lines}) == 1 and len(lines[0]) < 100


def test_which_metrics_are_computed():
    data = toy_data()
    model = toy_model(data)
    for which, names in (("primary", ["accuracy"]), (["ece", "nll"], ["ece", "nll"])):
        found = evaluate(model, data, metrics=which)
        assert all(list(values) == names for values in found.metrics.values())
    other = evaluate(model, data, task=data.task.with_metric("brier"), metrics="primary")
    assert list(other.metrics["a", "b"]) == ["brier"]
    mean = float(other.outcome("a", "b").mean())
    assert mean == pytest.approx(other.metrics["a", "b"]["brier"])
    with pytest.raises(InputError, match="the metric auroc is no mean over samples"):
        evaluate(model, data, task=data.task.with_metric("auroc")).outcome("a")


def test_columns_are_as_wide_as_their_names():
    for kind in ("multilabel", "regression"):
        data = toy_data(**{kind: True})
        task = data.task.fit(data.train.target)
        lines = str(evaluate(toy_model(data), data, task=task)).splitlines()
        assert len({len(line) for line in lines}) == 1
        assert len(lines[-1].split()) == 1 + len(data.task.listed)
        assert len(lines[0]) < 100


def test_errors():
    data = toy_data()
    found = evaluate(toy_model(data), data)
    with pytest.raises(InputError, match=r"names must be modalities of \['a', 'b'\], found"):
        found.outcome("x")
    with pytest.raises(InputError, match="unknown value for split 'tset'; did you mean 'test'"):
        evaluate(toy_model(data), data, split="tset")


def test_zero_has_no_sign():
    def check(value, sign, like, wanted):
        assert format_value(value, sign, like) == wanted

    check_each(
        [
            (-0.0, "", None, "0.0000"),
            (-1e-9, "", 0.5, "0.0000"),
            (-0.0, "+", None, "+0.0000"),
            (-0.0, "", 1e-5, "0.000e+00"),
            (-1e-9, "", None, "-1.000e-09"),
            (-0.25, "+", None, "-0.2500"),
            (float("nan"), "", None, "nan"),
        ],
        check,
    )
