"""Metrics against scikit-learn's, where they are not defined, and how they are found."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from counterpoise import METRICS, Classification, InputError, Metric, MultiLabel, Regression
from counterpoise.core.tasks import Sentiment, build_task


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


CLASSES = torch.arange(50) % 4
# Rounded, so that samples share their probabilities.
LOGITS = (normal(50, 4) + F.one_hot(CLASSES, 4)).round(decimals=1)
LOGITS[:10] = LOGITS[10:20]
LABELS = (normal(50, 4, seed=1) > 0.5).float()
NUMBERS = LOGITS + normal(50, 4, seed=2)
SCORES, TRUTH = 2 * LOGITS[:, :1], (NUMBERS[:, 0] * 2).clamp(-3, 3).round()
CASES = {
    "classification": (Classification(4), LOGITS, CLASSES),
    "multilabel": (MultiLabel(4), LOGITS, LABELS),
    "regression": (Regression(4), LOGITS, NUMBERS),
    "sentiment": (Sentiment(), SCORES, TRUTH),
}
LISTED = [(kind, name) for kind, (task, *_) in CASES.items() for name in task.listed]


def of_scikit_learn(kind):
    from sklearn import metrics as sk

    chances, guess = LOGITS.double().softmax(1).numpy(), LOGITS.argmax(1).numpy()
    truth, single = np.eye(4)[CLASSES], LOGITS.double().sigmoid().numpy()
    if kind == "classification":
        return {
            "accuracy": sk.accuracy_score(CLASSES, guess),
            "balanced-accuracy": sk.balanced_accuracy_score(CLASSES, guess),
            "macro-f1": sk.f1_score(CLASSES, guess, average="macro"),
            "auroc": sk.roc_auc_score(CLASSES, chances, multi_class="ovr", average="macro"),
            "average-precision": sk.average_precision_score(truth, chances, average="macro"),
            "nll": sk.log_loss(CLASSES, chances),
            "brier": ((chances - truth) ** 2).sum(1).mean(),
        }
    if kind == "multilabel":
        labels = LABELS.numpy()
        return {
            "macro-f1": sk.f1_score(labels, single > 0.5, average="macro"),
            "auroc": sk.roc_auc_score(labels, single, average="macro"),
            "average-precision": sk.average_precision_score(labels, single, average="macro"),
            "nll": np.mean([sk.log_loss(labels[:, k], single[:, k]) for k in range(4)]),
            "brier": np.mean([sk.brier_score_loss(labels[:, k], single[:, k]) for k in range(4)]),
        }
    both = NUMBERS.numpy(), LOGITS.numpy()
    return {
        "mae": sk.mean_absolute_error(*both),
        "rmse": sk.mean_squared_error(*both) ** 0.5,
        "r2": sk.r2_score(*both, multioutput="variance_weighted"),
        "corr": np.mean([np.corrcoef(both[0][:, k], both[1][:, k])[0, 1] for k in range(4)]),
    }


@pytest.mark.parametrize("kind", ["classification", "multilabel", "regression"])
def test_metrics_are_scikit_learn_s(kind):
    task, logits, target = CASES[kind]
    found, wanted = task.metrics(logits, target), of_scikit_learn(kind)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)


def test_the_area_of_two_classes_is_that_of_one_of_them():
    from sklearn.metrics import roc_auc_score

    logits, target = LOGITS[:, :2], CLASSES % 2
    wanted = roc_auc_score(target, logits.double().softmax(1)[:, 1])
    assert Classification(2).metrics(logits, target, "auroc")["auroc"] == pytest.approx(wanted)


def test_calibration_error_counts_in_fifteen_bins():
    sure = LOGITS.double().softmax(1).amax(1).numpy()
    right = (LOGITS.argmax(1) == CLASSES).numpy()
    gap = 0.0
    for k in range(15):
        inside = (sure > k / 15) & (sure <= (k + 1) / 15)
        if inside.any():
            gap += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    found = Classification(4).metrics(LOGITS, CLASSES, "ece")["ece"]
    assert found == pytest.approx(gap) and gap > 0.01
    # Certain and wrong, nearly certain and right: in the last bin, where they make up in part.
    both = torch.tensor([[1e3, 0.0], [math.log(19), 0.0]])
    found = Classification(2).metrics(both, torch.tensor([1, 0]), "ece")["ece"]
    assert found == pytest.approx((1 - 0.05) / 2)
    certain = 1e3 * F.one_hot(CLASSES, 4).float()
    assert Classification(4).metrics(certain, CLASSES, "ece")["ece"] == 0


@pytest.mark.parametrize(("kind", "name"), LISTED)
def test_the_mean_of_the_shares_is_the_metric(kind, name):
    task, logits, target = CASES[kind]
    metric = METRICS.build(name)
    share = metric.share(task, logits, target)
    assert (share is not None) == metric.has_shares
    if share is not None:
        assert share.shape == (50,)
        value = metric.value(task, logits, target)
        assert float(share.double().mean()) == pytest.approx(value, rel=1e-6)


def test_which_metrics_are_means_over_samples():
    for name in ("accuracy", "sample-f1", "label-accuracy", "nll", "brier", "mae", "acc-7"):
        assert METRICS.build(name).has_shares
    for name in ("balanced-accuracy", "macro-f1", "auroc", "average-precision", "ece", "r2"):
        assert not METRICS.build(name).has_shares


def test_each_metric_says_its_name_and_definition():
    for name, kind in METRICS.items():
        assert kind.name == name and kind.summary()
    assert set(METRICS) == {name for _, name in LISTED}


# One sample, or one class, or predictions that are all alike.
ONES = torch.ones(5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("task", "logits", "target", "undefined"),
    [
        (Classification(4), LOGITS[:1], CLASSES[:1], {"auroc", "average-precision"}),
        (Classification(4), LOGITS[:5], ONES, {"auroc", "average-precision"}),
        (Classification(4), torch.zeros(5, 4), CLASSES[:5], set()),
        (MultiLabel(4), LOGITS[:5], torch.zeros(5, 4), {"auroc", "average-precision"}),
        (MultiLabel(4), LOGITS[:5], torch.ones(5, 4), {"auroc", "average-precision"}),
        (Regression(), torch.full((5, 1), 0.1), NUMBERS[:5, 0], {"corr"}),
        (Regression(), LOGITS[:5, :1], torch.full((5,), 0.1), {"corr", "r2"}),
        (Sentiment(), LOGITS[:5, :1], torch.zeros(5), {"corr", "r2", "acc-2", "f1"}),
    ],
)
def test_what_is_not_defined_is_nan(task, logits, target, undefined):
    found = task.metrics(logits, target)
    assert {name for name, value in found.items() if math.isnan(value)} == undefined


def test_classes_that_do_not_occur_do_not_count():
    from sklearn.metrics import average_precision_score, roc_auc_score

    seen = CLASSES < 2
    found = Classification(4).metrics(LOGITS[seen], CLASSES[seen])
    chances, truth = LOGITS[seen].double().softmax(1), CLASSES[seen]
    each = [roc_auc_score(truth == k, chances[:, k]) for k in (0, 1)]
    assert found["auroc"] == pytest.approx(np.mean(each))
    each = [average_precision_score(truth == k, chances[:, k]) for k in (0, 1)]
    assert found["average-precision"] == pytest.approx(np.mean(each))
    guess = LOGITS.argmax(1)
    recall = [(guess[k == CLASSES] == k).double().mean() for k in (0, 1)]
    assert found["balanced-accuracy"] == pytest.approx(float(sum(recall) / 2))


def test_a_task_says_which_metrics():
    task = Classification(4)
    assert list(task.metrics(LOGITS, CLASSES)) == list(task.listed)
    assert list(task.metrics(LOGITS, CLASSES, "primary")) == ["accuracy"]
    assert list(task.metrics(LOGITS, CLASSES, "ece")) == ["ece"]
    assert list(task.metrics(LOGITS, CLASSES, ["nll", "brier"])) == ["nll", "brier"]
    with pytest.raises(
        InputError, match="unknown metric of classification 'acuracy'; did you mean 'acc"
    ):
        task.metrics(LOGITS, CLASSES, "acuracy")
    with pytest.raises(InputError, match="unknown metric of regression 'accuracy'"):
        Regression().with_metric("accuracy")


def test_another_primary_metric():
    plain = Classification(4)
    task = plain.with_metric("nll")
    assert task.primary == "nll" and not task.greater_is_better and task.better(0.1, 0.2)
    assert next(iter(task.metrics(LOGITS, CLASSES))) == "nll"
    assert len(task.metrics(LOGITS, CLASSES)) == len(plain.listed)
    # What methods measure stays the same, as does the task that was asked.
    assert torch.equal(task.outcome(LOGITS, CLASSES), plain.outcome(LOGITS, CLASSES))
    assert plain.primary == "accuracy" and plain.state() == plain.with_metric("accuracy").state()
    assert task.state() == {**plain.state(), "metric": "nll"}
    assert build_task(task.state()).primary == "nll"


class TopTwo(Metric):
    """Share of samples whose true class is among the two most probable."""

    name = "top-2"

    def share(self, task, logits, target):
        return (logits.topk(2).indices == target[:, None]).any(1).float()


@pytest.mark.parametrize("metric", [TopTwo, TopTwo()])
def test_a_metric_of_one_s_own(metric):
    task = Classification(4).with_metric(metric)
    found = task.metrics(LOGITS, CLASSES)
    assert task.primary == "top-2" and len(found) == len(task.listed) + 1
    assert found["accuracy"] < found["top-2"] < 1


def test_a_metric_must_be_a_metric():
    with pytest.raises(InputError, match="metric must be a subclass of Metric, found"):
        Classification(4).with_metric(Classification)
    with pytest.raises(NotImplementedError, match="defines neither share nor value"):
        Metric().value(Classification(4), LOGITS, CLASSES)


def test_a_prediction_that_is_not_a_number_leaves_no_metric() -> None:
    target = torch.arange(6) % 3
    logits = torch.eye(3)[target]
    logits[2, 1] = torch.nan
    found = Classification(3).metrics(logits, target)
    assert all(math.isnan(value) for value in found.values())
