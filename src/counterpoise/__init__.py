"""Counterpoise: multimodal models in which every modality pulls its weight."""

from typing import TYPE_CHECKING, Any

from .batch import Batch, Output
from .build import build_model
from .chain import Chain
from .context import Context
from .data import DATASETS, ArrayData, load
from .encoders import ENCODERS
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
from .loader import Loader
from .method import Method
from .methods import METHODS
from .model import MultimodalModel
from .registry import build_method
from .tasks import Classification, MultiLabel, Regression, Sentiment, Task
from .trainer import Run, Settings, fit
from .wrap import wrap

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .estimator import MultimodalClassifier, MultimodalRegressor

__all__ = [
    "DATASETS",
    "ENCODERS",
    "FUSIONS",
    "METHODS",
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
