"""Tasks: losses, scores, outcomes and metrics against their definitions."""

import math

import pytest
import torch
from torch.nn import functional as F

from counterpoise import Classification, InputError, MultiLabel, Regression
from counterpoise.core.tasks import Sentiment, build_task


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


LOGITS, CLASSES = normal(30, 4), torch.arange(30) % 4


def test_classification_loss_is_cross_entropy_of_each_sample():
    loss = Classification(4).loss(LOGITS, CLASSES)
    assert loss.shape == (30,)
    torch.testing.assert_close(loss.mean(), F.cross_entropy(LOGITS, CLASSES))


def test_classification_score_is_the_confidence_in_the_true_class():
    score = Classification(4).score(LOGITS, CLASSES)
    wanted = torch.stack([LOGITS[i].softmax(0)[CLASSES[i]] for i in range(30)])
    torch.testing.assert_close(score, wanted)


def test_classification_metrics():
    guess = torch.tensor([0, 0, 1, 1, 2])
    truth = torch.tensor([0, 1, 1, 1, 0])
    metrics = Classification(4).metrics(20 * F.one_hot(guess, 4).float(), truth)
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics["macro-f1"] == pytest.approx((1 / 2 + 4 / 5 + 0) / 3)
    assert metrics["nll"] == pytest.approx(2 / 5 * 20, abs=1e-5)


@pytest.mark.parametrize(
    ("task", "logits", "target"),
    [
        (Classification(4), LOGITS, CLASSES),
        (Regression(), LOGITS[:, :1], normal(30, seed=1)),
        (Regression(4, loss="l1"), LOGITS, normal(30, 4, seed=1)),
    ],
)
def test_the_mean_outcome_is_the_primary_metric(task, logits, target):
    outcome = task.outcome(logits, target)
    assert outcome.shape == (30,)
    assert float(outcome.mean()) == pytest.approx(task.metrics(logits, target)[task.primary])


@pytest.mark.parametrize(("kind", "wanted"), [("mse", F.mse_loss), ("l1", F.l1_loss)])
@pytest.mark.parametrize("outputs", [1, 3])
def test_regression_loss(kind, wanted, outputs):
    logits, target = normal(20, outputs), normal(20, outputs, seed=1)
    loss = Regression(outputs, loss=kind).loss(logits, target)
    assert loss.shape == (20,)
    torch.testing.assert_close(loss.mean(), wanted(logits, target))


def test_a_flat_target_never_broadcasts():
    logits, target = normal(20, 1), normal(20, seed=1)
    task = Regression()
    torch.testing.assert_close(task.loss(logits, target), (logits[:, 0] - target).square())
    assert torch.equal(task.score(logits, target), -(logits[:, 0] - target).abs())
    assert task.metrics(logits, target) == task.metrics(logits, target[:, None])


def test_regression_metrics():
    target = torch.tensor([1.0, 2.0, 3.0])
    metrics = Regression().metrics(torch.tensor([[1.0], [2.0], [6.0]]), target)
    assert metrics["mae"] == pytest.approx(1)
    assert metrics["rmse"] == pytest.approx(math.sqrt(3))
    assert metrics["r2"] == pytest.approx(1 - 9 / 2)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_r2_of_a_constant_target_is_not_defined(value):
    assert math.isnan(Regression().metrics(normal(7, 1), torch.full((7,), value))["r2"])


def test_a_higher_score_is_a_better_prediction():
    target = torch.zeros(1)
    near, far = torch.tensor([[0.1]]), torch.tensor([[2.0]])
    assert Regression().score(near, target) > Regression().score(far, target)
    sure, unsure = torch.tensor([[3.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    zero = torch.zeros(1, dtype=torch.int64)
    assert Classification(2).score(sure, zero) > Classification(2).score(unsure, zero)


def test_better_follows_the_direction_of_the_metric_and_nan_never_is():
    assert Classification(2).better(0.9, 0.8) and not Classification(2).better(0.8, 0.8)
    assert Regression().better(0.8, 0.9) and not Regression().better(0.9, 0.9)
    for task in (Classification(2), Regression()):
        assert not task.better(math.nan, 0.5)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 3]), r"0\.\.2 \(3 classes\), found 3"),
        (torch.tensor([0, -1]), r"0\.\.2 \(3 classes\), found -1"),
        (torch.tensor([0.0, 1.0]), "one class number per sample"),
        (torch.tensor([True]), "one class number per sample"),
        (torch.tensor([[0]]), "one class number per sample"),
    ],
)
def test_targets_that_are_no_classes(target, message):
    with pytest.raises(InputError, match=message):
        Classification(3).check(target)


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (Regression(), torch.tensor([1]), r"must be float \[N, 1\]"),
        (Regression(2), torch.zeros(3), r"must be float \[N, 2\]"),
        (Regression(2), torch.zeros(3, 1), r"must be float \[N, 2\]"),
        (Regression(), torch.tensor([0.0, math.nan]), "finite, found nan in row 1"),
        (Regression(), torch.tensor([math.inf]), "finite, found inf in row 0"),
    ],
)
def test_targets_that_are_no_numbers(task, target, message):
    with pytest.raises(InputError, match=message):
        task.check(target)


