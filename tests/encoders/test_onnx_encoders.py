"""ONNX has all that encoders compute with, those of the transformers library included."""

from __future__ import annotations

import io
import logging
import warnings
from contextlib import redirect_stderr
from typing import Any

import onnxruntime as ort
import pytest
import torch
from folded import check_each
from test_dense_encoders import LIBRARY, OTHERS, RECURRENT, Encoded, build, repeat
from torch import nn

from counterpoise.core.batch import Input, map_tensors
from counterpoise.core.presence import dense
from counterpoise.encoders.adapter import feed

# Of the recurrent networks those with the most operations; deploy/ exports the others.
CASES = [
    *OTHERS,
    *(c for c in RECURRENT if "2 layers" in c and "'steps'" in c and "Plain" not in c),
    *(c for c in LIBRARY if c.endswith("{}")),
]


def encode(encoder: nn.Module, example: Input) -> ort.InferenceSession:
    size = {0: torch.export.Dim("batch")}
    shapes = size if not isinstance(example, dict) else dict.fromkeys(example, size)
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # what PyTorch's exporter says of its own code
        with dense():
            program = torch.export.export(
                Encoded(encoder), (example,), dynamic_shapes=(shapes,), strict=False
            )
        found: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    content = found.model_proto.SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def check_onnx(case: str) -> None:
    encoder, given = build(case)
    encoder.requires_grad_(False)  # else PyTorch would choose other operations for T5
    session = encode(encoder, map_tensors(given, lambda x: repeat(x, 3)))
    names = [port.name for port in session.get_inputs()]
    for rows in (1, 7):
        some = map_tensors(given, lambda x, rows=rows: repeat(x, rows))
        tensors = list(some.values()) if isinstance(some, dict) else [some]
        arrays = {n: x.numpy() for n, x in zip(names, tensors, strict=True)}
        found = torch.from_numpy(session.run(None, arrays)[0])
        torch.testing.assert_close(found, feed(encoder, some), rtol=1e-4, atol=2e-5)


@pytest.mark.slow
def test_onnx_computes_what_encoders_do() -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    check_each(CASES, check_onnx)
