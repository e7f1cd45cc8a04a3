"""Small encoders, chosen by the shape of a modality."""

from counterpoise.data.arrays import KINDS

from .small import MLP, CNN1d, CNN2d, Standardize, default_encoder, kind_of

__all__ = ["KINDS", "MLP", "CNN1d", "CNN2d", "Standardize", "default_encoder", "kind_of"]
