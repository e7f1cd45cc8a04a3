"""The model card of a pack, from what its ``config.json`` says.

May import: the rest of ``deploy`` and what is below it.
"""

from __future__ import annotations

from .card import write_card

__all__ = ["write_card"]
