"""Searches: the same budget of trials for every method, chosen among on validation data alone.

May import: ``compare`` and what is below it.
"""

from counterpoise.data.readers.base import need

need("optuna", "tune")
