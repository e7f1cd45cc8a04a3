"""Confidence from an evaluation to answers: what it promises holds for each subset and class."""

import json

import numpy as np
import pytest
import torch
from deploy.confidence.evaluations import make_evaluation, mask, toy, toy_labels, toy_numbers
from folded import check_each
from toy import toy_data, toy_model

from counterpoise import Classification, InputError, evaluate
from counterpoise.core.metrics import ECE
from counterpoise.core.strict_json import to_json
from counterpoise.deploy.confidence import Confidence, conformal, remarks
from counterpoise.deploy.confidence.conformal import Scores
from counterpoise.evaluation import choose_subsets, present_name

NAMES = ("a", "b")
SUBSETS = (("a", "b"), ("a",), ("b",))
NEW = toy(1500, 999, factor=3)


def ask(made, found, subset):
    """Chances and masks of the rows of one subset."""
    here = mask(subset, made.modalities, len(found.logits[subset]))
    return made.chances(found.logits[subset], here), here


def mean_coverages(coverage, draws=80):
    """[subsets, classes] of new rows, over many validation splits of 15 measured rows a class."""
    total = np.zeros((3, 3))
    for seed in range(draws):
        made = Confidence.fit(toy(90, seed, factor=3))
        for k, subset in enumerate(SUBSETS):
            chances, here = ask(made, NEW, subset)
            held = made.sets(chances, here, coverage).gather(1, NEW.target[:, None])[:, 0]
            total[k] += [float(held[NEW.target == c].float().mean()) for c in range(3)]
    return total / draws


def test_sets_hold_the_truth_as_often_as_asked_for_each_subset_and_class():
    """Between 0.8 and 1 / 16 more, within three standard errors of the draws and the new rows."""
    error = 3 * (0.16 / 15 / 80 + 0.16 / 500) ** 0.5
    found = mean_coverages(0.8)
    assert (found > 0.8 - error).all() and (found < 0.8 + 1 / 16 + error).all()
    assert 0.8 - error / 3 < found.mean() < 0.8 + 1 / 16 + error / 3


def test_the_plain_quantile_would_fail(monkeypatch):
    monkeypatch.setattr(
        conformal, "find_rank", lambda n, c: np.ceil(np.round(n * c, 9)).astype(np.int64)
    )
    assert mean_coverages(0.8, 40).mean() < 0.78


def test_one_limit_for_all_classes_would_fail():
    """A class that is hard and rare is held less often than asked, but for limits of its own."""
    shares = (0.6, 0.3, 0.1)
    made = Confidence.fit(toy(4000, 0, shares=shares))
    new = toy(20000, 1, shares=shares)
    chances, here = ask(made, new, ("b",))
    rare = new.target == 2
    own = made.sets(chances, here, 0.9)[rare][:, 2].float().mean()
    scores = 1 - chances.gather(1, new.target[:, None])[:, 0]
    together = (1 - chances[rare][:, 2] <= scores.quantile(0.9)).float().mean()
    assert 0.85 < own < 0.95 and together < 0.7


def test_intervals_hold_the_truth_as_often_as_asked():
    """For each output and subset; those with b alone are twice as wide."""
    new, total, draws = toy_numbers(2000, 999), np.zeros((3, 2)), 60
    for seed in range(draws):
        made = Confidence.fit(toy_numbers(38, seed))
        for k, subset in enumerate(SUBSETS):
            values, here = ask(made, new, subset)
            assert values is new.logits[subset]
            low, high = made.sets(values, here, 0.9).unbind(2)
            total[k] += ((low <= new.target) & (new.target <= high)).double().mean(0).numpy()
    assert (np.abs(total / draws - 0.9) < 3 * (0.09 / 19 / draws) ** 0.5 + 0.01).all()
    made = Confidence.fit(toy_numbers(2000, 0))
    width = {}
    for subset in SUBSETS:
        values, here = ask(made, new, subset)
        low, high = made.sets(values, here, 0.9).unbind(2)
        torch.testing.assert_close((low + high) / 2, values, atol=1e-5, rtol=1e-5)
        width[subset] = float((high - low).mean())
    assert width["b",] == pytest.approx(2 * width["a",], rel=0.1)
    assert width["a",] == pytest.approx(2 * 1.645, rel=0.1)


