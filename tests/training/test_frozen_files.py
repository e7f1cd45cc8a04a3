"""The files in which features of frozen encoders are kept: shared, checked, made again."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_frozen import FAST, linear_model
from torch import nn
from toy import Calls, callback, same, toy_data, toy_model, weights

import counterpoise as cp
from counterpoise import InputError, fit
from counterpoise.core import storage
from counterpoise.core.lock import hold
from counterpoise.data.preparation import features as files
from counterpoise.encoders import MLP
from counterpoise.models.frozen import READY
from counterpoise.training.frozen import PROBED, FrozenFeatures, plan_features
from counterpoise.training.run import load_run

pytestmark = pytest.mark.filterwarnings("ignore:.*is frozen at random weights")


def test_features_lie_in_files_that_other_runs_share(tmp_path: Path) -> None:
    data, lines = toy_data(missing=0.3), []
    told = [callback(on_line=lines.append)]
    shared = tmp_path / "shared"
    first = fit(linear_model(data, "a"), data, features=shared, callbacks=told, **FAST)
    assert [line.split(" in ")[0] for line in lines] == [
        "features of 'a', train: 72 rows x 6 x 4 bytes = 1.7 kB",
        "features of 'a', validation: 24 rows x 6 x 4 bytes = 576 bytes",
    ]
    model = linear_model(data, "a")
    calls = Calls(model.encoders["a"])
    second = fit(model, data, features=shared, callbacks=told, **FAST)
    assert sum(calls.rows) == 2 * PROBED and len(lines) == 2
    assert same(weights(first.model), weights(second.model))
    memory = fit(linear_model(data, "a"), data, **FAST)
    assert same(weights(first.model), weights(memory.model))
    assert len(list(shared.iterdir())) == 2
    (folder,) = shared.glob("a-train-*")
    stored = FrozenFeatures(first.model, data, shared).replace("train").train
    gone = (~data.train.present["a"]).nonzero().squeeze(1)
    assert not stored[gone].inputs["a"][READY].any() and len(gone)
    assert {path.name for path in folder.iterdir()} == {"00000.arrow", "features.json"}


def test_other_weights_data_and_precisions_have_features_of_their_own(tmp_path: Path) -> None:
    data, shared = toy_data(), tmp_path / "shared"
    fit(linear_model(data, "a"), data, features=shared, **FAST)
    other = linear_model(data, "a")
    with torch.no_grad():
        other.encoders["a"][0].bias[0] += 1e-6
    statistics = linear_model(data, "a")
    statistics.encoders["a"][1].running_var[0] += 1e-3
    half = linear_model(data, "a", precision="bf16")
    pooled = cp.build_model(data, encoders={"a": nn.Sequential(MLP(4, 6))}, freeze=["a"])
    models = [other, statistics, half, pooled]
    prints = [FrozenFeatures(m, data).fingerprints()["a"] for m in models]
    prints += [FrozenFeatures(linear_model(data, "a"), toy_data(seed=1)).fingerprints()["a"]]
    assert len(set(prints)) == 5
    assert not any(path for digits in prints for path in shared.glob(f"*{digits}"))
    fit(other, data, features=shared, **FAST)
    assert len(list(shared.glob("a-train-*"))) == 2


def damage(folder: Path) -> None:
    path = folder / "00000.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(folder: Path) -> None:
    """Features of other rows under the same names, whole as files."""
    record = json.loads((folder / files.RECORD).read_text())
    data = toy_data()
    about = files.Features("a", "train", (6,), 72, record["fingerprint"])
    files.write_features(folder, about, data.train, lambda rows: torch.ones(len(rows), 6))


@pytest.mark.parametrize("spoil", [damage, swap, lambda f: (f / "00000.arrow").unlink()])
def test_features_that_are_damaged_or_stale_are_made_again(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    data, shared, lines = toy_data(), tmp_path / "shared", []
    first = fit(linear_model(data, "a"), data, features=shared, **FAST)
    (folder,) = shared.glob("a-train-*")
    spoil(folder)
    model, told = linear_model(data, "a"), [callback(on_line=lines.append)]
    second = fit(model, data, features=shared, callbacks=told, **FAST)
    assert same(weights(first.model), weights(second.model))
    (line,) = lines
    assert "again since" in line and line.startswith("features of 'a', train")


def test_one_process_encodes_and_others_wait(tmp_path: Path) -> None:
    data, shared, heard = toy_data(), tmp_path / "shared", []
    waiting = threading.Event()

    def note(text: str) -> None:
        heard.append(text)
        if "waiting" in text:
            waiting.set()

    fit(linear_model(data, "a"), data, features=shared, **FAST)
    (folder,) = shared.glob("a-train-*")
    shutil.move(folder, tmp_path / "ready")
    model = linear_model(data, "a")
    calls, told = Calls(model.encoders["a"]), [callback(on_note=note)]
    run = threading.Thread(target=lambda: fit(model, data, features=shared, callbacks=told, **FAST))
    with hold(shared / ".writing" / folder.name):  # as a process that encodes
        run.start()
        assert waiting.wait(20)
        shutil.move(tmp_path / "ready", folder)
    run.join(20)
    assert not run.is_alive() and sum(calls.rows) == 2 * PROBED
    assert len([text for text in heard if "waiting" in text]) == 1
    assert not (shared / ".writing").exists()


def test_a_run_goes_on_with_its_features_or_makes_them_again(tmp_path: Path) -> None:
    data = toy_data(missing=0.2)
    whole = fit(linear_model(data, "a"), data, epochs=4, batch_size=16)
    fit(linear_model(data, "a"), data, out=tmp_path, epochs=2, batch_size=16)
    with pytest.raises(InputError, match=r"model.frozen is \['a'\] there and None here"):
        fit(linear_model(data), data, out=tmp_path, epochs=4, batch_size=16, resume=True)
    with pytest.raises(InputError, match=r"model.frozen is \['a'\] there and \['b'\] here"):
        fit(linear_model(data, "b"), data, out=tmp_path, epochs=4, batch_size=16, resume=True)
    shutil.rmtree(tmp_path / "features")
    fresh = linear_model(data, "a")
    with torch.no_grad():  # such as a folder with a pretrained model that has changed since
        fresh.encoders["a"][0].weight.mul_(2)
    again = fit(fresh, data, out=tmp_path, epochs=4, batch_size=16, resume=True)
    assert same(weights(whole.model), weights(again.model))
    opened = load_run(tmp_path, linear_model(data), data, cp.build_method("joint"))
    assert opened.model.frozen == ("a",)
    calls = Calls(opened.model.encoders["a"])
    kept = opened.evaluate(data, "validation")
    assert sum(calls.rows) == PROBED, "where features are, they are used"
    assert kept.metrics == again.evaluate(data, "validation").metrics
    count = len(list((tmp_path / "features").iterdir()))
    opened.evaluate(data)
    assert len(list((tmp_path / "features").iterdir())) == count, "evaluation writes nothing"


def test_a_disk_without_room_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy_data()
    room = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: room)
    told = r"features of 'a', train: 72 rows x 6 x 4 bytes = 1.7 kB do not fit on the disk of "
    with pytest.raises(InputError, match=told + r".*, where 1.0 kB are free; make room"):
        fit(linear_model(data, "a"), data, features=tmp_path, **FAST)
    with pytest.raises(InputError, match=r"where 1\.0 kB are free"):
        plan_features(linear_model(data, "a"), data, tmp_path / "not" / "there")
    room.free = 1 << 40

    def write(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage, "write", write)
    with pytest.raises(InputError, match=told + ".*, where no room is left; make room"):
        fit(linear_model(data, "a"), data, features=tmp_path, **FAST)
    assert not list(tmp_path.iterdir()), "nothing half written stays"


def test_random_weights_and_crops_are_warned_of(tmp_path: Path) -> None:
    data = toy_data()
    with pytest.warns(UserWarning, match="encoder of 'b' is frozen at random weights"):
        toy_model(data, freeze=["b"])
    pictures = cp.ArrayData({"picture": torch.rand(12, 3, 40, 40)}, [0, 1, 2] * 4)
    resnet = cp.build_model(pictures, encoders={"picture": "resnet18"})
    path = tmp_path / "resnet.safetensors"
    storage.write_weights(path, resnet.encoders["picture"].state_dict(), {})
    label = f"resnet18:weights={path}"
    model = cp.build_model(pictures, encoders={"picture": label}, freeze=["picture"])
    assert model.frozen == ("picture",)
    with pytest.warns(UserWarning, match="frozen, so it neither crops nor mirrors pictures"):
        cp.build_model(pictures, encoders={"picture": f"{label}:crop=32"}, freeze=["picture"])
    (line,) = plan_features(model, pictures, tmp_path, seeds=3)
    assert line.startswith("features of 'picture', all splits: 12 rows x 512 x 4 bytes = 24.6 kB")
    assert line.endswith("encoded once")
    (line,) = plan_features(toy_model(data, freeze=["b"]), data, tmp_path, seeds=3)
    assert line.endswith("encoded once, for each of 3 seeds: their encoders are random")


@pytest.mark.slow
def test_runs_of_a_comparison_share_features(tmp_path: Path) -> None:
    words = ["compare", "digits", "--freeze", "image", "--methods", "joint,mla,multi-loss"]
    words += ["--seeds", "2", "--epochs", "2", "--width", "8", "--batch-size", "64"]

    def run(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "counterpoise", *words, "--out", str(out), *more]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    one, many = run(tmp_path / "one"), run(tmp_path / "many", "--jobs", "3")
    assert one.returncode == many.returncode == 0, one.stderr + many.stderr
    assert "for each of 2 seeds: their encoders are random" in one.stderr
    records = [
        sorted(
            (line["method"], line["seed"], line["split"], line["present"], line["value"])
            for line in map(
                json.loads, (tmp_path / name / "records.jsonl").read_text().splitlines()
            )
            if line["split"] == "test" and line["metric"] == "accuracy"
        )
        for name in ("one", "many")
    ]
    assert records[0] == records[1] and records[0]
    names = [{p.name for p in (tmp_path / n / "features").iterdir()} for n in ("one", "many")]
    assert names[0] == names[1] and len(names[0]) == 6  # three splits of two seeds
    assert not any((tmp_path / "one" / "runs").rglob("features"))
    trained = [word for word in words if word not in ("--freeze", "image")]
    other = subprocess.run(
        [sys.executable, "-m", "counterpoise", *trained, "--out", str(tmp_path / "one")],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert other.returncode == 2
    assert "freeze is ['image'] there and None here; choose another folder" in other.stderr


@pytest.mark.slow
def test_two_ranks_share_the_work(tmp_path: Path) -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent), *sys.path])
    started = [
        subprocess.Popen(
            [sys.executable, here / "on_frozen_ranks.py", tmp_path],
            env=os.environ | {"RANK": str(rank), "PYTHONPATH": paths},
        )
        for rank in (0, 1)
    ]
    assert [process.wait(timeout=300) for process in started] == [0, 0]
    data = toy_data(missing=0.3)
    alone = fit(linear_model(data, "a"), data, **FAST)
    found = [torch.load(tmp_path / f"rank{rank}.pt") for rank in (0, 1)]
    for name, tensor in alone.model.state_dict().items():
        for each in found:
            torch.testing.assert_close(each["weights"][name], tensor, rtol=1e-5, atol=1e-5)
    rows = int(data.train.present["a"].sum() + data.validation.present["a"].sum())
    assert sum(each["rows"] for each in found) == rows + 2 * 2 * PROBED
