"""From a table to answers, by the commands of the README.

Makes a small table of recordings, measurements and notes of machines that are fine, worn or loose,
and a table of new rows, in which something is missing or damaged. Then it runs

    counterpoise prepare -> train -> pack -> predict

and prints the answers. Everything lies in the folder that is named, else in a temporary one.
"""

import csv
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

RATE = 8000
NOTES = {
    "fine": ["runs as always", "quiet since the service", "nothing to report"],
    "worn": ["hums louder than last week", "the belt is thin", "nothing to report"],
    "loose": ["rattles at the start", "a screw lies below it", "nothing to report"],
}


def record(rng: np.random.Generator, state: str, file: Path) -> None:
    """Half a second: a hum, which is higher in worn machines, and knocks in loose ones."""
    time = np.arange(RATE // 2) / RATE
    hertz = rng.normal(500 if state == "worn" else 300, 40)
    wave = 0.2 * np.sin(2 * np.pi * hertz * time) + rng.normal(size=len(time)) * 0.1
    if state == "loose":
        wave[rng.integers(0, len(time), 20)] += 0.6
    soundfile.write(file, wave.astype("float32").clip(-1, 1), RATE)


def describe(rng: np.random.Generator, state: str, file: Path, folder: Path) -> dict[str, str]:
    """One row: a path, three numbers, a text."""
    record(rng, state, file)
    heat, shake = (state == "worn") * 1.5, (state == "loose") * 1.5
    numbers = rng.normal((heat, shake, 0), 1)
    return {
        "sound": str(file.relative_to(folder)),
        "sensors": " ".join(f"{x:.3f}" for x in numbers),
        "note": str(rng.choice(NOTES[state])),
    }


def write(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, rows[0])
        table.writeheader()
        table.writerows(rows)


def make_tables(folder: Path) -> None:
    """`table.csv`, 300 rows of 30 machines, and `new.csv`, 6 rows of another one."""
    rng = np.random.default_rng(0)
    (folder / "sounds").mkdir(parents=True)
    states = list(NOTES)
    rows = []
    for k in range(300):
        state = states[k % 3]
        row = describe(rng, state, folder / "sounds" / f"{k}.wav", folder)
        rows.append({"id": str(k), "target": state, "group": f"machine {k // 10}", **row})
    write(folder / "table.csv", rows)

    new = [
        describe(rng, states[k % 3], folder / "sounds" / f"new{k}.wav", folder) for k in range(6)
    ]
    new[1] |= {"sensors": "", "note": ""}  # a recording alone
    new[2] |= {"sound": ""}
    new[3] |= {"sound": "", "sensors": ""}  # a note alone
    (folder / new[4]["sound"]).write_bytes(b"no sound")  # the rest of the row is answered
    new[5] = dict.fromkeys(new[5], "")  # nothing at all
    write(folder / "new.csv", [{"id": f"new {k}", **row} for k, row in enumerate(new)])


def main(folder: Path) -> None:
    make_tables(folder)
    for command in (
        "prepare table.csv prepared",
        "train prepared --method multi-loss --epochs 10 --out runs/own",
        "pack runs/own model",
        "predict model new.csv --out answers.csv",
    ):
        print(f"\n$ counterpoise {command}", flush=True)
        words = [sys.executable, "-m", "counterpoise", *command.split()]
        subprocess.run(words, cwd=folder, check=True)
    print()
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            said = f"{row['label']} ({float(row['probability']):.0%})" if row["label"] else "-"
            print(f"{row['id']}: {said:<14} from {row['present'] or 'nothing'}; {row['problem']}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
