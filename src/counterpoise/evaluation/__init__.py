"""How good a model is with every subset of its modalities."""

from .colearning import Verdict, colearning
from .subsets import Evaluation, evaluate, present_name, subsets

__all__ = ["Evaluation", "Verdict", "colearning", "evaluate", "present_name", "subsets"]
