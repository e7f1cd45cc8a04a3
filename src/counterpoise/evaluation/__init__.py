"""How good a model is with every subset of its modalities, and what training together changed.

May import: ``methods`` and what is below it.
"""

from .colearning import Verdict, colearning
from .subsets import Evaluation, choose_subsets, evaluate, present_name, subsets

__all__ = [
    "Evaluation",
    "Verdict",
    "choose_subsets",
    "colearning",
    "evaluate",
    "present_name",
    "subsets",
]
