"""How sure a prediction is with the modalities that a row has: temperatures, thresholds, sets.

May import: ``evaluation`` and what is below it.
"""

from __future__ import annotations

from ..confidence import Confidence
from .abstention import Answers

__all__ = ["Answers", "Confidence"]
