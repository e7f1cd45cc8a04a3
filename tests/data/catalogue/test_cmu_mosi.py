"""CMU-MOSI: small copies of its feature files, with broken utterances and files."""

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from av_sets import apart, bad_rows, documented, reasons
from feature_sets import PARTS, Attack, parts, prepared, train

from counterpoise import InputError, load
from counterpoise.cli.arguments import ready_config
from counterpoise.core.tasks import Sentiment
from counterpoise.data.catalogue.cmu_mosi import cmu_mosi


def put(path: Path, value: object, protocol: int = 4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol))
    return path


def stacked(raw: Path) -> Path:
    """The files of the memory fusion network: 20 steps of 300 + 5 + 20 features."""
    raw.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in PARTS.items():
        values = np.linspace(-3, 3, count)
        features = rng.normal(size=(count, 20, 325)).astype("f4")
        features[..., 300:305] = 7  # the sound
        features[:, :10] = 0  # padding stands in front
        for name, array in (("X", features), ("y", values)):
            with h5py.File(raw / f"{name}_{part}.h5", "w") as file:
                file["data"] = array
    return raw


def broken() -> dict:
    whole = parts("triple")
    train = whole["train"]
    train["audio"][0, :, 2] = -np.inf
    train["audio"][0, 0, 0] = np.nan
    train["vision"][1] = 0  # no face was found
    for key in ("text", "audio", "vision"):
        train[key][2] = 0  # an utterance of length 0
    train["labels"][3] = np.nan
    train["labels"][4] = 5
    train["id"][5] = whole["test"]["id"][0]  # a video of another part
    train["id"][7] = train["id"][6]
    return whole


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("mosi")
    put(raw / "mosi_data.pkl", broken())
    return raw


def test_the_table(raw: Path) -> None:
    table = cmu_mosi(raw)
    assert list(table.readers) == ["text", "audio", "visual"]
    assert type(table.task) is Sentiment
    rows = {row.id: row for row in table.rows}
    assert [row.split for row in table.rows].count("validation") == 4
    assert len(rows) == 13
    row = rows["train_video0_0.0_1.0"]
    assert (row.target, row.split, row.group) == (-3, "train", "train_video0")
    audio = row.cells["audio"]
    assert audio.dtype == np.float32 and audio[0, 0] == 0 and not audio[:, 2].any()
    assert audio[1:, [0, 1, 3, 4]].all()
    assert set(rows["train_video0_1.5_2.5"].cells) == {"text", "audio"}
    assert rows["train_video0_3.0_4.0"].cells == {}
    assert "train_video2_9.0_10.0#7" in rows  # the same id twice
    found = reasons(table)
    assert "in -3..3, found" in found["train_video1_4.5_5.5"]
    assert "in -3..3, found" in found["train_video1_6.0_7.0"]
    assert found["test_video0_0.0_1.0"] == "its video is also in the test part"


def test_prepared(raw: Path, tmp_path: Path) -> None:
    data = prepared("cmu-mosi", raw, tmp_path / "out")
    assert data.shapes == {"text": (6, 7), "audio": (5, 7), "visual": (4, 7)}
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }
    assert apart(data)
    assert data.kinds == dict.fromkeys(data.modalities, "sequence")
    assert data.train.present["visual"].tolist() == [True, False, True, True]
    assert data.train.target.tolist()[0] == -3
    bad = bad_rows(tmp_path / "out")
    assert len(bad) == 4
    assert bad["train_video0_3.0_4.0"] == "has none of the modalities"
    again = load(str(tmp_path / "out"))
    assert type(again.task) is Sentiment and again.fingerprint() == data.fingerprint()


def test_two_classes(raw: Path, tmp_path: Path) -> None:
    whole = parts()
    whole["train"]["labels"][3] = 0  # neutral: on the side of the positive ones
    put(tmp_path / "raw" / "mosi_data.pkl", whole)
    data = prepared("cmu-mosi-2", tmp_path / "raw", tmp_path / "out")
    assert data.task.names == ("negative", "non-negative")
    assert data.train.target.tolist() == [0, 0, 0, 1, 1, 1, 1, 1]
    config = yaml.safe_load(ready_config("dr-mosi").read_text())
    narrow = {m: label.replace("1024", "8") for m, label in config["encoder"].items()}
    flags = [f"--encoder={m}={label}" for m, label in narrow.items()]
    run, _ = train("dr-mosi", tmp_path / "out", tmp_path / "run", *flags)
    assert len(run.history) == 1


