"""Label rows by an exported model: ONNX Runtime and NumPy, nothing else.

python onnx_only.py MODEL.onnx ROWS.npz: ROWS holds the inputs that MODEL.onnx.json lists, [N, ...].
What lacks a modality needs MODEL with masks, and zeros there.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(model: str, rows: str) -> None:
    about = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs = {}
    with np.load(rows) as given:
        for port in about["inputs"]:
            name, shape = port["name"], port["shape"][1:]
            if name not in given or list(given[name].shape[1:]) != shape:
                sys.exit(f"{rows} must hold {name}, [N, *{shape}]")
            inputs[name] = given[name].astype(port["dtype"])
    if len({len(array) for array in inputs.values()}) > 1:  # one row would stand for all
        sys.exit(f"{rows} must hold as many rows of each array")
    (found,) = session.run(None, inputs)
    for row in found:
        if np.isnan(row).any():  # no modality, or an input that is no number
            print("no answer")
        elif about["output"]["name"] == "values":
            print(" ".join(f"{value:.6g}" for value in row))
        elif about["task"] == "multilabel":
            print(" ".join(str(c) for c, p in zip(about["classes"], row, strict=True) if p > 0.5))
        else:
            print(about["classes"][row.argmax()], f"{row.max():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) == 3 else sys.exit(__doc__)
