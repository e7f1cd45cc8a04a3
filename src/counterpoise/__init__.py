"""Counterpoise: multimodal models in which every modality pulls its weight."""

from typing import TYPE_CHECKING, Any

from .core.batch import Batch, Output
from .core.loader import Loader
from .core.metric import Metric
from .core.metrics import METRICS
from .core.tasks import Classification, MultiLabel, Regression, Sentiment, Task
from .core.version import __version__
from .data import DATASETS, ArrayData, load
from .encoders import ENCODERS
from .engine.chain import Chain
from .engine.context import Context
from .engine.method import Method
from .errors import InputError
from .evaluation import Evaluation, Verdict, colearning, evaluate
from .fusion import (
    FUSIONS,
    MMTM,
    Boosted,
    Bottleneck,
    Concat,
    Cosine,
    EarlyLSTM,
    FiLM,
    Fusion,
    Gated,
    Late,
    MemoryFusion,
    Shared,
    Sum,
)
from .methods import METHODS
from .methods.registry import build_method
from .models.multimodal import MultimodalModel
from .models.wrap import wrap
from .training.build import build_model
from .training.fit import fit
from .training.run import Run
from .training.settings import Settings

if TYPE_CHECKING:
    from .estimator import MultimodalClassifier, MultimodalRegressor

__all__ = [
    "DATASETS",
    "ENCODERS",
    "FUSIONS",
    "METHODS",
    "METRICS",
    "MMTM",
    "ArrayData",
    "Batch",
    "Boosted",
    "Bottleneck",
    "Chain",
    "Classification",
    "Concat",
    "Context",
    "Cosine",
    "EarlyLSTM",
    "Evaluation",
    "FiLM",
    "Fusion",
    "Gated",
    "InputError",
    "Late",
    "Loader",
    "MemoryFusion",
    "Method",
    "Metric",
    "MultiLabel",
    "MultimodalClassifier",
    "MultimodalModel",
    "MultimodalRegressor",
    "Output",
    "Regression",
    "Run",
    "Sentiment",
    "Settings",
    "Shared",
    "Sum",
    "Task",
    "Verdict",
    "__version__",
    "build_method",
    "build_model",
    "colearning",
    "evaluate",
    "fit",
    "load",
    "wrap",
]


def __getattr__(name: str) -> Any:
    """The estimators, whose scikit-learn takes a second to import, when they are asked for."""
    if name in ("MultimodalClassifier", "MultimodalRegressor"):
        from . import estimator

        return getattr(estimator, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
