"""A trained model that stands alone: packed, opened elsewhere, asked, exported and served.

May import: ``evaluation`` and what is below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from counterpoise.core.lazy import lazy

if TYPE_CHECKING:
    from .confidence import Confidence
    from .pack import make_predictor
    from .prediction import Prediction
    from .predictor import Predictor

__all__ = ["Confidence", "Prediction", "Predictor", "make_predictor"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(
        __name__,
        {
            "confidence": "Confidence",
            "pack": "make_predictor",
            "prediction": "Prediction",
            "predictor": "Predictor",
        },
    )
