"""Reconstructions to compare a model with, called like a model: linear, variational and learned."""

from resolvent.mol.baselines.equilibrium import DEGrad
from resolvent.mol.baselines.linear import sense, sense_weight
from resolvent.mol.baselines.network import Baseline
from resolvent.mol.baselines.unet import UNet
from resolvent.mol.baselines.unrolled import ADMMNet, MoDL, UnrolledStack
from resolvent.mol.baselines.variational import total_variation, wavelet

__all__ = [
    "ADMMNet",
    "Baseline",
    "DEGrad",
    "MoDL",
    "UNet",
    "UnrolledStack",
    "sense",
    "sense_weight",
    "total_variation",
    "wavelet",
]