LABELS = (normal(30, 4, seed=1) > 0.3).float()
LABELS[0], LABELS[1] = 0, 1


def test_several_labels_loss_score_and_entropy_are_means_over_labels():
    task, p = MultiLabel(4), LOGITS.double().sigmoid()
    true = torch.where(LABELS > 0, p, 1 - p)
    logits, labels = LOGITS.double(), LABELS.double()
    torch.testing.assert_close(task.loss(logits, labels), -true.log().mean(1))
    torch.testing.assert_close(task.score(logits, labels), true.mean(1))
    wanted = -(p * p.log() + (1 - p) * (1 - p).log()).mean(1)
    torch.testing.assert_close(task.entropy(logits), wanted)
    sure = task.entropy(torch.tensor([[1e4, -1e4]]))
    assert torch.equal(sure, torch.zeros(1))


def test_several_labels_metrics_are_scikit_learn_s():
    from sklearn.metrics import f1_score

    task, guess = MultiLabel(4), (LOGITS > 0).numpy()
    metrics = task.metrics(LOGITS, LABELS)
    truth = LABELS.numpy() > 0
    samples = f1_score(truth, guess, average="samples", zero_division=1.0)
    assert metrics["sample-f1"] == pytest.approx(samples)
    assert metrics["macro-f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert metrics["label-accuracy"] == pytest.approx((truth == guess).mean())
    assert float(task.outcome(LOGITS, LABELS).mean()) == pytest.approx(samples)
    nothing = task.metrics(-torch.ones(3, 4), torch.zeros(3, 4))
    assert (nothing["sample-f1"], nothing["macro-f1"]) == (1, 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 1]), r"0 or 1 for each label \(float \[N, 4\]\)"),
        (torch.zeros(3, 3), r"found torch.float32 \[3, 3\]"),
        (torch.full((3, 4), 2.0), "found 2.0"),
        (torch.full((3, 4), math.nan), "found nan"),
    ],
)
def test_targets_that_are_no_labels(target, message):
    with pytest.raises(InputError, match=message):
        MultiLabel(4).check(target)


def test_entropy_is_refused_where_nothing_is_a_chance():
    with pytest.raises(InputError, match="regression predicts no chances"):
        Regression().entropy(LOGITS)


def test_targets_that_fit():
    MultiLabel(4).check(LABELS)
    Classification(3).check(torch.tensor([0, 2, 1]))
    Regression().check(torch.zeros(3))
    Regression().check(torch.zeros(3, 1))
    Regression(2).check(torch.zeros(3, 2))


def test_constructor_errors():
    with pytest.raises(InputError, match="classes must be a whole number from 2"):
        Classification(1)
    with pytest.raises(InputError, match="must hold 3 class names, found 1"):
        Classification(3, ("a",))
    with pytest.raises(InputError, match="labels must be a whole number from 2"):
        MultiLabel(1)
    with pytest.raises(InputError, match="must hold 3 label names, found 1"):
        MultiLabel(3, ("a",))
    with pytest.raises(InputError, match="unknown value for loss 'l2'"):
        Regression(loss="l2")


def test_sentiment_metrics_are_scikit_learn_s():
    from sklearn.metrics import accuracy_score, f1_score

    generator = torch.Generator().manual_seed(0)
    truth = (torch.randn(60, generator=generator) * 2).clamp(-3, 3).round(decimals=1)
    truth[:6] = 0
    guess = (truth + torch.randn(60, generator=generator)) * 1.5
    guess[:3] = 0
    found = Sentiment().metrics(guess[:, None], truth)
    sure = truth != 0
    signs = (truth[sure] > 0).numpy(), (guess[sure] > 0).numpy()
    assert found["acc-2"] == pytest.approx(accuracy_score(*signs))
    assert found["f1"] == pytest.approx(f1_score(*signs, average="weighted"))
    # Weighted by what is true, not by what is predicted.
    assert found["f1"] != pytest.approx(f1_score(*signs[::-1], average="weighted"), abs=1e-3)
    wide = (truth >= 0).numpy(), (guess >= 0).numpy()
    assert found["acc-2-neutral"] == pytest.approx(accuracy_score(*wide))
    sevens = truth.round().int().numpy(), guess.clamp(-3, 3).round().int().numpy()
    assert found["acc-7"] == pytest.approx(accuracy_score(*sevens))
    assert found["corr"] == pytest.approx(float(torch.corrcoef(torch.stack([guess, truth]))[0, 1]))
    assert found["mae"] == pytest.approx(float((guess - truth).abs().mean()))


