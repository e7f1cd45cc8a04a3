"""CMU-MOSEI: small copies of its feature files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from av_sets import apart, bad_rows, documented
from feature_sets import Attack, parts, prepared, train

from counterpoise import InputError
from counterpoise.core.tasks import Sentiment
from counterpoise.data.catalogue.cmu_mosei import cmu_mosei
from counterpoise.data.catalogue.features import steps, utterance


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("mosei")
    whole = parts("triple")
    for part in whole.values():
        part["audio"][:2, 3:] = -np.inf
    whole["valid"]["labels"][1] = 7
    for key in ("text", "audio", "vision"):
        whole["test"][key][2] = 0  # an utterance of length 0
    (raw / "mosei_senti_data.pkl").write_bytes(pickle.dumps(whole, 2))
    return raw


def test_prepared(raw: Path, tmp_path: Path) -> None:
    data = prepared("cmu-mosei", raw, tmp_path / "out")
    assert data.name == "cmu-mosei" and type(data.task) is Sentiment
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 8,
        "validation": 3,
        "test": 3,
    }
    assert apart(data)
    audio = data.train.inputs["audio"].rows(data.train.target.new_tensor([0]).long())
    assert audio[0, :, :3].abs().min() > 0 and not audio[0, :, 3:].any()
    bad = bad_rows(tmp_path / "out")
    assert set(bad) == {"valid_video0_1.5_2.5", "test_video0_3.0_4.0"}
    run, _ = train("amd-mosi", tmp_path / "out", tmp_path / "run")
    assert len(run.history) == 1


def test_two_classes_unaligned(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    whole = parts(label="regression_labels", audio=11)
    (raw / "unaligned_50.pkl").write_bytes(pickle.dumps(whole))
    data = prepared("cmu-mosei-2", raw, tmp_path / "out")
    assert data.shapes["audio"] == (5, 11)
    assert data.test.target.tolist() == [0, 0, 1, 1]


def test_what_must_lie_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no .*mosei_senti_data\.pkl; RAW must hold one of"):
        cmu_mosei(tmp_path)
    (tmp_path / "aligned_50.pkl").write_bytes(pickle.dumps({"train": [Attack()]}))
    with pytest.raises(InputError, match=r"aligned_50\.pkl: it names \w+\.system"):
        cmu_mosei(tmp_path)


@pytest.mark.parametrize(
    ("value", "name", "video"),
    [
        ("03bSnISJMiM$_$11", "03bSnISJMiM$_$11", "03bSnISJMiM"),
        ("2WGyTLYerpo_12", "2WGyTLYerpo_12", "2WGyTLYerpo"),
        ("f_pcplsH_V0[3]", "f_pcplsH_V0[3]", "f_pcplsH_V0"),
        ("-3g5yACwYnA", "-3g5yACwYnA", "-3g5yACwYnA"),
        (b"100178_9", "100178_9", "100178"),
        ([b"_dI--eQ6qVU", b"1.5", b"2.5"], "_dI--eQ6qVU_1.5_2.5", "_dI--eQ6qVU"),
        (["125344[2]", 1, 2.5], "125344[2]_1_2.5", "125344"),
        (np.array(["a", "0", "1"]), "a_0_1", "a"),
    ],
)
def test_names_of_utterances(value: object, name: str, video: str) -> None:
    assert utterance(value) == (name, video)


def test_steps_leave_the_file_as_it_is() -> None:
    given = np.ones((2, 3), dtype=np.float32)
    given[0, 0] = -np.inf
    found = steps(given)
    assert found is not None and found[0, 0] == 0 and np.isinf(given[0, 0])
    assert steps(np.full((2, 2), np.nan)) is None
    assert steps(np.zeros((0, 3))) is None


@pytest.mark.parametrize("words", documented("cmu-mosei", "prepare"))
def test_commands_of_the_datasheet(words: list[str], raw: Path, tmp_path: Path) -> None:
    name, _, _, *options = words
    prepared(name, raw, tmp_path / "out", *options)
