"""From a table of new rows to a table of answers: in batches, in bounded memory, resumable."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from counterpoise.core.strict_json import to_json
from counterpoise.data.preparation.paths import Inside
from counterpoise.deploy.inputs.samples import Samples
from counterpoise.deploy.predictor import Predictor
from counterpoise.errors import InputError, check_number

from .layout import TARGET, VALUES, Layout
from .parts import Parts, check_format
from .roles import find_roles
from .source import Chunk, Source
from .targets import count_unknown, read_targets, to_tensor

Array = NDArray[Any]
Scores = dict[tuple[str, ...], dict[str, float]]
Kept = tuple[Array, Array, Array]  # subset, target and values of some rows


@dataclass(frozen=True)
class Asked:
    """What is asked of a table.

    Attributes:
        id: column of ids; None takes ``id`` where it is; empty: none.
        target: column of the truth; None takes ``target`` where it is; empty: none.
        ignore: columns that are nothing.
        accuracy: wanted of the answers: others are marked as withheld.
        coverage: wanted of sets of classes, or of intervals.
        inside: a path in a cell that leads out of the table's folder is a problem of its row.
    """

    id: str | None = None
    target: str | None = None
    ignore: Sequence[str] = ()
    accuracy: float | None = None
    coverage: float | None = None
    inside: bool = False


@dataclass
class Report:
    """What became of the rows of a table.

    Attributes:
        rows: how many there are.
        answered: from all that they brought.
        partly: from a part of it: something could not be read.
        unanswered: not at all.
        withheld: of those that were answered, where an accuracy was asked for.
        subsets: modalities that are present -> rows, and the metric to be expected of them.
        metric: the name of that metric.
        filled: modality -> values that were not measured, which the training mean stands for.
        cropped: modality -> rows that were longer than any of training.
        targets: rows with a target, whatever it is.
        scored: of those, the ones with an answer and a target that the model knows, by which the
            answers were scored.
        unknown: rows with a target that is no class of the model, or no number of a regression.
        unknown_targets: these targets -> rows, the most frequent 20.
        scores: modalities of rows -> metric -> value, those of all rows first.
        problems: the first few rows with a problem, and which.
    """

    rows: int = 0
    answered: int = 0
    partly: int = 0
    unanswered: int = 0
    withheld: int | None = None
    subsets: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    metric: str = ""
    filled: dict[str, int] = field(default_factory=dict)
    cropped: dict[str, int] = field(default_factory=dict)
    targets: int = 0
    scored: int = 0
    unknown: int = 0
    unknown_targets: dict[str, int] = field(default_factory=dict)
    scores: Scores = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)


NOTHING = "nan"
SHOWN = 5  # rows with problems that a report names
TOLD = 20  # targets that are no class that a report names


class TablePrediction:
    """The answers to a table, which :meth:`run` writes to a file.

    Args:
        predictor: that answers.
        path: of a CSV, TSV, Parquet or JSON-lines table, or of a ``.npz`` file of arrays.
        out: a ``.csv``, ``.parquet`` or ``.jsonl`` file.
        asked: what is asked.
        resume: go on with what a run that was killed has written.

    Attributes:
        source: the table.
        roles: what its columns are taken as.

    Raises:
        InputError: columns that do not fit, an output that is there, parts of something else.
    """

    def __init__(
        self,
        predictor: Predictor,
        path: Path | str,
        out: Path | str,
        asked: Asked = Asked(),
        *,
        resume: bool = False,
    ) -> None:
        check_format(Path(out))
        self.predictor, self.asked = predictor, asked
        self.source = Source(path, predictor.modalities)
        self.roles = find_roles(
            self.source.columns,
            predictor.modalities,
            id=asked.id,
            target=asked.target,
            ignore=asked.ignore,
            where=self.source.path.name,
            features={m: how.columns for m, how in predictor.preprocessing.items()},
        )
        self.layout = Layout(
            predictor.task,
            predictor.classes,
            predictor.modalities,
            id=self.roles.id,
            accuracy=asked.accuracy is not None,
            coverage=asked.coverage is not None,
            scored=self.roles.target is not None,
        )
        self._check_asked()
        identity = {
            "model": identify(predictor),
            "table": self.source.digest(),
            "roles": asdict(self.roles),
            "accuracy": asked.accuracy,
            "coverage": asked.coverage,
            **({"inside": True} if asked.inside else {}),
        }
        self.parts = Parts(out, self.layout, identity, resume=resume)

    def _check_asked(self) -> None:
        """Find what cannot be promised before anything is written."""
        asked, confidence = self.asked, self.predictor.confidence
        chances = torch.full((1, self.predictor.task.outputs), 0.5)
        present = torch.ones(1, len(self.predictor.modalities), dtype=torch.bool)
        if asked.accuracy is not None:
            confidence.keeps(chances, present, asked.accuracy)
        if asked.coverage is not None:
            confidence.sets(chances, present, asked.coverage)

    def run(self, batch_size: int = 1024, tick: Callable[[int], None] | None = None) -> Report:
        """Answer all rows that are not answered yet, and write the output.

        Args:
            batch_size: rows that are read and answered at once.
            tick: called with the number of rows that are done in all.

        Raises:
            InputError: a damaged table, or one without a row.
        """
        check_number("batch_size", batch_size, 1, whole=True)
        roles, done = self.roles, self.parts.done
        names = [n for m in roles.modalities for n in roles.features.get(m, (m,))]
        names += [n for n in (roles.id, roles.target) if n is not None]
        if done and tick is not None:
            tick(done)
        for chunk in self.source.read(names, batch_size, skip=done):
            self._answer(chunk)
            done += len(chunk)
            if tick is not None:
                tick(done)
        self.parts.flush()
        if not done:
            self.parts.remove()
            raise InputError(f"{self.source.path} holds no row")
        report = self._report()
        self.parts.join()
        self.parts.remove()
        return report

    def _answer(self, chunk: Chunk) -> None:
        features = self.roles.features
        given = {
            m: _join([chunk.cells[n] for n in features[m]]) if m in features else chunk.cells[m]
            for m in self.roles.modalities
        }
        folder = self.source.folder
        start = Inside(folder) if self.asked.inside else folder
        samples = _say(self.predictor.read(given, start), chunk.wrong)
        asked = self.asked
        found = self.predictor.answer(samples, accuracy=asked.accuracy, coverage=asked.coverage)
        targets: list[Any] = []
        notes: dict[str, Mapping[str, int]] = {}
        if self.roles.target is not None:
            cells = chunk.cells[self.roles.target]
            targets = read_targets(cells, self.predictor.task, self.predictor.classes)
            notes = {"unknown": count_unknown(cells, targets)}
        batch = self.layout.make(found, chunk, targets)
        self.parts.add(batch, {"filled": samples.filled, "cropped": samples.cropped, **notes})

    def _report(self) -> Report:
        """What the parts hold, which may be those of an earlier run."""
        expected = f"expected_{self.predictor.task.primary}"
        report = Report(metric=self.predictor.task.primary)
        report.withheld = 0 if self.layout.accuracy else None
        kept: list[Kept] = []
        unknown: Counter[str] = Counter()
        for batches, notes in self.parts.read():
            for kind, counts in (("filled", report.filled), ("cropped", report.cropped)):
                for name, count in notes.get(kind, {}).items():
                    counts[name] = counts.get(name, 0) + count
            unknown.update(notes.get("unknown", {}))
            for batch in batches:
                _count(report, batch, expected, self._key)
                if self.layout.scored:
                    kept.append(_keep(batch, self._key))
                    report.targets += len(batch) - batch.column(TARGET).null_count
        report.unknown, report.unknown_targets = unknown.total(), dict(unknown.most_common(TOLD))
        report.targets += report.unknown
        report.subsets = dict(sorted(report.subsets.items(), key=_order))
        if kept:
            self._score(report, kept)
        return report

    @property
    def _key(self) -> str:
        """A column that is null where there is no answer."""
        names: list[str] = self.layout.schema.names
        return next(name for name in names[1:] if name.startswith(("label", "prediction")))

    def _score(self, report: Report, kept: list[Kept]) -> None:
        task = self.predictor.task
        some = [each for each in kept if len(each[0])]
        report.scored = sum(len(names) for names, _, _ in some)
        if not some:
            return
        subset, targets, values = map(np.concatenate, zip(*some, strict=True))
        truth, logits = to_tensor(targets, task), self.layout.logits(values)
        report.scores[("all rows",)] = task.metrics(logits, truth)
        for name in sorted(set(subset.tolist()), key=lambda n: _order((n, None))):
            rows = torch.from_numpy(np.flatnonzero(subset == name))
            report.scores[tuple(name.split("+"))] = task.metrics(logits[rows], truth[rows])


def _say(samples: Samples, wrong: Mapping[int, str]) -> Samples:
    """The samples, with why whole rows could not be read."""
    return replace(samples, problems={**samples.problems, **wrong}) if wrong else samples


def _order(item: tuple[str, Any]) -> tuple[int, str]:
    """Subsets of more modalities first, and none last."""
    name = item[0]
    return (-name.count("+") - 1 if name else 0, name)


def _count(report: Report, batch: Any, expected: str, key: str) -> None:
    """Add the rows of a batch."""
    answered = np.asarray(batch.column(key).is_valid())
    problems = batch.column("problem")
    wrong = np.asarray(problems.is_valid())
    report.rows += len(batch)
    report.answered += int((answered & ~wrong).sum())
    report.partly += int((answered & wrong).sum())
    report.unanswered += int((~answered).sum())
    if report.withheld is not None:
        report.withheld += sum(x is True for x in batch.column("abstain").to_pylist())
    names = np.array(batch.column("present").to_pylist())
    for name, first, count in zip(
        *np.unique(names, return_index=True, return_counts=True), strict=True
    ):
        before = report.subsets.get(str(name), (0, None))[0]
        value = batch.column(expected)[int(first)].as_py()
        report.subsets[str(name)] = (before + int(count), value)
    for place in np.flatnonzero(wrong)[: SHOWN - len(report.problems)].tolist():
        row = batch.column(0)[place].as_py()
        report.problems.append((str(row), problems[place].as_py()))


def _keep(batch: Any, key: str) -> Kept:
    """Subset, target and values of the rows that have an answer and a target."""
    good = np.asarray(batch.column(key).is_valid()) & np.asarray(batch.column(TARGET).is_valid())
    places = np.flatnonzero(good)
    names = np.array(batch.column("present").to_pylist())[places]
    targets, values = (_flatten(batch.column(name), places) for name in (TARGET, VALUES))
    return names, targets, values


def _flatten(lists: Any, places: Array) -> Array:
    """[n, K] of the lists of K numbers at these places."""
    if not len(places):
        return np.zeros((0, 1))
    values: Array = lists.take(places).flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(places), -1)


def identify(predictor: Predictor) -> str:
    """64 hexadecimal digits that change with anything that answers depend on."""
    digest = hashlib.sha256()
    method: Any = predictor.method.ruler()
    states = [predictor.model.state_dict(), {} if method is None else method.rule_state()]
    for state in states:
        for name, tensor in state.items():
            digest.update(to_json([name, str(tensor.dtype), list(tensor.shape)]).encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    facts = [
        {name: way.state() for name, way in predictor.preprocessing.items()},
        predictor.confidence.state(),
        predictor.facts.get("figures"),
        predictor.facts.get("model"),
        list(predictor.classes),
    ]
    digest.update(to_json(facts, sort_keys=True).encode())
    return digest.hexdigest()


def _join(columns: Sequence[Any]) -> list[str | None]:
    """The features of each row, as one cell that holds them all; None where there is none."""
    rows = ([_write(cell) for cell in cells] for cells in zip(*columns, strict=True))
    return [None if set(row) == {NOTHING} else " ".join(row) for row in rows]


def _write(cell: Any) -> str:
    text = "" if cell is None or cell != cell else str(cell).strip()
    return text.replace(" ", "_") or NOTHING  # what is no number stays one word, and is refused
