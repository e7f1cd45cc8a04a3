"""A data set by its name, by the folder in which it was prepared, or by its file of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from shlex import quote

from counterpoise.core.paths import expand
from counterpoise.errors import InputError, show, unknown

from .catalogue import DATASETS
from .dataset import Dataset
from .npz import is_npz, load_npz
from .preparation.cache import is_cache, open_cache
from .preparation.table_file import FORMATS


def is_name(source: str | Path) -> bool:
    """Whether this is a name in ``DATASETS``, with or without options, and not a folder."""
    return str(source).partition(":")[0] in DATASETS


def load(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    modalities: Sequence[str] | None = None,
    task: str | None = None,
) -> Dataset:
    """A data set by its name in ``DATASETS``, by a folder or by a file.

    Args:
        name: such as ``"digits"``, also with options (``"av-mnist:seed=1"``); or a folder that
            ``counterpoise prepare`` wrote; or a ``.npz`` file of arrays (``docs/data.md``).
        data_dir: where data sets lie; default COUNTERPOISE_DATA, then the user's cache.
        modalities: which to load; None loads the data set's default ones.
        task: what is learnt of a file of arrays: ``"classification"``, ``"regression"`` or
            ``"multilabel"``; None tells it from the target.

    Raises:
        InputError: an unknown name or modality, data that are not there or not complete.
    """
    if not isinstance(name, str | PathLike):
        raise InputError(f"name must be a name or a path of data, found {show(name)}")
    if modalities is not None and (
        isinstance(modalities, str) or not isinstance(modalities, Iterable)
    ):
        raise InputError(f"modalities must be a list of names, found {show(modalities)}")
    if data_dir is not None and is_name(name) and expand(data_dir).is_file():
        raise InputError(f"data_dir (--data-dir) must be a folder, found the file {data_dir}")
    if task is not None and (is_name(name) or not is_npz(name)):
        raise InputError(f"task is for files of arrays (.npz); {name} has its own, leave it out")
    if is_name(name):
        return DATASETS.build(str(name)).load(data_dir, modalities)
    if is_npz(name):
        return _select(load_npz(name, task), modalities)
    if not (folder := expand(name)).is_dir():
        raise _explain(name, folder)
    return _select(open_cache(folder), modalities)


def _explain(name: str | Path, path: Path) -> InputError:
    """Why nothing is loaded from what is no folder, and what to do."""
    suffix, makes = path.suffix.lower(), "a folder from which training reads"
    if suffix in FORMATS and path.is_file():
        made = path.with_suffix("")
        out = made if not made.exists() or is_cache(made) else made.with_name(f"{made.name}-data")
        first = f"counterpoise prepare {quote(str(name))} {quote(str(out))}"
        then = f"counterpoise train {quote(str(out))}"
        return InputError(f"{name} is a table; `{first}` makes {makes}: `{then}`")
    if path.is_file():
        return InputError(
            f"{name} is neither a .npz file nor a table ({', '.join(FORMATS)}); save it as one of "
            f"these; `counterpoise prepare TABLE OUT` makes of a table {makes}"
        )
    if suffix in FORMATS or len(path.parts) > 1:
        return InputError(f"{name} is no folder of prepared data: it is not there")
    others = ("a folder of prepared data", "or a .npz file")
    return unknown("data set", name, [*DATASETS, *others])


def find_source(source: str | Path, data_dir: str | Path | None = None) -> Path | None:
    """Where a folder of prepared data or a file of arrays is by now; None if it is not found.

    Args:
        source: where it was.
        data_dir: where it is, or, of a file, the folder that it is in.
    """
    places = [Path(source)]
    if data_dir is not None:
        root = expand(data_dir)
        if not root.is_dir() and not (root.is_file() and is_npz(root)):
            raise InputError(f"data_dir (--data-dir) must be a folder of data, found {root}")
        places = [root, root / Path(source).name, *places]
    if is_npz(source):
        return next((p for p in places if is_npz(p) and p.is_file()), None)
    return next((p for p in places if is_cache(p)), None)


def _select(data: Dataset, modalities: Sequence[str] | None) -> Dataset:
    """The data set with these of its modalities, or with all."""
    if modalities is None:
        return data
    return data.select(*modalities)
