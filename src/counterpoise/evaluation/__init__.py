"""How good a model is with every subset of its modalities, and what training together changed.

May import: ``methods`` and what is below it.
"""

from .colearning import Verdict, colearning
from .contributions import Contribution, contributions
from .evaluator import evaluate
from .result import Evaluation
from .subsets import choose_subsets, present_name, subsets

__all__ = [
    "Contribution",
    "Evaluation",
    "Verdict",
    "choose_subsets",
    "colearning",
    "contributions",
    "evaluate",
    "present_name",
    "subsets",
]
