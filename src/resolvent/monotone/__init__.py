"""The learned operator F, independent of the physics."""

from resolvent.monotone.approximate import PlainCNN
from resolvent.monotone.certified import CertifiedStack
from resolvent.monotone.conditioned import ConditionedRidge, ConditionedStack
from resolvent.monotone.convnorm import conv_norm_bound
from resolvent.monotone.estimates import lipschitz_penalty, local_lipschitz, log_barrier
from resolvent.monotone.footprint import Footprint, footprint
from resolvent.monotone.operator import Bound, Kind, MonotoneOperator, ScanContext, Score, Tier
from resolvent.monotone.planes import CertifiedPlanes, CertifiedSeries
from resolvent.monotone.ridge import ConvexRidge
from resolvent.monotone.strict import ProductNetwork, ResidualStack
from resolvent.monotone.tiling import Tile, in_tiles

__all__ = [
    "Bound",
    "CertifiedPlanes",
    "CertifiedSeries",
    "CertifiedStack",
    "ConditionedRidge",
    "ConditionedStack",
    "ConvexRidge",
    "Footprint",
    "Kind",
    "MonotoneOperator",
    "PlainCNN",
    "ProductNetwork",
    "ResidualStack",
    "ScanContext",
    "Score",
    "Tier",
    "Tile",
    "conv_norm_bound",
    "footprint",
    "in_tiles",
    "lipschitz_penalty",
    "local_lipschitz",
    "log_barrier",
]
