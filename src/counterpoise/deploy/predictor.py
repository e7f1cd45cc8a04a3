"""A trained model that answers with whatever inputs are there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from counterpoise.core.device import check_device, float32
from counterpoise.core.paths import expand
from counterpoise.core.task import Task
from counterpoise.core.tasks import MultiLabel
from counterpoise.data.preparation.paths import Start
from counterpoise.engine.method import Method
from counterpoise.errors import InputError, check_mapping
from counterpoise.models.multimodal import MultimodalModel

from .answer import Computed, batches, compute, has_chances
from .card import write_card
from .confidence import Confidence
from .features import find_fused
from .figures import expected
from .folder import Pack, write_pack
from .hub import find_folder, upload
from .inputs.preprocessing import Preprocessing
from .inputs.samples import Samples, read_samples
from .opening import open_parts
from .parts import Given
from .prediction import Prediction

if TYPE_CHECKING:
    from counterpoise.fusion import Fusion

Array = NDArray[Any]


class Predictor:
    """A trained model with all that it needs to answer: preprocessing, rule, calibration, figures.

    :meth:`Run.save`, :meth:`MultimodalClassifier.save` and ``counterpoise pack`` write it as one
    folder, a *pack*, and :meth:`load` opens that: no data set, no run folder.

    Args:
        model: with its weights.
        method: whose ``predict`` makes logits of what the model gives.
        task: what was learnt; of a regression with its scale.
        preprocessing: modality -> how what users bring becomes its samples.
        confidence: what was calibrated.
        facts: what ``config.json`` says beside that.

    Example:
        >>> import counterpoise as cp
        >>> data = cp.load("digits")
        >>> run = cp.fit(cp.build_model(data, "multi-loss"), data, "multi-loss", epochs=1)
        >>> predictor = run.predictor()
        >>> found = predictor.predict({"audio": data.test.inputs["audio"][:3]})
        >>> found.label.shape, found.probabilities.shape, found.subsets()[0]
        ((3,), (3, 10), 'audio')
    """

    def __init__(
        self,
        model: MultimodalModel,
        method: Method,
        task: Task,
        preprocessing: Mapping[str, Preprocessing],
        confidence: Confidence,
        facts: Mapping[str, Any],
    ) -> None:
        self.model, self.method, self.task = model.eval(), method.eval(), task
        self.preprocessing, self.confidence = dict(preprocessing), confidence
        self.facts = dict(facts)
        model.task = task

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the model's order."""
        return self.model.modalities

    @property
    def classes(self) -> tuple[Any, ...]:
        """What its classes or labels are called; empty of a regression."""
        return tuple(self.facts.get("classes") or ())

    def __repr__(self) -> str:
        what = self.facts["task"]["task"]
        return f"Predictor({self.facts['method']['name']!r}, {what}, {' + '.join(self.modalities)})"

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: torch.device | str = "cpu",
        model: nn.Module | Callable[[], nn.Module] | None = None,
        encoders: Mapping[str, nn.Module | Callable[[], nn.Module]] | None = None,
        fusion: Fusion | type[Fusion] | None = None,
        method: Method | type[Method] | None = None,
        call: Callable[..., Any] | None = None,
        task: Task | None = None,
    ) -> Predictor:
        """Open a pack.

        Args:
            path: of its folder.
            device: where to compute.
            model: a model of your own that was wrapped: an instance, whose weights are replaced,
                or its class.
            encoders: modality -> an encoder of your own: a module, what makes one, or an
                :class:`Encoder` class, which is made as it was.
            fusion: a fusion of your own, or its class.
            method: a method of your own that has its own ``predict``, or its class.
            call: of :func:`counterpoise.wrap`, where it was used.
            task: of your own, where no installed package brings it. A primary metric that is not
                known here is left out, with a warning, since answers do not need it.

        Raises:
            InputError: no pack, a damaged one, one of a newer version; a part of somebody's own
                that was not passed, or that answers otherwise than the one that was packed.
        """
        where = check_device(device)
        given = Given(model, check_mapping("encoders", encoders, "modules"), fusion, method, call)
        return cls(*open_parts(expand(path), given, task, where))

    @classmethod
    def from_pretrained(cls, name: str | Path, *, revision: str | None = None, **more: Any) -> Any:
        """Open a pack in a folder, or in a repository of the Hugging Face Hub.

        Args:
            name: a folder, or ``owner/name``; needs the extra ``hub`` for the latter.
            revision: branch, tag or commit.
            more: ``token``, ``cache_dir`` and ``local_files_only`` of the Hub; all others are
                those of :meth:`load`.
        """
        hub = {k: more.pop(k) for k in ("token", "cache_dir", "local_files_only") if k in more}
        return cls.load(find_folder(name, revision=revision, **hub), **more)

    def save(
        self, path: Path | str, *, overwrite: bool = False, license: str | None = None
    ) -> None:
        """Write the pack: ``config.json``, ``model.safetensors``, a card ``README.md``.

        Args:
            path: of a folder that does not exist, or is empty.
            overwrite: replace a pack that is there.
            license: of the model, as the Hub names it, such as ``"mit"``; by default as it was.
        """
        if license is not None:
            self.facts["license"] = license
        files: dict[str, bytes] = {}
        for how in self.preprocessing.values():
            files |= how.files()
        weights = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        ruler = self.method.ruler()
        if ruler is not None:
            weights |= {f"method.{k}": v for k, v in ruler.rule_state().items()}
        card = write_card(self.facts)
        write_pack(expand(path), Pack(self.facts, weights, files), card, overwrite=overwrite)

    def save_pretrained(self, path: Path | str) -> None:
        """:meth:`save`, which replaces a pack that is there, as the libraries of the Hub do."""
        self.save(path, overwrite=True)

    def push_to_hub(self, name: str, **more: Any) -> str:
        """Upload the pack to the Hugging Face Hub; needs the extra ``hub``. Returns its address.

        Args:
            name: ``owner/name`` of the repository, which is made if it is not there.
            more: ``private``, ``token``, ``commit_message``, ``revision``.
        """
        return upload(self.save, name, **more)

    def read(self, X: Any, folder: Start | str | None = None) -> Samples:
        """What users bring as samples (:func:`read_samples`); paths start in ``folder``."""
        start = expand(folder) if isinstance(folder, Path | str) else folder
        return read_samples(X, self.preprocessing, start)

    def predict(
        self,
        X: Any,
        *,
        folder: Path | str | None = None,
        accuracy: float | None = None,
        coverage: float | None = None,
    ) -> Prediction:
        """Answer rows, each from the modalities that it has.

        Args:
            X: modality -> array, tensor, or list of paths or texts, any of them left out; a data
                frame; or a list of dicts, one for each row.
            folder: where relative paths start; by default the working directory.
            accuracy: wanted of the answers: ``Prediction.keeps`` says which are to be withheld.
            coverage: wanted of sets of classes (or intervals): ``Prediction.sets``.

        Raises:
            InputError: an unknown modality, arrays of other shapes or unequal lengths. What is
                wrong with a single row is in ``Prediction.problems``, with a warning.
        """
        samples = self.read(X, folder)
        found = self.answer(samples, accuracy=accuracy, coverage=coverage)
        for line in samples.remarks():
            warnings.warn(line, UserWarning, stacklevel=2)
        if found.problems:
            row, reason = next(iter(found.problems.items()))
            warnings.warn(
                f"{len(found.problems)} of {len(found)} rows have problems, which are in "
                f"Prediction.problems; the first, row {row}: {reason}",
                UserWarning,
                stacklevel=2,
            )
        return found

    def predict_proba(self, X: Any, *, folder: Path | str | None = None) -> Array:
        """[N, K], calibrated; in the order of ``classes``.

        Raises:
            InputError: a row that cannot be read in full, or a regression.
        """
        if not has_chances(self.task):
            raise InputError("a regression has no probabilities; predict gives its numbers")
        samples = self._read_whole(X, folder)
        probabilities = self.answer(samples, weigh=False).probabilities
        assert probabilities is not None
        return probabilities

    def embed(self, X: Any, *, folder: Path | str | None = None) -> dict[str, Array]:
        """Features for search, plots and other models.

        Returns:
            Modality -> [N, D], NaN where it is absent; and ``"fused"`` -> [N, D]: what the
            model's last layer reads where there is one for all modalities, else the features of
            all of them side by side; it is called ``":fused"`` where a modality is called so.
        """
        samples = self._read_whole(X, folder)
        found: dict[str, list[Tensor]] = {}
        key = ":fused" if "fused" in self.modalities else "fused"
        with torch.no_grad(), float32():
            for batch in batches(self.model, samples, torch.arange(len(samples))):
                out, fused = find_fused(self.model, batch)
                for name, values in out.features.items():
                    here = batch.present[name][:, None]
                    found.setdefault(name, []).append(values.cpu().where(here, torch.nan))
                found.setdefault(key, []).append(fused.cpu())
        return {name: torch.cat(parts).numpy() for name, parts in found.items()}

    def _read_whole(self, X: Any, folder: Path | str | None) -> Samples:
        samples = self.read(X, folder)
        if samples.problems:
            row, reason = next(iter(samples.problems.items()))
            raise InputError(f"row {row}: {reason}; predict answers the others")
        return samples

    def answer(
        self,
        samples: Samples,
        *,
        accuracy: float | None = None,
        coverage: float | None = None,
        weigh: bool = True,
    ) -> Prediction:
        """Answer samples that have been read. May be called from several threads.

        Args:
            samples: :meth:`read` makes them.
            accuracy: see :meth:`predict`.
            coverage: see :meth:`predict`.
            weigh: find the weight of each modality, for which each is left out once.
        """
        found = compute(self.model, self.method, self.confidence, samples, weigh)
        return self._conclude(found, accuracy, coverage)

    def _conclude(
        self, found: Computed, accuracy: float | None, coverage: float | None
    ) -> Prediction:
        task, names, present = self.task, self.modalities, found.present
        figures = self.facts.get("figures") or {}
        more: dict[str, Any] = {
            "present": {m: present[:, k].numpy() for k, m in enumerate(names)},
            "weights": {m: found.weights[:, k].numpy() for k, m in enumerate(names)},
            "expected": expected(figures, task, names, present.numpy()),
            "metric": task.primary,
            "problems": found.problems,
        }
        if accuracy is not None:
            more["keeps"] = self.confidence.keeps(found.values, present, accuracy).numpy()
        if coverage is not None:
            more["sets"] = self.confidence.sets(found.values, present, coverage).numpy()
        values, label = found.values.numpy(), self._name(found)
        chances = values if has_chances(task) else None
        return Prediction(task, self.classes, label, chances, **more)

    def _name(self, found: Computed) -> Array:
        if not has_chances(self.task):
            numbers: Array = found.values.numpy()
            return numbers if self.task.outputs > 1 else numbers[:, 0]
        gone = found.logits.isnan().any(1).numpy()
        if isinstance(self.task, MultiLabel):
            flags: Array = (found.logits > 0).numpy()
            return np.where(gone[:, None], np.nan, flags) if gone.any() else flags
        places = found.logits.nan_to_num(-torch.inf).argmax(1).numpy()
        named: Array = np.asarray(self.classes)[places]
        if gone.any():  # a class there would be taken for an answer
            named = named.astype(object)
            named[gone] = None
        return named
