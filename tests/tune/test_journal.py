"""The journal: sealed, read by Optuna too, and not spoilt by what kills leave."""

from __future__ import annotations

import threading
from pathlib import Path

import optuna
import pytest

from counterpoise import InputError
from counterpoise.tune.journal import Journal, open_storage, open_study, quietly


def write(path: Path, trials: int, start: int = 0) -> None:
    with quietly(path):
        study = open_study(open_storage(path), "joint", True)
        for k in range(start, start + trials):
            trial = study.ask()
            trial.suggest_float("lr", 1e-4, 0.1, log=True)
            study.tell(trial, float(k))


def values(path: Path) -> list[float | None]:
    with quietly(path):
        return [trial.value for trial in open_study(open_storage(path), "joint", True).trials]


def test_what_is_written_is_read_again_also_by_optuna(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, 3)
    assert values(path) == [0, 1, 2]
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    study = optuna.load_study(study_name="joint", storage=optuna.storages.JournalStorage(backend))
    assert [trial.value for trial in study.trials] == [0, 1, 2]


def test_a_torn_line_is_left_out_and_the_next_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, 2)
    whole = path.read_bytes()
    for cut in (1, 20, 60):  # within the last line, which says that trial 1 is complete
        path.write_bytes(whole[:-cut])
        assert values(path) == [0, None]
        write(path, 1, start=7)
        assert values(path) == [0, None, 7]


def test_a_flipped_bit_is_one_line_that_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    write(path, 2)
    content = bytearray(path.read_bytes())
    content[content.index(b"\n") + 40] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"journal.jsonl, line 2 is damaged"):
        values(path)


def test_lines_that_make_no_sense_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    Journal(path).append_logs([{"op_code": 4, "worker_id": "x", "trial_id": 3}, {"op_code": 99}])
    with pytest.raises(InputError, match=r"journal.jsonl cannot be used \(KeyError"):
        values(path)


def test_several_write_at_a_time_and_no_line_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    threads = [
        threading.Thread(
            target=lambda n=n: [Journal(path).append_logs([{"n": n, "k": k}]) for k in range(20)]
        )
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(Journal(path).read_logs(0))
    assert sorted((line["n"], line["k"]) for line in found) == [
        (n, k) for n in range(4) for k in range(20)
    ]
    assert list(Journal(path).read_logs(79)) == found[79:]