@pytest.mark.parametrize("where", ["", "Processed"])
def test_files_with_bert(tmp_path: Path, where: str) -> None:
    whole = parts(label="regression_labels", vision=9)
    for part in whole.values():
        part["raw_text"] = ["a word"] * len(part["id"])
        part["annotations"] = np.array(["Positive"] * len(part["id"]))
        part["classification_labels"] = np.zeros(len(part["id"]))
        part["text_bert"] = np.zeros((len(part["id"]), 3, 7), np.float32)
        part["audio_lengths"] = [7] * len(part["id"])
    put(tmp_path / "raw" / where / "unaligned_50.pkl", whole)
    data = prepared("cmu-mosi", tmp_path / "raw", tmp_path / "out")
    assert data.shapes == {"text": (6, 7), "audio": (5, 7), "visual": (4, 9)}
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 8,
        "validation": 4,
        "test": 4,
    }
    # v$_$0 .. v$_$2 are of one video
    assert data.train.groups.tolist() == [0, 0, 0, 1, 1, 1, 2, 2] or apart(data)
    assert len(set(data.train.groups.tolist())) == 3


def test_the_first_of_several_files(tmp_path: Path) -> None:
    put(tmp_path / "mosi_data_noalign.pkl", parts(vision=9))
    put(tmp_path / "mosi_data.pkl", parts(), protocol=2)
    assert cmu_mosi(tmp_path).rows[0].cells["visual"].shape == (7, 4)


def test_utterances_of_different_lengths(tmp_path: Path) -> None:
    whole = parts()
    for part in whole.values():
        part["audio"] = [array[: k + 1] for k, array in enumerate(part["audio"])]
    whole["train"]["audio"][0] = np.zeros((0, 5))
    whole["train"]["text"] = list(whole["train"]["text"])
    whole["train"]["text"][4] = np.zeros(3)
    whole["train"]["text"][5] = "words"
    put(tmp_path / "raw" / "mosi_raw.pkl", whole)
    data = prepared("cmu-mosi", tmp_path / "raw", tmp_path / "out")
    assert data.shapes["audio"] == (5, 7)
    assert data.train.present["audio"].tolist() == [False, *[True] * 5]
    bad = bad_rows(tmp_path / "out")
    assert bad == {
        "train_video1$_$4": "must be steps [T, C], found [3]",
        "train_video1$_$5": "is str that holds no numbers",
    }


def test_stacked_files_and_modality_dropout(tmp_path: Path) -> None:
    data = prepared("cmu-mosi", stacked(tmp_path / "raw"), tmp_path / "out")
    assert data.shapes == {"text": (300, 20), "audio": (5, 20), "visual": (20, 20)}
    assert data.train.groups is None and len(data.train) == 8
    for row in cmu_mosi(tmp_path / "raw").rows:
        sound = [(row.cells[m] == 7).mean() for m in ("text", "audio", "visual")]
        assert sound == [0, 0.5, 0]
    run, data = train("amd-mosi", tmp_path / "out", tmp_path / "run")
    found = run.evaluate(data).metrics[("text",)]
    assert {"mae", "acc-2", "acc-2-neutral", "acc-7", "f1", "corr"} <= set(found)


def test_what_must_lie_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no .*mosi_data\.pkl; RAW must hold one of"):
        cmu_mosi(tmp_path)
    stacked(tmp_path)
    (tmp_path / "y_valid.h5").unlink()
    with pytest.raises(InputError, match=r"y_valid\.h5 is not there"):
        list(cmu_mosi(tmp_path).rows)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "must hold a dict, found list"),
        ({"train": {}, "dev": {}}, "must hold 'text', found nothing"),
        ({"training": {}}, "must hold train, valid, test, found training"),
        ({"train": {"text": np.zeros((2, 1, 1))}}, "train must hold 'audio', found text"),
        (
            {k: p | {"audio": p["audio"][:1]} for k, p in parts().items()},
            "must hold as many rows of each, found text 8, audio 1",
        ),
        ({"train": Attack()}, "names \\w+.system, which is refused"),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, value: object, message: str) -> None:
    put(tmp_path / "mosi_data.pkl", value)
    with pytest.raises(InputError, match=message):
        cmu_mosi(tmp_path)
    assert not Path("pwned").exists()


def test_damaged_files(tmp_path: Path) -> None:
    path = put(tmp_path / "mosi_data.pkl", parts())
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match="cut short"):
        cmu_mosi(tmp_path)
    stacked(tmp_path)
    (tmp_path / "X_test.h5").write_bytes(b"no HDF5")
    with pytest.raises(InputError, match=r"X_test\.h5 cannot be read as HDF5"):
        cmu_mosi(tmp_path)


@pytest.mark.parametrize("words", documented("cmu-mosi", "prepare"))
def test_commands_of_the_datasheet(words: list[str], raw: Path, tmp_path: Path) -> None:
    name, _, _, *options = words
    prepared(name, raw, tmp_path / "out", *options)
