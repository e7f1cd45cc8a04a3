"""UME: the ensemble of unimodal models."""

from __future__ import annotations

from .unimodal import Unimodal


class UME(Unimodal):
    """Train a model for each modality on its own, and average their logits (UME).

    The training is the same as ``unimodal``, to the bit. It has its own name in the table because
    it is a method of prediction, and the one that joint training must beat.

    Problem: joint training under-learns what each modality says alone. Where that is all there is
    to learn, an ensemble of independent models is as good or better.

    Formula:
        ``L = sum_m CE(u_m, y)``, each a mean over the samples that have ``m``, with no parameter
        shared; ``f = mean_m u_m`` over the present modalities (with the
        fusion ``sum`` their sum, the same class where nothing is missing).

        The paper's rule: train a linear probe on the frozen features of all unimodal models. If it
        is not clearly better than this ensemble, there is little to learn across modalities: use
        UME; otherwise ``umt``. The method ``linear-probe`` is that probe, trained in the same steps
        as the encoders.

    Cost: that of joint training.

    State: none.

    Missing: each model learns from the samples that have its modality; the mean is over the present
    modalities.

    Differs: the paper trains the models one after the other, which gives the same result (except
    with gradient clipping, whose norm here is taken over all of them).
    """

    name = "ume"
    summary = "average the logits of models trained apart (UME)"
    paper = (
        "Du, Teng, Li, Liu, Yuan, Wang, Yuan, Zhao: On Uni-Modal Feature Learning in Supervised "
        "Multi-Modal Learning, ICML 2023, arXiv 2305.01233"
    )
