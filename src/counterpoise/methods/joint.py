"""Joint training: one loss on the fused prediction."""

from __future__ import annotations

from counterpoise.engine.method import Method


class Joint(Method):
    """Plain end-to-end training of all encoders and the head.

    It is the baseline of every paper of this field, and it has a problem: the modality that is
    learnt fastest takes the gradient away from the others, whose encoders stay poor, and a head
    that never saw a modality alone is of little use when it is alone.

    Formula:
        ``L = mean_i CE(f_i, y_i)``; with the default fusion ``f = sum_m W_m z_m + b`` over the
        present modalities.

    Cost: the reference for all others.

    State: none.

    Missing: an absent modality is not encoded and counts as zero features.
    """

    name = "joint"
    summary = "one loss on the fused prediction: the baseline"
    paper = "the baseline of every paper in the field"
