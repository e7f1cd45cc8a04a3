"""The scikit-learn door: estimators that learn from a dict of arrays and predict from any part.

May import: ``training`` and what is below it.
"""

from __future__ import annotations

from .classifier import MultimodalClassifier
from .regressor import MultimodalRegressor

__all__ = ["MultimodalClassifier", "MultimodalRegressor"]
