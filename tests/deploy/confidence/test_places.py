"""Which rows share a temperature: by subset up to six modalities, by their number above."""

import numpy as np
import pytest
import torch
from deploy.confidence.evaluations import make_evaluation, mask, toy

from counterpoise import Classification, InputError
from counterpoise.deploy.confidence.places import Cases, Places
from counterpoise.evaluation import choose_subsets, present_name, subsets

SEVEN = tuple("gfedcba")


def test_each_subset_has_a_place_of_its_name():
    places = Places.of(("b", "a", "c"))
    assert len(places) == 8 and not places.by_count
    for subset in subsets(("b", "a", "c")):
        place = int(places.find(mask(subset, ("b", "a", "c"), 1))[0])
        assert places.names()[place] == present_name(subset)
        assert places.number(present_name(subset)) == place
    assert places.find(torch.zeros(1, 3, dtype=torch.bool)).tolist() == [0]
    apart = places.differences()
    assert apart[places.number("a+b"), places.number("b+c")] == 2
    assert apart[places.number("a"), places.number("a+b+c")] == 2
    assert np.array_equal(apart, apart.T) and not np.diag(apart).any()


def test_above_six_modalities_a_place_is_their_number():
    places = Places.of(SEVEN)
    assert len(places) == 8 and places.by_count
    masks = torch.rand(50, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    assert places.find(masks).tolist() == masks.sum(1).tolist()
    assert places.names() == ["", *"1234567"] and places.number("3") == 3
    assert places.differences()[2].tolist() == [2, 1, 0, 1, 2, 3, 4, 5]


def test_errors():
    places = Places.of(("a", "b"))
    with pytest.raises(InputError, match=r"present must be bool \[N, 2\], one column for each of"):
        places.find(torch.ones(4, 3, dtype=torch.bool))
    with pytest.raises(InputError, match=r"found torch\.float32"):
        places.find(torch.ones(4, 2))
    with pytest.raises(InputError, match=r"unknown subset of the modalities 'a\+c'"):
        places.number("a+c")
    found = toy(10, 0)
    found.logits["a",][3] = torch.nan
    with pytest.raises(InputError, match="logits must be finite, found others for a on validation"):
        Cases.of(found, places)


def test_a_row_counts_for_what_it_really_has():
    """Its answer for a subset of which it lacks a part is that for the rest, and counts once."""
    present = torch.tensor([[True, True], [True, False], [False, True]])
    logits = {s: torch.full((3, 2), float(k)) for k, s in enumerate(subsets("ab"))}
    found = make_evaluation(Classification(2), logits, torch.tensor([0, 1, 0]), present)
    places = Places.of("ab")
    cases = Cases.of(found, places)
    names = [places.names()[place] for place in cases.place]
    assert sorted(zip(cases.row.tolist(), names, strict=True)) == [
        *((0, "a"), (0, "a+b"), (0, "b")),
        *((1, "a"), (2, "b")),
    ]
    assert torch.equal(cases.target, found.target[cases.row])
    whole = names.index("a+b")
    assert cases.logits[whole].tolist() == [0, 0]


def test_above_six_a_row_is_measured_once_for_each_number():
    """By a subset that is drawn by chance, and another one with another seed."""
    rows = 30
    present = torch.rand(rows, 7, generator=torch.Generator().manual_seed(1)) < 0.8
    present[:, 0] = True
    some = choose_subsets(SEVEN)
    logits = {s: torch.full((rows, 2), float(k)) for k, s in enumerate(some)}
    found = make_evaluation(Classification(2), logits, torch.zeros(rows).long(), present)
    places = Places.of(SEVEN)
    cases = Cases.of(found, places)
    assert (cases.place <= present.sum(1).numpy()[cases.row]).all()
    once = cases.once(len(places), 0)
    pairs = list(zip(once.row.tolist(), once.place.tolist(), strict=True))
    every = set(zip(cases.row.tolist(), cases.place.tolist(), strict=True))
    assert len(pairs) == len(set(pairs)) and set(pairs) == every
    assert len(cases.row) > 2 * len(once.row)
    assert not torch.equal(once.logits, cases.once(len(places), 1).logits)
    assert torch.equal(once.logits, cases.once(len(places), 0).logits)
