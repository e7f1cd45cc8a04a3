"""A trained model as one graph, for ONNX Runtime or PyTorch, whole or for some modalities.

May import: the rest of ``deploy`` and what is below it.
"""

from __future__ import annotations

from .exporting import export

__all__ = ["export"]
