"""The learned operator F. Knows nothing of the physics."""

from resolvent.monotone.approximate import PlainCNN
from resolvent.monotone.certified import CertifiedStack
from resolvent.monotone.conditioned import ConditionedRidge, ConditionedStack
from resolvent.monotone.convnorm import conv_norm_bound
from resolvent.monotone.estimates import lipschitz_penalty, local_lipschitz, log_barrier
from resolvent.monotone.operator import Bound, Kind, MonotoneOperator, ScanContext, Score, Tier
from resolvent.monotone.ridge import ConvexRidge
from resolvent.monotone.strict import ProductNetwork, ResidualStack

__all__ = [
    "Bound",
    "CertifiedStack",
    "ConditionedRidge",
    "ConditionedStack",
    "ConvexRidge",
    "Kind",
    "MonotoneOperator",
    "PlainCNN",
    "ProductNetwork",
    "ResidualStack",
    "ScanContext",
    "Score",
    "Tier",
    "conv_norm_bound",
    "lipschitz_penalty",
    "local_lipschitz",
    "log_barrier",
]
