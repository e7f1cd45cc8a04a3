import importlib
import itertools

import numpy as np
import pytest
import torch
from folded import check_each
from sklearn.datasets import load_digits

from counterpoise.data.catalogue.digits import FILE, FORMS, WRITERS, digits, form_of, read_file
from counterpoise.data.catalogue.make_digits import VARIANTS, check_forms, plan
from counterpoise.errors import InputError

module = importlib.import_module("counterpoise.data.catalogue.digits")


@pytest.fixture(scope="module")
def data():
    return digits()


def parts():
    """Split -> rows, from the writers."""
    forms = form_of(np.arange(1797))
    return {split: np.flatnonzero(np.isin(forms, members)) for split, members in WRITERS.items()}


def test_shapes_and_sizes(data):
    assert data.shapes == {"image": (8, 8), "audio": (32, 32)}
    assert {p: len(s) for p, s in data.splits.items()} == {
        "train": 1029,
        "validation": 386,
        "test": 382,
    }
    for value in data.train.inputs.values():
        assert value.mean() == pytest.approx(0, abs=1e-4)
        assert value.std() == pytest.approx(1, abs=1e-3)
    assert data.fingerprint() == digits().fingerprint()
    assert FILE.stat().st_size < 1.5e6


def test_images_are_those_of_their_split(data):
    source = load_digits()
    for split, rows in parts().items():
        values = data.splits[split].inputs["image"]
        assert data.splits[split].target.tolist() == source.target[rows].tolist()
        pixels = torch.tensor(source.images[rows])
        scale = (values.max() - values.min()) / (pixels.max() - pixels.min())
        torch.testing.assert_close(values - values.min(), pixels.float() * scale)


def test_no_writer_in_two_splits(data):
    writers = [set(split.groups.tolist()) for split in data.splits.values()]
    assert sum(len(w) for w in writers) == len(set().union(*writers)) == len(FORMS) == 14


def test_no_voice_and_no_babble_in_two_splits():
    variants = read_file(FILE)["variant"]
    utterances = plan(load_digits().target)
    for split, rows in parts().items():
        assert set(variants[rows]) <= set(VARIANTS[split])
        babble = {row for u in np.array(utterances, dtype=object)[rows] for row in u.babble}
        assert babble <= set(rows.tolist())
    names = [set(v) for v in VARIANTS.values()]
    assert sum(len(n) for n in names) == len(set().union(*names))


def test_the_file_holds_what_is_planned():
    stored = read_file(FILE)
    utterances = plan(load_digits().target)
    assert stored["variant"].tolist() == [u.variant for u in utterances]
    assert stored["accent"].tolist() == [u.accent for u in utterances]
    assert all(utterances[o].digit != u.digit for u in utterances for o in u.babble)
    assert stored["audio"].dtype == np.uint8 and stored["audio"].shape == (1797, 32, 32)


def test_forms_cut_the_labels_where_writers_change():
    check_forms(load_digits().target)


def test_no_other_cut_fits(monkeypatch):
    target = load_digits().target

    def check(writer, by):
        moved = list(FORMS)
        moved[writer] += by
        monkeypatch.setattr("counterpoise.data.catalogue.make_digits.FORMS", tuple(moved))
        with pytest.raises(InputError, match=r"^rows \d+ to \d+ of the digits are not one writer"):
            check_forms(target)

    check_each(itertools.product(range(1, 14), (-1, 1)), check)


def test_forms_differ_more_than_images_of_one_form():
    """So that no two forms are by one person: each digit's nearest image is in its own form."""
    source = load_digits()
    forms = form_of(np.arange(1797))
    within, across = [], []
    for digit in range(10):
        rows = np.flatnonzero(source.target == digit)
        x = source.data[rows]
        distance = np.linalg.norm(x[:, None] - x[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        for form in range(14):
            here = forms[rows] == form
            table = distance[here]
            within.append((form, table[:, here].min(1).mean()))
            others = [table[:, forms[rows] == o].min(1).mean() for o in range(14) if o != form]
            across.append((form, others))
    for form in range(14):
        own = np.mean([d for f, d in within if f == form])
        other = np.mean([d for f, d in across if f == form], axis=0)
        assert own < 0.85 * other.min()


def test_damaged_file(tmp_path):
    path = tmp_path / "digits.npz"
    for content in (b"", b"PK\x03\x04 no archive", FILE.read_bytes()[:1000]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"^cannot read {path} .*; install counterpoise again"):
            read_file(path)
    objects = {**read_file(FILE), "audio": np.array([None])}
    np.savez(path, **objects)
    with pytest.raises(InputError, match=r"^cannot read .*allow_pickle=False"):
        read_file(path)


def test_other_images(monkeypatch):
    def other(path):
        return {**read_file(FILE), "label": np.zeros(1797)}

    monkeypatch.setattr(module, "read_file", other)
    with pytest.raises(InputError, match=r"was made for other images than scikit-learn's digits"):
        digits()