def test_chances_are_calibrated_for_each_subset():
    """Of logits that are three times too large, whichever modalities a row has."""
    made = Confidence.fit(toy(2000, 0, factor=3))
    for subset in SUBSETS:
        chances, here = ask(made, NEW, subset)
        assert made.temperature(here)[0] == pytest.approx(3, rel=0.15)
        logits, target = NEW.logits[subset], NEW.target
        before, after = (ECE().value(NEW.task, z, target) for z in (logits, chances.log()))
        assert after < 0.04 and before > 2.5 * after
        nll = [float(NEW.task.nll(z, target).mean()) for z in (logits, chances.log())]
        assert nll[1] < nll[0]
    labels = toy_labels(3000, 1, factor=3)
    made = Confidence.fit(labels)
    chances = made.chances(labels.logits["a",], torch.ones(3000, 1, dtype=torch.bool))
    torch.testing.assert_close(chances, (labels.logits["a",] / made.table[1]).float().sigmoid())
    assert made.table[1] == pytest.approx(3, rel=0.1)


def test_subsets_have_temperatures_of_their_own():
    """Rows of one batch with different modalities are each divided by their own."""
    found = toy(1000, 0)
    found.logits["b",].mul_(5)
    made = Confidence.fit(found)
    here = torch.tensor([[True, True], [False, True], [True, False], [False, False]])
    heat = made.temperature(here).tolist()
    assert heat == [made.table[3], made.table[2], made.table[1], 1]
    assert heat[1] == pytest.approx(5 * heat[2], rel=0.2)
    logits = torch.randn(4, 3)
    for row in range(4):
        alone = made.chances(logits[row : row + 1], here[row : row + 1])
        torch.testing.assert_close(alone, (logits[row] / heat[row]).float().softmax(0)[None])
        torch.testing.assert_close(alone[0], made.chances(logits, here)[row])


def test_answers_are_as_accurate_as_asked():
    """In nine of ten calibrations; without the second half, those that calibrate would do."""
    broken = dict.fromkeys(SUBSETS, 0)
    for seed in range(60):
        made = Confidence.fit(toy(300, seed, factor=3))
        for subset in SUBSETS:
            chances, here = ask(made, NEW, subset)
            kept = made.keeps(chances, here, 0.8)
            right = (chances.argmax(1) == NEW.target)[kept].float()
            broken[subset] += bool(kept.any()) and float(right.mean()) < 0.8
    # 6 of 60 are expected at most; more than 13 in one of a thousand of such draws.
    assert max(broken.values()) <= 13


def test_what_is_said_of_answers_is_what_is_kept():
    """On the very rows that were measured, when these are a set that the user names."""
    named = toy(500, 5, factor=2)
    made = Confidence.fit(toy(500, 4, factor=2), thresholds=named)
    said = made.answers(0.8)
    assert set(said) == {"a+b", "a", "b"}
    for subset in SUBSETS:
        chances, here = ask(made, named, subset)
        kept = made.keeps(chances, here, 0.8)
        found = said[present_name(subset)]
        assert found.rows == 500 and found.share == float(kept.double().mean())
        right = (chances.argmax(1) == named.target)[kept].double().mean()
        assert found.threshold is not None and found.accuracy == pytest.approx(float(right))
        assert torch.equal(kept, chances.amax(1) >= found.threshold)
    assert made.answers(0.5)["a+b"].share == 1
    least = made.answers(0.9999)["b"]
    assert least.threshold is None and least.share == 0 and least.accuracy is None
    chances, here = ask(made, named, ("b",))
    assert not made.keeps(chances, here, 0.9999).any()
    assert any("so every row is withheld: a, b" in line for line in made.notes(accuracy=0.9999))


def test_limits_are_those_of_calibrated_chances():
    """Of the measured rows of a class, exactly the k-th smallest score and those below are held."""
    named, calibrating = toy(900, 5, factor=2), toy(900, 4, factor=2)
    for found in (named, calibrating):
        found.logits["b",].mul_(5)
    made = Confidence.fit(calibrating, thresholds=named)
    for subset in SUBSETS:
        chances, here = ask(made, named, subset)
        held = made.sets(chances, here, 0.9).gather(1, named.target[:, None])[:, 0]
        assert [int(held[named.target == k].sum()) for k in range(3)] == [271] * 3  # of 300


