"""The command ``counterpoise export``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from counterpoise.errors import InputError

from .arguments import Command, names, read_path
from .opening import open_predictor
from .output import print_json

if TYPE_CHECKING:
    from counterpoise.data import Dataset
    from counterpoise.deploy.predictor import Predictor

FORMATS = ("onnx", "torch")  # as deploy.export.files, which takes longer
OWN = ""  # what --verify says without DATA


def add(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", type=read_path, metavar="MODEL", help="a pack, or the folder of a run")
    add("out", type=read_path, metavar="OUT", help="the file, such as model.onnx or model.pt2")
    add(
        "--modalities",
        type=names,
        metavar="A,B",
        help="the only ones that there will be; encoders of others are left out",
    )
    add("--format", choices=FORMATS, help="by default by the suffix of OUT, else onnx")
    add("--half", action="store_true", help="store weights in float16")
    add("--which", choices=("last", "best"), default="last", help="which epoch of a run")
    add("--data-dir", metavar="DIR", help="where data sets lie")
    add("--force", action="store_true", help="write over a file that is there")
    add(
        "--verify",
        nargs="?",
        const=OWN,
        metavar="DATA",
        help="compare with PyTorch on validation rows; a pack needs DATA: a name, folder or .npz",
    )
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> None:
    from counterpoise.deploy.export.exporting import export

    predictor = open_predictor(options.model, options.data_dir, options.which)
    data = None if options.verify is None else _open_data(options, predictor)
    facts = export(
        predictor,
        options.out,
        modalities=options.modalities,
        format=options.format,
        half=options.half,
        force=options.force,
    )
    found = None
    if data is not None:
        from counterpoise.deploy.export.verify import verify

        found = verify(options.out, predictor, data)
    if options.json:
        print_json({**facts, **({} if found is None else {"verified": found})})
        return
    _say(facts, options)
    if found is not None:
        from counterpoise.deploy.export.verify import format_report

        print(format_report(found))


def _open_data(options: argparse.Namespace, predictor: Predictor) -> Dataset:
    """The data to compare on, checked before anything is written."""
    if options.verify != OWN:
        from counterpoise.data import load
        from counterpoise.deploy.export.verify import check_data

        data = load(options.verify, data_dir=options.data_dir)
        known = predictor.modalities
        check_data(predictor, data, [m for m in options.modalities or known if m in known])
        return data
    if not (options.model / "run.json").is_file():
        raise InputError(
            f"--verify must name the data for a pack, which holds none, such as --verify DATA; "
            f"{options.model} is no run"
        )
    from counterpoise.training.record import RunRecord

    return RunRecord.read(options.model).load_data(options.data_dir)


def _say(facts: dict[str, Any], options: argparse.Namespace) -> None:
    inputs = ", ".join(f"{p['name']} {p['dtype']} {p['shape']}" for p in facts["inputs"])
    print(f"wrote {options.out} ({facts['bytes']:,} bytes) and {options.out}.json")
    print(f"inputs: {inputs.replace(chr(39), '')}")
    shape = str(facts["output"]["shape"]).replace("'", "")
    print(f"output: {facts['output']['name']} {shape}")
    if facts["left_out"]:
        print(f"left out: {', '.join(facts['left_out'])}")


COMMAND = Command("write a trained model as one file for ONNX Runtime or PyTorch", add, run)
