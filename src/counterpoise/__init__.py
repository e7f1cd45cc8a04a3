"""Counterpoise: multimodal models in which every modality pulls its weight."""

from typing import TYPE_CHECKING

from .core.lazy import lazy
from .core.version import __version__

if TYPE_CHECKING:
    from .core.batch import Batch, Output
    from .core.declared import Bounds
    from .core.loader import Loader
    from .core.metric import Metric
    from .core.metrics import METRICS
    from .core.tasks import TASKS, Classification, MultiLabel, Regression, Sentiment, Task
    from .data import DATASETS, ArrayData, Dataset, Modalities, load
    from .data.readers import READERS
    from .deploy.prediction import Prediction
    from .deploy.predictor import Predictor
    from .encoders import ENCODERS
    from .engine.callback import Callback
    from .engine.chain import Chain
    from .engine.context import Context
    from .engine.method import Method
    from .engine.schedule import Rates
    from .errors import InputError, NotFiniteError
    from .estimator import MultimodalClassifier, MultimodalRegressor
    from .evaluation.colearning import Verdict, colearning
    from .evaluation.evaluator import evaluate
    from .evaluation.result import Evaluation
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
    from .training.optimizers import OPTIMIZERS
    from .training.run import Run
    from .training.schedules import SCHEDULES
    from .training.settings import Settings
else:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            **dict.fromkeys(("core", "deploy", "engine", "evaluation", "models", "training"), ""),
            "core.batch": "Batch Output",
            "core.declared": "Bounds",
            "core.loader": "Loader",
            "core.metric": "Metric",
            "core.metrics": "METRICS",
            "core.tasks": "TASKS Classification MultiLabel Regression Sentiment Task",
            "data": "DATASETS ArrayData Dataset Modalities load",
            "data.readers": "READERS",
            "encoders": "ENCODERS",
            "deploy.prediction": "Prediction",
            "deploy.predictor": "Predictor",
            "engine.callback": "Callback",
            "engine.chain": "Chain",
            "engine.context": "Context",
            "engine.method": "Method",
            "engine.schedule": "Rates",
            "errors": "InputError NotFiniteError",
            "estimator": "MultimodalClassifier MultimodalRegressor",
            "evaluation.colearning": "Verdict colearning",
            "evaluation.result": "Evaluation",
            "evaluation.evaluator": "evaluate",
            "fusion": "FUSIONS MMTM Boosted Bottleneck Concat Cosine EarlyLSTM FiLM Fusion Gated "
            "Late MemoryFusion Shared Sum",
            "methods": "METHODS",
            "methods.registry": "build_method",
            "models.multimodal": "MultimodalModel",
            "models.wrap": "wrap",
            "training.build": "build_model",
            "training.fit": "fit",
            "training.optimizers": "OPTIMIZERS",
            "training.run": "Run",
            "training.schedules": "SCHEDULES",
            "training.settings": "Settings",
        },
    )

__all__ = [
    "DATASETS",
    "ENCODERS",
    "FUSIONS",
    "METHODS",
    "METRICS",
    "MMTM",
    "OPTIMIZERS",
    "READERS",
    "SCHEDULES",
    "TASKS",
    "ArrayData",
    "Batch",
    "Boosted",
    "Bottleneck",
    "Bounds",
    "Callback",
    "Chain",
    "Classification",
    "Concat",
    "Context",
    "Cosine",
    "Dataset",
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
    "Modalities",
    "MultiLabel",
    "MultimodalClassifier",
    "MultimodalModel",
    "MultimodalRegressor",
    "NotFiniteError",
    "Output",
    "Prediction",
    "Predictor",
    "Rates",
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