def test_one_half_calibrates_and_the_other_measures():
    """What the second half holds changes no temperature, nor the first half what was measured."""
    found = toy(400, 0)
    made = Confidence.fit(found)
    second = torch.from_numpy(
        np.isin(np.arange(400), np.flatnonzero(_second_half(found)), assume_unique=True)
    )
    changed = {s: torch.where(second[:, None], -z, z) for s, z in found.logits.items()}
    other = Confidence.fit(make_evaluation(found.task, changed, found.target))
    assert other.temperatures == made.temperatures
    assert other.answers(0.6) != made.answers(0.6)
    assert made.answers(0.6)["a"].rows == int(second.sum()) == 200
    assert Confidence.fit(found, seed=1).temperatures != made.temperatures


def _second_half(found):
    from counterpoise.deploy.confidence.halves import halve

    return halve(found.task, found.target, None, 0)


def test_groups_stay_in_one_half():
    """With one group, nothing is left to measure: it is said, and nothing is promised."""
    found = toy(200, 0)
    groups = torch.arange(200) // 10
    made = Confidence.fit(found, groups)
    assert made.state() != Confidence.fit(found).state()
    assert Confidence.fit(found, torch.arange(200)).answers(0.5)["a"].rows in (99, 100)
    alone = Confidence.fit(found, torch.zeros(200))
    assert alone.temperatures[1][1] == 200
    assert "fewer than two samples or groups" in alone.notes()[0]
    chances, here = ask(alone, found, ("a",))
    assert not alone.keeps(chances, here, 0.1).any()
    assert alone.sets(chances, here, 0.5).all()


def test_rows_that_cannot_be_judged_get_everything_and_are_withheld():
    """Without a modality, with a subset that validation lacks, or with chances of NaN."""
    present = torch.ones(300, 2, dtype=torch.bool)
    present[:, 1] = torch.arange(300) % 2 > 0
    present[:, 0] = ~present[:, 1]
    made = Confidence.fit(toy(300, 0, factor=2, present=present))  # never both
    here = torch.tensor([[True, True], [False, False], [True, False], [True, False]])
    logits = torch.tensor([[9.0, 0, 0]] * 3 + [[torch.nan] * 3])
    chances = made.chances(logits, here)
    assert made.keeps(chances, here, 0.5).tolist() == [False, False, True, False]
    assert made.sets(chances, here, 0.5).all(1).tolist() == [True, True, False, True]
    assert made.temperature(here)[0] == pytest.approx((made.table[1] * made.table[2]) ** 0.5)
    assert made.notes() == [
        "fewer than 20 calibrating rows, so the temperature of the nearest subsets: a+b (0 rows)"
    ]
    assert made.notes(accuracy=0.5)[1].endswith("so every row is withheld: a+b")
    assert made.notes(coverage=0.5)[1].endswith("so sets hold every class: a+b")
    numbers = Confidence.fit(toy_numbers(60, 0))
    values = torch.tensor([[0.0, torch.nan], [0.0, 0.0]])
    found = numbers.sets(values, torch.tensor([[True, True], [False, False]]), 0.8)
    assert found.isinf().tolist() == [[[False] * 2, [True] * 2], [[True] * 2] * 2]
    assert not found.isnan().any()


def test_small_classes_are_pooled_and_that_is_said():
    """10 rows of 1200 are too few for 0.9 of a class; two such classes are not."""
    found = toy(1200, 0, classes=4, shares=(0.488, 0.488, 0.012, 0.012))
    made = Confidence.fit(found)
    lines = made.notes(coverage=0.9)
    assert len(lines) == 1 and lines[0].startswith("too few rows of some classes for coverage 0.9")
    assert lines[0].endswith("together: classes 2, 3 (with a, b, a+b)")
    task = Classification(4, ("no", "yes", "ill", "dead"))
    named = Confidence.from_state(task, NAMES, made.state())
    assert named.notes(coverage=0.9)[0].endswith(": classes ill, dead (with a, b, a+b)")
    assert made.notes(coverage=0.5) == []
    assert "so sets hold every class: a, b, a+b" in made.notes(coverage=0.9999)[0]


