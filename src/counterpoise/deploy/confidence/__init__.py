"""How sure a prediction is with the modalities that a row has: temperatures, thresholds, sets.

May import: ``evaluation`` and what is below it.
"""

from __future__ import annotations

from .abstention import Answers
from .confidence import Confidence

__all__ = ["Answers", "Confidence"]
