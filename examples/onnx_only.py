"""Label rows by an exported model: ONNX Runtime and NumPy, nothing else.

python onnx_only.py MODEL.onnx ROWS.npz: the arrays of ROWS have the names of the model's inputs,
[N, ...] each. What lacks a modality needs MODEL with masks, and zeros for its arrays.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main(model: str, rows: str) -> None:
    about = json.loads(Path(f"{model}.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with np.load(rows) as given:
        ports = {p["name"]: p["dtype"] for p in about["inputs"]}
        inputs = {n: given[n].astype(kind, casting="same_kind") for n, kind in ports.items()}
    (found,) = session.run(None, inputs)
    for row in found:
        if about["output"]["name"] == "values":
            print(" ".join(f"{value:.6g}" for value in row))
        elif about["task"] == "multilabel":
            print(" ".join(str(c) for c, p in zip(about["classes"], row, strict=True) if p > 0.5))
        else:
            print(about["classes"][row.argmax()], f"{row.max():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