def test_subsets_that_pool_the_same_classes_stand_together():
    """The last two subsets lack rows of class 0; where all are too few, that is said by itself."""
    rows = np.array([[0, 0, 0], [20, 5, 5], [20, 5, 5], [5, 20, 5], [1, 1, 1]])
    cells = np.repeat(np.arange(rows.size), rows.reshape(-1))
    scores = Scores.of(cells, np.zeros(len(cells), dtype=np.float32), rows.shape)
    lacking, pooled = remarks.on_sets(["", *"abcd"], scores, 0.9, Classification(3))
    assert lacking.endswith("so sets hold every class: d")
    assert pooled.endswith("together: classes 1, 2 (with a, b); classes 0, 2 (with c)")


def test_temperatures_are_listed_as_they_are_applied():
    """Few rows of both give a temperature that is not used; a row with few of everything gets 1."""
    present = torch.ones(300, 2, dtype=torch.bool)
    present[8:, 1] = torch.arange(292) % 2 > 0
    present[8:, 0] = ~present[8:, 1]
    made = Confidence.fit(toy(300, 0, factor=2, present=present))
    found = made.list_temperatures()
    masks = {"a": [True, False], "b": [False, True], "a+b": [True, True]}
    assert set(found) == set(masks)
    for name, here in masks.items():
        assert found[name].value == float(made.temperature(torch.tensor([here])))
        assert found[name].own is (name != "a+b")
    place = made.places.number("a+b")
    value, rows = made.temperatures[place]
    assert found["a+b"].rows == rows < 20 and found["a+b"].value != value
    few = Confidence.fit(toy(20, 0, factor=2)).list_temperatures()
    assert {(each.value, each.own) for each in few.values()} == {(1.0, False)}


def test_notes_say_how_many_modalities_are_meant():
    """Of many modalities places are numbers; one row is no rows."""
    names = tuple("abcdefg")
    notes = Confidence.fit(draw_seven(24, 0, names)).notes(coverage=0.7, accuracy=0.9)
    assert any("any 1 modality" in line for line in notes)
    assert any("any 6 modalities, all 7 modalities" in line for line in notes)
    lines = remarks.on_temperatures(["", "a", "b", "c"], {1: 1, 2: 2, 3: 30}, 20)
    assert lines[0].endswith(": a (1 row), b (2 rows)")


def test_above_six_modalities_subsets_of_one_size_share_everything():
    """Coverage and accuracy hold over the rows and the subsets that were drawn."""
    names = tuple("abcdefg")
    found, new = (draw_seven(rows, seed, names) for rows, seed in ((600, 0), (2000, 1)))
    made = Confidence.fit(found)
    assert set(made.state()["temperature"]) == set("1234567")
    assert made.state()["temperature"]["3"]["rows"] == 300
    assert made.answers(0.6)["3"].rows == 300
    held = {1: [], 3: [], 7: []}
    for seed in range(2, 6):
        drawn = Confidence.fit(draw_seven(600, seed, names))
        for subset in new.logits:
            if len(subset) in held:
                chances, here = ask(drawn, new, subset)
                assert drawn.temperature(here)[0] == pytest.approx(3, rel=0.3)
                sets = drawn.sets(chances, here, 0.9)
                held[len(subset)].append(float(sets.gather(1, new.target[:, None]).float().mean()))
    for found in held.values():
        assert np.mean(found) == pytest.approx(0.9, abs=0.03)  # three standard errors


def draw_seven(rows, seed, names):
    """An evaluation of some subsets of seven modalities, each of which says little."""
    whole = toy(rows, seed, names=names, factor=3, distance=0.7)
    some = {s: whole.logits[s] for s in choose_subsets(names)}
    return make_evaluation(whole.task, some, whole.target)


