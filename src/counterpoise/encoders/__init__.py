"""Small encoders, chosen by the shape of a modality."""

from .small import KINDS, MLP, CNN1d, CNN2d, Standardize, default_encoder, kind_of

__all__ = ["KINDS", "MLP", "CNN1d", "CNN2d", "Standardize", "default_encoder", "kind_of"]
