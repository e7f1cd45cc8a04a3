"""What ``train`` and ``compare`` share: data, model and settings from the command line."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from counterpoise.core.declared import WIDEST
from counterpoise.errors import InputError, check_number, unknown
from counterpoise.training.declaration import declarations, default_of
from counterpoise.training.settings import Settings

from .arguments import TASKS, add_config, add_subsets, names, optional, pair, read_path, to_dict

if TYPE_CHECKING:
    from counterpoise.compare.recipe import Recipe


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """The arguments that say which data, which model and how it is trained."""
    add = parser.add_argument
    add(
        "data",
        nargs="?",
        metavar="DATA",
        help="a data set (see `counterpoise data`), a folder that `counterpoise prepare` wrote, or "
        "FILE.npz: an array for each modality, `target`, and where they exist `split`, `group`, "
        "`classes`, `weight` (see docs/data.md)",
    )
    add("--task", choices=TASKS, help="what FILE.npz is for; else told from its target")
    add("--modalities", type=names, metavar="A,B", help="some of its modalities")
    add("--data-dir", metavar="DIR", help="where data sets lie (else COUNTERPOISE_DATA)")
    add("--out", type=read_path, metavar="DIR", help="the folder for what this makes")
    add("--device", default="cpu", help="cpu, cuda, cuda:1, mps")
    add("--quiet", action="store_true", help="print nothing but errors")
    add_subsets(parser)
    add_config(parser, papers=True)
    add_settings(parser)
    add = parser.add_argument_group("the model").add_argument
    add(
        "--fusion",
        metavar="NAME[:OPTION=VALUE]",
        help="the head (see docs/concepts.md); else the method's own",
    )
    add("--width", type=int, default=128, help="of the encoders' features")
    form = "MODALITY=NAME[:OPTION=VALUE...]"
    add(
        "--encoder",
        type=pair("MODALITY=NAME"),
        action="append",
        default=[],
        metavar=form,
        help="of one modality (see docs/encoders.md); others are chosen by shape",
    )
    add(
        "--freeze",
        type=names,
        default=(),
        metavar="A,B",
        help="modalities whose encoders stay as they are; each sample is encoded once",
    )
    add("--precision", choices=("fp32", "bf16"), default="fp32", help="of the encoders")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each field of :class:`Settings`, from its declaration."""
    group = parser.add_argument_group("how it is trained")
    for item in fields(Settings):
        declared, default = declarations(Settings)[item.name], default_of(item)
        use = f", of {' and '.join(declared.of)}" if declared.of else ""
        said = "" if default in (None, {}) else f" (default {default}{use})"
        about: dict[str, Any] = {"metavar": declared.metavar}
        about["help"] = f"{declared.explain()}{said}".replace("%", "%%")
        flag = f"--{item.name.replace('_', '-')}"
        if declared.kind is bool:
            group.add_argument(flag, action="store_true", help=declared.explain())
        elif declared.kind is Mapping:
            form = pair(declared.metavar or "NAME=NUMBER", float)
            group.add_argument(flag, action="append", default=[], type=form, **about)
        else:
            kind = optional(declared.kind) if declared.optional else declared.kind
            group.add_argument(flag, default=default, type=kind, **about)


def read_settings(options: argparse.Namespace) -> Settings:
    """The settings that the command line asks for."""
    values = {item.name: getattr(options, item.name) for item in fields(Settings)}
    pairs = {n: to_dict(n, value) for n, value in values.items() if isinstance(value, list)}
    check_number("--seed", options.seed, 0, whole=True)
    settings = Settings(**{**values, **pairs})
    for item in fields(Settings):
        unused = getattr(settings, item.name) != default_of(item)
        if unused and not settings.uses(item.name):
            flag, optimizer = f"--{item.name.replace('_', '-')}", settings.optimizer.split(":")[0]
            warnings.warn(f"{flag} does nothing: {optimizer} has none", UserWarning, stacklevel=2)
    return settings


def make_recipe(options: argparse.Namespace) -> Recipe:
    """Everything that the command line says but the method."""
    if options.data is None:
        raise InputError("DATA is needed, such as digits (see counterpoise data)")
    check_number("--width", options.width, 1, WIDEST, whole=True)
    settings = read_settings(options)  # mistakes in them are found before torch is imported

    from counterpoise.compare.recipe import Recipe, check_device

    if getattr(options, "on", None) is None:  # else a machine of the cluster must have it
        check_device(options.device)
    return Recipe(
        data=options.data,
        modalities=options.modalities,
        data_dir=options.data_dir,
        settings=settings,
        fusion=options.fusion,
        width=options.width,
        precision=options.precision,
        device=options.device,
        encoders=to_dict("encoder", options.encoder),
        task=options.task,
        subsets=options.subsets,
        freeze=options.freeze,
    )


def method_labels(labels: Sequence[str], words: Sequence[str]) -> list[str]:
    """The labels of methods, with the options of ``--set METHOD.KEY=VALUE`` in them."""
    from counterpoise.methods.registry import split_chain

    chains = [split_chain(label) for label in labels]
    for word in words:
        name, dot, rest = word.partition(".")
        known = [(chain, k) for chain in chains for k in range(len(chain))]
        found = [(chain, k) for chain, k in known if chain[k].split(":")[0] == name]
        if not dot or not found:
            every = [chain[k].split(":")[0] for chain, k in known]
            raise unknown("method in --set (METHOD.KEY=VALUE)", name, every)
        for chain, k in found:
            chain[k] += f":{rest}"
    return ["+".join(chain) for chain in chains]