def test_sentiment_is_an_absolute_error_and_comes_back_from_its_state():
    task = build_task(Sentiment().state())
    assert type(task) is Sentiment and task.state() == Sentiment().state()
    assert task.loss(torch.tensor([[2.0]]), torch.tensor([-1.0])).tolist() == [3.0]
    for guess, truth in (([1.0], [0.0]), ([1.0, 1.0], [0.0, 0.0]), ([0.0, 0.0], [1.0, 2.0])):
        found = task.metrics(torch.tensor(guess)[:, None], torch.tensor(truth))
        assert math.isnan(found["corr"])  # one of them is constant
        assert all(math.isfinite(found[name]) for name in ("mae", "rmse", "acc-2-neutral", "acc-7"))
        assert math.isnan(found["acc-2"]) == math.isnan(found["f1"]) == (truth[0] == 0)
    with pytest.raises(InputError, match="outputs of a sentiment must be 1, found 2"):
        Sentiment(2)


# --- a regression standardises its target ---------------------------------------------------------


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_a_fitted_regression_learns_standard_units(loss, outputs):
    target = normal(50, outputs).double() * torch.tensor([3.0, 40.0, 0.5])[:outputs] + 7
    target = target.float()
    plain, fitted = Regression(outputs, loss=loss), Regression(outputs, loss=loss).fit(target)
    mean, scale = target.double().mean(0), target.double().std(0, unbiased=False)
    assert fitted.mean == pytest.approx(mean.tolist()) and type(fitted.mean[0]) is float
    assert fitted.scale == pytest.approx(scale.tolist())
    logits = normal(50, outputs, seed=1)
    standard = ((target - mean) / scale).float()
    torch.testing.assert_close(fitted.loss(logits, target), plain.loss(logits, standard))
    torch.testing.assert_close(fitted.score(logits, target), plain.score(logits, standard))
    torch.testing.assert_close(fitted.outcome(logits, target), plain.outcome(logits, standard))
    torch.testing.assert_close(fitted.decode(logits), (logits * scale + mean).float())
    torch.testing.assert_close(fitted.decode(standard), target)
    assert float(fitted.loss(standard, target).max()) < 1e-10 or loss == "l1"
    found = fitted.metrics(fitted.decode(logits), target)
    assert found == pytest.approx(plain.metrics((logits * scale + mean).float(), target))
    # What was not fitted is as ever, to the bit and in the record.
    assert plain.decode(logits) is logits
    assert set(plain.state()) == {"task", "outputs", "loss"}
    again = build_task(fitted.state())
    assert again.state() == fitted.state() and fitted.fit(target[:9]) is fitted
    assert torch.equal(again.loss(logits, target), fitted.loss(logits, target))


def test_what_a_regression_is_given_it_does_not_fit():
    target = normal(30)
    given = Regression(mean=2.0, scale=[0.5])
    assert given.fit(target) is given and given.state()["mean"] == [2.0]
    half = Regression(mean=0).fit(target)
    assert half.mean == [0.0] and half.scale == pytest.approx([float(target.std(correction=0))])
    assert Regression().fit(torch.full((9,), 4.0)).scale == [1.0]  # constant
    assert Regression().fit(torch.full((9,), 0.1)).mean == pytest.approx([0.1])
    assert Sentiment().fit(target + 5).state() == Sentiment().state()
    assert "mean" not in Regression(mean=0, scale=1).state()
    for options, message in (
        ({"scale": 0.0}, "scale must be a number above 0, found 0.0"),
        ({"scale": [1.0, 1.0]}, "scale must hold 1 numbers, found 2"),
        ({"mean": math.nan}, "mean must be a number"),
        ({"mean": "x"}, "mean must be a number"),
    ):
        with pytest.raises(InputError, match=message):
            Regression(**options)


def test_a_subclass_with_a_loss_of_its_own_is_left_alone():
    class Huber(Regression):
        def loss(self, logits, target):
            return F.huber_loss(logits[:, 0], target, reduction="none")

    assert Huber().fit(normal(30) * 9).state() == Huber().state()
