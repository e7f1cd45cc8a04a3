"""IEMOCAP: small copies of the owners' release and of feature files, with broken entries."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from av_sets import apart, bad_rows, clip, corrupt, documented, reasons, soundless_wav
from feature_sets import Attack, parts, prepared, train
from media import wav

from counterpoise import InputError, load
from counterpoise.core.tasks import Classification, MultiLabel
from counterpoise.data.catalogue.iemocap import NINE, iemocap, iemocap_features

# Small copies of a data set have few different files.
pytestmark = pytest.mark.filterwarnings("ignore:the same")

CODES = ("neu", "ang", "sad", "hap", "exc", "fru", "xxx", "oth")
SMALL = ("--set", "audio.seconds=0.4", "--set", "audio.mels=16", "--set", "visual.size=24")
OTHER = "[0.1000 - 0.9000]\tSes05F_impro01_{}\t{}\t[2.5000, 2.5000, 2.5000]\n"


def dialog(session: Path, name: str, codes: tuple[str, ...] = CODES, extra: str = "") -> None:
    """A dialogue of one utterance for each code, 0.4 s each."""
    emotions, said = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n", ""
    for k, code in enumerate(codes):
        turn = f"{name}_{'FM'[k % 2]}{k:03d}"
        start, end = 0.1 + 0.4 * k, 0.5 + 0.4 * k
        emotions += f"[{start:.4f} - {end:.4f}]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n"
        emotions += "C-E1:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n"
        said += f"{turn} [{start:08.4f}-{end:08.4f}]: This is {code}, is it not?\nM: Hm.\n"
        wav(session / "sentences" / "wav" / name / f"{turn}.wav", 0.4)
    for folder, text in (("EmoEvaluation", emotions + extra), ("transcriptions", said)):
        path = session / "dialog" / folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    clip(session / "dialog" / "avi" / "DivX" / f"{name}.avi", 0.4 * len(codes) + 0.2)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("iemocap")
    home = raw / "IEMOCAP_full_release"
    for number in range(1, 6):
        session = home / f"Session{number}"
        extra = OTHER.format("M090", "joy") + "[what is this\n" if number == 5 else ""
        dialog(session, f"Ses0{number}F_impro01", CODES, extra)
        hidden = session / "dialog" / "EmoEvaluation" / f"._Ses0{number}F_impro01.txt"
        hidden.write_bytes(b"\0\1\xff")
    last = home / "Session5"
    turns = "".join(
        OTHER.format(turn, "sad") for turn in ("F091", "F092", "F093", "F094", "F095", "F096")
    )
    path = last / "dialog" / "EmoEvaluation" / "Ses05F_impro01.txt"
    path.write_text(path.read_text() + turns.replace("0.9000]\tSes05F_impro01_F096", "0.1000]\tX"))
    said = last / "dialog" / "transcriptions" / "Ses05F_impro01.txt"
    with said.open("a") as file:  # F091 has none
        for turn in ("F092", "F093", "F094", "F095"):
            file.write(f"Ses05F_impro01_{turn} [000.1000-000.9000]: Yes.\n")
    sounds = last / "sentences" / "wav" / "Ses05F_impro01"
    for turn in ("F091", "F092", "F093", "F094", "F095"):
        wav(sounds / f"Ses05F_impro01_{turn}.wav", 0.4)
    corrupt(sounds / "Ses05F_impro01_F092.wav")
    (sounds / "Ses05F_impro01_F093.wav").unlink()
    soundless_wav(sounds / "Ses05F_impro01_F094.wav")
    dialog(home / "Session4", "Ses04M_script01_1", ("neu", "sad"))
    corrupt(home / "Session4" / "dialog" / "avi" / "DivX" / "Ses04M_script01_1.avi")
    return raw


@pytest.fixture(scope="module")
def out(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "iemocap"
    prepared("iemocap", raw, out, *SMALL)
    return out


def test_the_table(raw: Path) -> None:
    table = iemocap(raw)
    rows = {row.id: row for row in table.rows}
    assert list(table.readers) == ["text", "audio", "visual"]
    assert isinstance(table.task, Classification)
    assert table.task.names == ("neutral", "happy", "sad", "angry")
    mine = [rows[i] for i in rows if i.startswith("Ses01")]
    assert [row.target for row in mine] == ["neutral", "angry", "sad", "happy", "happy"]
    row, home = rows["Ses02F_impro01_M001"], raw / "IEMOCAP_full_release" / "Session2"
    assert (row.split, row.group) == ("train", "session-2")
    assert row.cells == {
        "text": "This is ang, is it not?",
        "audio": str(home / "sentences/wav/Ses02F_impro01/Ses02F_impro01_M001.wav"),
        "visual": (str(home / "dialog/avi/DivX/Ses02F_impro01.avi"), 0.5, 0.9),
    }
    assert {row.split for i, row in rows.items() if i.startswith("Ses04")} == {"validation"}
    assert {row.split for i, row in rows.items() if i.startswith("Ses05")} == {"test"}
    found = reasons(table)
    assert "unknown emotion 'joy'" in found["Ses05F_impro01_M090"]
    assert found["X"] == "it lasts from 0.1000 to 0.1000 s"
    assert "nothing is written of it" in found["Ses05F_impro01_F091"]
    assert [r for r in found.values() if "[what is this" in r]
    assert len(found) == 4


def test_samples_are_those_of_the_paper(raw: Path) -> None:
    table = iemocap(raw)
    row = table.rows[0]
    audio = table.readers["audio"].fit([]).read(row.cells["audio"])
    assert (audio.shape, audio.dtype.name) == ((128, 1024), "float32")
    frames = table.readers["visual"].read(row.cells["visual"])
    assert (frames.shape, frames.dtype.name) == ((1, 3, 256, 256), "uint8")


def test_prepared(out: Path) -> None:
    data = load(str(out))
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 15,
        "validation": 5,
        "test": 6,
    }
    assert apart(data)
    assert data.shapes["visual"] == (1, 3, 24, 24)
    bad = bad_rows(out)
    damaged = {f"Ses05F_impro01_F{k:03d}" for k in (91, 92, 93, 94)}
    assert {i for i in bad if i.startswith("Ses05F_impro01_F")} == damaged
    assert {"Ses04M_script01_1_F000", "Ses04M_script01_1_M001"} < set(bad)
    assert "not there" in bad["Ses05F_impro01_F093"]
    assert len(bad) == 9


def test_an_epoch_by_the_paper_s_configuration(out: Path, tmp_path: Path) -> None:
    # One ResNet-18 less, and what is left smaller: for the test's time.
    small = ("visual=resnet18:crop=20", "audio=cnn1d:width=512", "text=tokens:width=512:layers=1")
    flags = [word for label in small for word in ("--encoder", label)]
    run, _ = train("mla-iemocap", out, tmp_path / "run", *flags)
    assert len(run.history) == 1


def test_lists_say_the_splits(raw: Path, tmp_path: Path) -> None:
    home = tmp_path / "IEMOCAP_full_release"
    home.symlink_to(raw / "IEMOCAP_full_release")
    first = "".join(
        f"Ses0{n}F_impro01_{t}.mp4 [split|sign] So. [split|sign] Sad\n"
        for n in range(1, 6)
        for t in ("F000", "M001", "F002")
    )
    (tmp_path / "my_train_iemo.txt").write_text(first)
    with pytest.raises(InputError, match=r"my_train_iemo\.txt needs my_test_iemo\.txt beside it"):
        iemocap(tmp_path)
    second = first.replace("F000", "M003").replace("M001", "X").replace("Ses01F_impro01_F002", "Y")
    (tmp_path / "my_test_iemo.txt").write_text(second.replace("F002", "Z"))
    table = iemocap(tmp_path)
    split = {row.id: row.split for row in table.rows}
    assert split["Ses05F_impro01_F000"] == "train"
    assert split["Ses01F_impro01_M003"] == "test"
    assert split["Ses01F_impro01_F004"] == "validation"
    assert {row.group for row in table.rows} == {None}
    # Three utterances of each session train, whatever the list says of their emotion.
    assert [row.target for row in table.rows if row.split == "train"][:3] == [
        "neutral",
        "angry",
        "sad",
    ]


def test_without_films(raw: Path, tmp_path: Path) -> None:
    for number in range(1, 6):
        session = tmp_path / f"Session{number}"
        (session / "dialog").mkdir(parents=True)
        home = raw / "IEMOCAP_full_release" / f"Session{number}"
        (session / "sentences").symlink_to(home / "sentences")
        for folder in ("EmoEvaluation", "transcriptions"):
            (session / "dialog" / folder).symlink_to(home / "dialog" / folder)
    table = iemocap(tmp_path)
    assert list(table.readers) == ["text", "audio"]
    assert set(table.rows[0].cells) == {"text", "audio"}
    (tmp_path / "Session5").rename(tmp_path / "Session6")
    with pytest.raises(InputError, match=r"found no .*Session5/dialog/EmoEvaluation; RAW must"):
        iemocap(tmp_path)


def by_utterance(raw: Path, steps: int = 4) -> Path:
    """Features of 45 utterances, nine a session, as dicts in .npy files."""
    raw.mkdir(parents=True, exist_ok=True)
    names = [f"Ses0{n}F_impro01_F{k:03d}" for n in range(1, 6) for k in range(9)]
    lines = ["start_time,end_time,wav_file,emotion,val,act,dom"]
    lines += [f"0,1,{n},{c},1,2,3" for n, c in zip(names, list(NINE) * 5, strict=True)]
    rng = np.random.default_rng(0)
    for key, width in (("text", 300), ("audio", 80), ("visual", 310)):
        values = {n: rng.normal(size=(steps, width)).astype("f4") for n in names}
        if key == "audio":
            del values[names[0]]
            values[names[2]][0, 0] = np.inf
        if key == "text":
            values |= {"Ses03M_impro03_M001": np.ones((steps, 300), "f4")}
            values |= {"Ses01F_x": np.ones((steps, 300)), "odd": np.ones((steps, 300))}
            values[names[1]] = np.zeros((steps, 300))
        if key == "visual":
            values[names[1]] = np.zeros((0, 310))
            values[names[3]] = np.zeros(3)
        np.save(raw / f"{key}_feat_10036.npy", values, allow_pickle=True)
    lines += ["0,1,Ses03M_impro03_M001,xxx,1,2,3", "0,1,Ses01F_x,joy,1,2,3", "0,1,odd,neu,1,2,3"]
    (raw / "df_iemocap.csv").write_text("\n".join(lines))
    return raw


def test_features_by_utterance_and_modality_dropout(tmp_path: Path) -> None:
    raw = by_utterance(tmp_path / "raw")
    table = iemocap_features(raw)
    rows = {row.id: row for row in table.rows}
    assert "Ses03M_impro03_M001" not in rows
    assert set(rows["Ses01F_impro01_F000"].cells) == {"text", "visual"}
    assert set(rows["Ses01F_impro01_F001"].cells) == {"audio"}
    assert rows["Ses01F_impro01_F002"].cells["audio"][0, 0] == 0
    assert rows["Ses04F_impro01_F005"].target == "frustrated"
    found = reasons(table)
    assert set(found) == {"Ses01F_impro01_F003", "Ses01F_x", "odd"}
    data = prepared("iemocap-features", raw, tmp_path / "out")
    assert data.shapes == {"text": (300, 4), "audio": (80, 4), "visual": (310, 4)}
    assert isinstance(data.task, Classification) and data.task.outputs == 9
    assert {part: len(split) for part, split in data.splits.items()} == {
        "train": 26,
        "validation": 9,
        "test": 9,
    }
    assert apart(data)
    run, data = train("amd-iemocap", tmp_path / "out", tmp_path / "run")
    assert ("text",) in run.evaluate(data).metrics


def stacked(raw: Path, code: float = 2.0) -> Path:
    raw.mkdir()
    rng = np.random.default_rng(0)
    np.save(raw / "labels", list(NINE))
    for part, count in (("train", 9), ("val", 4), ("test", 4)):
        features = rng.normal(size=(count, 3, 690))
        features[..., 300:380] = 7  # the sound
        np.save(raw / f"X_{part}", features)
        np.save(raw / f"Y_{part}", np.arange(count, dtype=np.float64))
    np.save(raw / "Y_val", np.array([0, code, 9.0, np.nan]))
    return raw


def test_stacked_features(tmp_path: Path) -> None:
    data = prepared("iemocap-features", stacked(tmp_path / "raw", 1.5), tmp_path / "out")
    assert data.shapes == {"text": (300, 3), "audio": (80, 3), "visual": (310, 3)}
    assert data.train.target.tolist() == list(range(9))
    for row in iemocap_features(tmp_path / "raw").rows:
        assert [(row.cells[m] == 7).mean() for m in ("text", "audio", "visual")] == [0, 1, 0]
    assert data.train.groups is None and len(data.validation) == 1
    bad = bad_rows(tmp_path / "out")
    assert set(bad) == {"validation-1", "validation-2", "validation-3"}
    assert "unknown emotion '1.5'" in bad["validation-1"]
    np.save(tmp_path / "raw" / "X_test", np.zeros((4, 3, 700)))
    with pytest.raises(InputError, match=r"X_test\.npy must hold \[N, T, 690\]"):
        iemocap_features(tmp_path / "raw")
    np.save(tmp_path / "raw" / "X_test", np.zeros((3, 3, 690)))
    with pytest.raises(InputError, match="as many rows of each, found X 3, Y 4"):
        iemocap_features(tmp_path / "raw")


def test_parts_of_four_emotions(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    whole = parts("")
    for part in whole.values():
        pairs = np.zeros((len(part["labels"]), 4, 2))
        pairs[..., 0] = 1
        pairs[np.arange(len(pairs)), np.arange(len(pairs)) % 4] = (0, 1)
        pairs[0, 1] = (0, 1)
        part["labels"] = pairs
    whole["train"]["labels"][1, 1] = (1, 0)  # none of the four
    (raw / "iemocap_data.pkl").write_bytes(pickle.dumps(whole))
    data = prepared("iemocap-features", raw, tmp_path / "out")
    assert isinstance(data.task, MultiLabel)
    assert data.train.target[:2].tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
    assert list(bad_rows(tmp_path / "out")) == ["train-1"]
    run, _ = train("amd-iemocap", tmp_path / "out", tmp_path / "run")
    assert len(run.history) == 1


def test_features_that_are_not_there_or_not_safe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"found no .*text_feat_10036\.npy; RAW must hold"):
        iemocap_features(tmp_path)
    raw = by_utterance(tmp_path / "raw")
    (raw / "df_iemocap.csv").rename(raw / "labels.csv")
    with pytest.raises(InputError, match=r"found no .*df_iemocap\.csv"):
        iemocap_features(raw)
    (raw / "df_iemocap.csv").write_text("name,label\na,b\n")
    with pytest.raises(InputError, match="must have the columns wav_file and emotion"):
        iemocap_features(raw)
    np.save(raw / "visual_feat_10036.npy", np.zeros(3))
    with pytest.raises(InputError, match="must hold a dict from utterances to arrays"):
        iemocap_features(raw)
    np.save(raw / "audio_feat_10036.npy", {"a": Attack()}, allow_pickle=True)
    with pytest.raises(InputError, match=r"audio_feat_10036\.npy: it names \w+\.system"):
        iemocap_features(raw)
    path = raw / "text_feat_10036.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="cut short"):
        iemocap_features(raw)


@pytest.mark.parametrize(
    "words", [w for w in documented("iemocap", "prepare") if w[0] == "iemocap"]
)
def test_commands_of_the_datasheet(words: list[str], raw: Path, tmp_path: Path) -> None:
    name, _, _, *options = words
    prepared(name, raw, tmp_path / "out", *SMALL, *options)
