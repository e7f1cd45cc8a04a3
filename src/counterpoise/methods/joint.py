"""Joint training: one loss on the fused prediction."""

from __future__ import annotations

from counterpoise.method import Method


class Joint(Method):
    """Plain end-to-end training of all encoders and the head, ``L = CE(f, y)``.

    The baseline. It learns the quick modality and neglects the rest, and its parts are of little
    use alone.
    """

    name = "joint"
    summary = "one loss on the fused prediction: the baseline"
    paper = "the baseline of every paper in the field"
