"""The command ``counterpoise prepare``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from counterpoise.core.paths import expand
from counterpoise.core.sizes import format_size
from counterpoise.errors import InputError, check_number

from .arguments import TASKS, Command, add_config, names
from .columns import MOST, clean, show_columns
from .progress import Meter, show_progress

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Sheet

    from counterpoise.data import Dataset, Plan, Table


MANY = 12  # modalities, from which on evaluation takes long


def add(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a CSV, TSV, Parquet or JSON-lines table, or a .npz file of arrays, and the folder to "
        "write; or the name of a data set (`counterpoise data`), its folder or archive, and the "
        "folder to write",
    )
    add(
        "--modalities",
        type=names,
        metavar="A,B",
        help="columns, or arrays; default all but those below, if none of them is doubtful",
    )
    add("--ignore", type=names, metavar="A,B", help="columns that are nothing")
    add("--target", default="target", metavar="COLUMN", help="default %(default)s")
    add(
        "--id",
        default="id",
        metavar="COLUMN",
        help="default %(default)s, else the row's number; '' for none, here and below",
    )
    add("--split", default="split", metavar="COLUMN", help="default %(default)s, where it is")
    add("--group", default="group", metavar="COLUMN", help="default %(default)s, where it is")
    add(
        "--weight",
        metavar="COLUMN",
        help="of the factor of each sample's loss; default none, in .npz files weight where it is",
    )
    add("--type", action="append", default=[], metavar="COLUMN=TYPE", help="if not recognised")
    add("--set", action="append", default=[], metavar="COLUMN.KEY=VALUE", help="how to decode it")
    add("--task", choices=TASKS, help="else told from the targets")
    add(
        "--fractions",
        type=_fractions,
        metavar="A,B,C",
        help="of train, validation, test, where they are drawn; else the data set's own, or "
        "0.7,0.15,0.15",
    )
    add("--seed", type=int, default=0, help="draws the splits")
    add(
        "--max-bad",
        type=float,
        default=0.05,
        help="share of bad rows that is too many, %(default)s",
    )
    add(
        "--inside",
        action="store_true",
        help="read no file out of the table's folder, or of RAW: links are followed to see",
    )
    add("--jobs", type=int, default=1, metavar="N", help="processes that decode")
    add("--verify", action="store_true", help="only read all of OUT, and say whether it is whole")
    add_config(parser)
    add("--quiet", action="store_true", help="print nothing but errors")


def _fractions(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers joined by commas, found {text!r}"
        ) from None


def run(options: argparse.Namespace) -> None:
    from counterpoise.core.console import make_console

    if options.verify:
        _verify(options)
        return
    with show_progress(options.quiet) as progress:
        sheet, lines = _prepare(options, progress)
    if not options.quiet:
        make_console().print(sheet)
        print("\n".join(lines))


def _verify(options: argparse.Namespace) -> None:
    """Check prepared data that are there."""
    from counterpoise.data.preparation.verify import verify

    if len(options.paths) != 1:
        raise InputError(
            f"--verify takes one folder, which prepare wrote, found {len(options.paths)} arguments"
        )
    count, without = verify(options.paths[0])
    if not options.quiet:
        age = f"; {without} of them, of an older version, have no checksum" if without else ""
        print(f"{options.paths[0]}: {count} files are whole{age}")


def _prepare(options: argparse.Namespace, progress: Meter) -> tuple[Sheet, list[str]]:
    """Prepare what the command line asks for; a table of what was made, and what to do next."""
    from counterpoise.core.console import make_console
    from counterpoise.data import make_plan, prepare
    from counterpoise.data.preparation.cache import find_older

    check_number("--seed", options.seed, 0, whole=True)
    check_number("--max-bad", options.max_bad, 0, 1)
    check_number("--jobs", options.jobs, 1, 1024, whole=True)
    if not options.target:
        raise InputError("--target must name a column, found ''")
    source, out = _paths(options.paths)
    console = make_console(stderr=True, quiet=options.quiet)
    table = _table(source, out, options, console)
    settings = _options(options.set)
    for modality, older in find_older(out).items():
        if modality in table.readers:
            settings[modality] = older | settings.get(modality, {})
    show_columns(table, console)
    if (many := len(table.readers)) > MANY:
        console.print(
            f"{many} modalities, of whose subsets evaluation looks at few: put what belongs "
            "together in one cell (1 2 3)"
        )
    plan = make_plan(
        table,
        fractions=options.fractions,
        seed=options.seed,
        modalities=options.modalities,
        options=settings,
    )
    if plan.note:
        console.print(clean(plan.note))
    console.print(f"{out} takes {format_size(plan.bytes())}")
    progress.start("decoding", len(plan.rows))
    data = prepare(
        plan,
        out,
        jobs=options.jobs,
        max_bad=options.max_bad,
        tick=progress.advance,
    )
    return _sheet(data, plan), _words(plan, data, out)


def _paths(paths: list[str]) -> tuple[tuple[str, ...], Path]:
    """The manifest, or name and raw folder; and where to write."""
    from counterpoise.data import DATASETS
    from counterpoise.data.loading import is_name

    if len(paths) == 3 or (len(paths) == 2 and is_name(paths[0])):
        entry, _ = DATASETS.resolve(paths[0])
        if not entry.can_prepare():
            raise InputError(f"{paths[0]} needs no preparation: counterpoise train {paths[0]}")
        if len(paths) == 2:
            raise InputError(
                f"prepare {paths[0]} needs RAW and OUT; RAW holds {entry.raw} ({entry.source})"
            )
    if len(paths) not in (2, 3):
        raise InputError(
            f"prepare needs MANIFEST OUT, or NAME RAW OUT, found {len(paths)} arguments"
        )
    return tuple(paths[:-1]), expand(paths[-1])


def _table(
    source: tuple[str, ...], out: Path, options: argparse.Namespace, console: Console
) -> Table:
    from counterpoise.data import DATASETS, read_manifest
    from counterpoise.data.npz import is_npz
    from counterpoise.data.preparation.archives import is_archive
    from counterpoise.data.preparation.paths import check_links

    if len(source) == 1 and is_npz(source[0]):
        return _npz_table(source[0], options)
    if len(source) == 1:
        return read_manifest(
            source[0],
            modalities=options.modalities,
            types=dict(_pairs("type", options.type)),
            ignore=options.ignore or (),
            task=options.task,
            target=options.target,
            id=options.id,
            split=options.split,
            group=options.group,
            weight=options.weight,
            inside=options.inside,
        )
    name, raw = source[0], expand(source[1])
    if options.type or options.task or options.weight or options.ignore:
        raise InputError(
            f"--type, --ignore, --task and --weight are for manifests; {name} has its own"
        )
    if is_archive(raw) and raw.is_file():
        raw = _unpacked(raw, out.with_name(f"{out.name}-raw"), console)
    if not raw.is_dir():
        raise InputError(f"RAW must be a folder or an archive of {name}, found no {raw}")
    if options.inside:
        check_links(raw)
    return DATASETS.build(name).table(raw.resolve())


def _npz_table(path: str, options: argparse.Namespace) -> Table:
    """The samples of a file of arrays as rows; their splits are drawn as for training from it."""
    from counterpoise.data.npz import npz_table

    if options.type or options.ignore:
        flag = "--type" if options.type else "--ignore"
        raise InputError(f"{flag} is for manifests; {path} holds arrays")
    if any("indicators" in chosen for chosen in _options(options.set).values()):
        raise InputError(
            f"--set COLUMN.indicators is for manifests; what was not measured in {path} is filled "
            "by then; use ArrayData(..., indicators=True) in Python"
        )
    named = {part: getattr(options, part) for part in ("target", "id", "split", "group", "weight")}
    return npz_table(
        path,
        options.task,
        fractions=options.fractions or (0.7, 0.15, 0.15),
        seed=options.seed,
        **{part: name for part, name in named.items() if name not in (None, part)},
    )


def _unpacked(archive: Path, folder: Path, console: Console) -> Path:
    """What is in an archive, as a folder beside OUT; unpacked once."""
    from counterpoise.data.preparation.archives import contents, unpack

    if not folder.exists():
        files = contents(archive)
        size = sum(count for _, count in files)
        console.print(f"unpacking {len(files)} files, {format_size(size)}, to {folder}")
        unpack(archive, folder)
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _pairs(argument: str, words: Iterable[str]) -> Iterable[tuple[str, str]]:
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise InputError(f"--{argument} must read COLUMN=VALUE, found {word!r}")
        yield key, value


def _options(words: Iterable[str]) -> dict[str, dict[str, Any]]:
    """``COLUMN.KEY=VALUE`` words by column."""
    from counterpoise.core.labels import parse_options

    found: dict[str, dict[str, Any]] = {}
    for word in words:
        place, equals, value = word.partition("=")
        column, dot, key = place.rpartition(".")  # a column's own name may have dots
        if not dot or not equals:
            raise InputError(f"--set must read COLUMN.KEY=VALUE, found {word!r}")
        found.setdefault(column, {}).update(parse_options([f"{key}={value}"]))
    return found


def _sheet(data: Dataset, plan: Plan) -> Sheet:
    from counterpoise.core.console import make_table

    sheet = make_table(title=f"{clean(data.name)}: {data.task.state()['task']}")
    sheet.add_column("modality")
    sheet.add_column("type")
    sheet.add_column("sample")
    for part in data.splits:
        sheet.add_column(part, justify="right")
    shown = list(data.shapes.items())[:MOST]
    for modality, shape in shown:
        counts = [str(int(split.present[modality].sum())) for split in data.splits.values()]
        name, spec = plan.readers[modality].name, plan.specs[modality]
        kind = next(iter(spec.values()))[0]
        sample = f"{kind} {list(shape)}"
        sheet.add_row(clean(modality), name, sample, *counts)
    if len(data.shapes) > len(shown):
        sheet.add_row(f"... and {len(data.shapes) - len(shown)} more")
    sheet.add_row("all", "", "", *(str(len(split)) for split in data.splits.values()))
    return sheet


def _words(plan: Plan, data: Dataset, out: Path) -> list[str]:
    left = plan.total - sum(len(split) for split in data.splits.values())
    lines = [f"{left} of {plan.total} rows left out: {out / 'bad.csv'}"] if left else []
    return [*lines, f"train: counterpoise train {out}"]


COMMAND = Command(
    "decode a manifest, a file of arrays, or a data set as its owners publish it, once",
    add,
    run,
    usage="counterpoise prepare MANIFEST|FILE.npz OUT [options] | NAME RAW OUT [options] | "
    "OUT --verify",
)