def test_states_are_exact_and_strict_json():
    """Also for a model whose modalities stand in another order."""

    def check(found):
        made = Confidence.fit(found)
        text = json.dumps(made.state(), allow_nan=False)
        assert to_json(made.state()) == text
        again = Confidence.from_state(found.task, found.modalities, json.loads(text))
        assert again.state() == made.state()
        for subset in found.logits:
            chances, here = ask(made, found, subset)
            assert torch.equal(again.chances(found.logits[subset], here), chances)
            if made.scores is not None:
                for coverage in (0.5, 0.83, 0.99):
                    sets = made.sets(chances, here, coverage)
                    assert torch.equal(again.sets(chances, here, coverage), sets)
            if made.steps is not None:
                kept = made.keeps(chances, here, 0.7)
                assert torch.equal(again.keeps(chances, here, 0.7), kept)
                turned = Confidence.from_state(found.task, found.modalities[::-1], made.state())
                assert torch.equal(turned.keeps(chances, here.flip(1), 0.7), kept)

    check_each([toy(300, 0), toy_numbers(100, 0), toy_labels(100, 0), toy(2, 0)], check)


def test_without_validation_nothing_is_promised():
    made = Confidence.unfitted(Classification(3), NAMES)
    again = Confidence.from_state(made.task, NAMES, json.loads(to_json(made.state())))
    for each in (made, again):
        assert not each.fitted
        chances, here = ask(each, NEW, ("a",))
        torch.testing.assert_close(chances, NEW.logits["a",].softmax(1))
        assert each.notes() == ["nothing was calibrated: chances are as the model gives them"]
        with pytest.raises(InputError, match="accuracy needs a model that was calibrated on vali"):
            each.keeps(chances, here, 0.9)
        with pytest.raises(InputError, match="coverage needs a model that was calibrated on vali"):
            each.sets(chances, here, 0.9)


def test_errors():
    made = Confidence.fit(toy(100, 0))
    chances, here = ask(made, NEW, ("a",))

    def check(call, said):
        with pytest.raises(InputError, match=said):
            call()

    labels, numbers = Confidence.fit(toy_labels(60, 0)), Confidence.fit(toy_numbers(60, 0))
    one = torch.ones(1, 1, dtype=torch.bool)
    state = made.state()
    check_each(
        [
            (lambda: made.keeps(chances, here, 1), "accuracy must be a number above 0 and below 1"),
            (lambda: made.sets(chances, here, 0), "coverage must be a number above 0 and below 1"),
            (lambda: made.sets(chances, here, "x"), "coverage must be a number"),
            (lambda: labels.keeps(chances, one, 0.9), "one class of several, found multilabel"),
            (lambda: labels.sets(chances, one, 0.9), "or of numbers, found multilabel; leave it"),
            (lambda: numbers.keeps(chances, here, 0.9), "class of several, found regression"),
            (lambda: made.chances(chances, here[:, :1]), r"present must be bool \[N, 2\]"),
            (
                lambda: Confidence.fit(toy(60, 0), thresholds=toy(60, 0, names=("a", "c"))),
                r"thresholds must be of the same modalities .*\(a, b\), found a, c",
            ),
            (
                lambda: Confidence.fit(toy(60, 0), thresholds=toy(60, 0, classes=4)),
                "thresholds must be of the same task",
            ),
            (
                lambda: Confidence.from_state(made.task, NAMES, {**state, "version": 2}),
                "confidence must be of version 1, found 2",
            ),
            (
                lambda: Confidence.from_state(made.task, ("a", "c"), state),
                "unknown subset of the modalities 'b'",
            ),
            (
                lambda: Confidence.from_state(
                    made.task, NAMES, {k: v for k, v in state.items() if k != "temperature"}
                ),
                "confidence is damaged: KeyError",
            ),
        ],
        check,
    )


def test_a_model_is_calibrated_from_its_evaluation():
    """With missing modalities and all; a modality of the model that the data lack is a column."""
    data = toy_data(2, missing=0.3, samples=300)
    found = evaluate(toy_model(data), data, split="validation")
    made = Confidence.fit(found, data.validation.groups)
    rows = {name: each["rows"] for name, each in made.state()["temperature"].items()}
    present = data.validation.present
    both = int((present["a"] & present["b"]).sum())
    assert rows["a+b"] == pytest.approx(both / 2, abs=6) and rows["a"] > rows["a+b"]
    wide = Confidence.fit(found, modalities=("x", "a", "b"))
    assert wide.modalities == ("x", "a", "b")
    assert wide.state()["temperature"] == made.state()["temperature"]
    assert Confidence.fit(found, modalities=("b", "a")).state() == made.state()
