"""Class weights and label smoothing in the loss of a task."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from counterpoise import Classification, InputError, MultiLabel, Regression
from counterpoise.core.tasks import build_task


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


TARGET = torch.tensor([0] * 12 + [1] * 6 + [2] * 2)
LOGITS = normal(20, 3)
LABELS = (normal(20, 3, seed=1) > 0.8).float()


def test_balanced_weights_are_scikit_learn_s_and_their_mean_is_one():
    from sklearn.utils.class_weight import compute_class_weight

    task = Classification(3).with_loss("balanced", target=TARGET)
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=TARGET.numpy())
    assert task.weights == pytest.approx(wanted.tolist())
    assert torch.tensor(task.weights)[TARGET].mean() == pytest.approx(1)


def test_a_class_that_is_not_trained_on_has_weight_one():
    task = Classification(4).with_loss("balanced", target=TARGET)
    assert task.weights[3] == 1
    assert torch.tensor(task.weights)[TARGET].mean() == pytest.approx(1)


@pytest.mark.parametrize("weights", [{"b": 1, "a": 3, "c": 0}, [3, 1, 0]])
def test_given_weights_are_scaled_to_a_mean_of_one(weights):
    task = Classification(3, ("a", "b", "c")).with_loss(weights, target=TARGET)
    mean = (12 * 3 + 6) / 20
    assert task.weights == pytest.approx((3 / mean, 1 / mean, 0))


def test_the_loss_is_weighted_by_class_and_pytorch_s_up_to_its_scale():
    task = Classification(3).with_loss("balanced", target=TARGET)
    weights = torch.tensor(task.weights)
    loss = task.loss(LOGITS, TARGET)
    plain = F.cross_entropy(LOGITS, TARGET, reduction="none")
    torch.testing.assert_close(loss, weights[TARGET] * plain)
    # Over the whole training split PyTorch's weighted mean is our plain one.
    torch.testing.assert_close(loss.mean(), F.cross_entropy(LOGITS, TARGET, weights))


def test_smoothing_spreads_the_target():
    task = Classification(3, smoothing=0.3)
    soft = 0.7 * F.one_hot(TARGET, 3) + 0.1
    torch.testing.assert_close(task.loss(LOGITS, TARGET), -(soft * LOGITS.log_softmax(1)).sum(1))
    several = MultiLabel(3, smoothing=0.2)
    soft = torch.where(LABELS > 0, 0.9, 0.1)
    wanted = F.binary_cross_entropy_with_logits(LOGITS, soft, reduction="none").mean(1)
    torch.testing.assert_close(several.loss(LOGITS, LABELS), wanted)


def test_labels_are_weighted_where_they_are_one():
    task = MultiLabel(3).with_loss("balanced", target=LABELS)
    ratio = (1 - LABELS).sum(0) / LABELS.sum(0)
    assert task.weights == pytest.approx(ratio.tolist())
    wanted = F.binary_cross_entropy_with_logits(LOGITS, LABELS, pos_weight=ratio)
    torch.testing.assert_close(task.loss(LOGITS, LABELS).mean(), wanted)
    rare = LABELS.clone()
    rare[:, 0] = 0  # never true
    assert MultiLabel(3).with_loss("balanced", target=rare).weights[0] == 1
    own = MultiLabel(3, ("a", "b", "c")).with_loss({"a": 1, "b": 2, "c": 3}, target=LABELS)
    assert own.weights == (1, 2, 3)


@pytest.mark.parametrize(("task", "target"), [(Classification(3), TARGET), (MultiLabel(3), LABELS)])
def test_metrics_and_scores_know_nothing_of_weights(task, target):
    made = task.with_loss("balanced", 0.2, target).with_metric("nll")
    assert made.metrics(LOGITS, target) == task.with_metric("nll").metrics(LOGITS, target)
    assert torch.equal(made.score(LOGITS, target), task.score(LOGITS, target))
    assert not torch.equal(made.loss(LOGITS, target), task.loss(LOGITS, target))
    assert torch.equal(made.nll(LOGITS, target), task.loss(LOGITS, target))


def test_state_holds_what_was_chosen_and_nothing_else():
    task = Classification(3)
    assert task.state() == {"task": "classification", "outputs": 3}
    made = task.with_loss([2, 1, 1], 0.1, TARGET)
    again = build_task(made.state())
    assert again.weights == made.weights and again.smoothing == 0.1
    assert again.state() == made.state() != task.state()
    kept = made.with_loss(smoothing=0.2)
    assert kept.weights == made.weights and kept.smoothing == 0.2
    assert made.with_loss("balanced", target=TARGET).smoothing == 0.1


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1, "b": 1}, "class_weights must name every class, found none for c"),
        ({"a": 1, "b": 1, "d": 1}, "unknown class in class_weights 'd'"),
        ([1, 2], "class_weights must hold a number for each of the 3 classes, found 2"),
        ([1, 2, -1], "class_weights must be a number from 0 to 1e.09, found -1"),
        ([1, 2, float("nan")], "class_weights must be a number from 0 to 1e.09, found nan"),
        ([0, 0, 0], "class_weights must not be 0 for every class of the training samples"),
        ("balance", "unknown value for class_weights 'balance'; did you mean 'balanced'"),
    ],
)
def test_weights_that_do_not_fit(weights, message):
    with pytest.raises(InputError, match=message):
        Classification(3, ("a", "b", "c")).with_loss(weights, target=TARGET)


def test_other_mistakes():
    with pytest.raises(InputError, match="need a task of classes or labels, found regression"):
        Regression().with_loss("balanced", target=normal(5))
    with pytest.raises(InputError, match="smoothing must be a number from 0 and below 1, found 1"):
        Classification(3, smoothing=1.0)
    with pytest.raises(InputError, match=r"smoothing must be a number from 0 and below 1"):
        Classification(3, smoothing=-0.1)
    with pytest.raises(InputError, match="weights must hold 3 numbers, found 2"):
        Classification(3, weights=[1, 2])
    with pytest.raises(InputError, match="target must hold the targets of the training split"):
        Classification(3).with_loss([1, 2, 3])
