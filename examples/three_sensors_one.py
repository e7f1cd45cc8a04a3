"""Train with three sensors, ship with one: a camera and a depth camera in the lab, a wrist outside.

UTD-MHAD: 27 actions by 8 people, with a skeleton, a worn sensor and a depth camera. One model
learns from all three; what is shipped answers from the worn sensor alone. The folder of
`COUNTERPOISE_DATA` must hold the data (`counterpoise data utd-mhad` says where to get them).
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

import counterpoise as cp
from counterpoise.deploy.export.exporting import export, open_exported

SENSORS = ("skeleton", "inertial", "depth")


def train(epochs: int, out: Path) -> cp.Dataset:
    """One model of three sensors, whose parts each learn to answer alone; packed in `out`."""
    data = cp.load("utd-mhad", modalities=SENSORS)
    model = cp.build_model(data, "multi-loss", seed=0)
    run = cp.fit(model, data, "multi-loss", epochs=epochs, batch_size=16, lr=0.01, seed=0)
    run.save(out)
    return data


def count_bytes(path: Path) -> int:
    """Of a file, or of all files of a folder."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)


def tell_expected(predictor: cp.Predictor) -> None:
    """What each set of sensors reaches, as it was measured on the test subjects at packing."""
    print("\naccuracy to be expected of new people, with an interval of 95 %:")
    for subset, figures in predictor.facts["figures"]["test"].items():
        found = figures["accuracy"]
        names = subset.replace("+", " + ")
        print(f"  {names:<28} {found['value']:.1%}  ({found['low']:.1%} to {found['high']:.1%})")


def main(epochs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        pack, small = Path(folder) / "model", Path(folder) / "worn.onnx"
        data = train(epochs, pack)

        predictor = cp.Predictor.load(pack)  # needs neither the data nor the run
        tell_expected(predictor)

        worn = {"inertial": data.test.inputs["inertial"]}  # the other two are not there
        found = predictor.predict(worn)
        right = found.label == np.asarray(predictor.classes)[data.test.target]
        print(f"\nthe worn sensor alone answers {len(found)} test rows, {right.mean():.1%} rightly")

        export(predictor, small, modalities=["inertial"])
        exported = open_exported(small).run({"inertial": worn["inertial"].numpy()})
        difference = float(np.abs(exported - found.probabilities).max())
        print(f"\nthe pack, three encoders:   {count_bytes(pack) / 1000:7,.0f} kB")
        print(f"the worn sensor as ONNX:    {count_bytes(small) / 1000:7,.0f} kB")
        print(f"largest difference of their probabilities: {difference:.1e}")
        assert difference < 1e-4


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    try:
        main(options.epochs)
    except cp.InputError as error:
        sys.exit(f"three_sensors_one: {error}")
