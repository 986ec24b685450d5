"""Small problems that many tests share: random scans, dense matrices of operators, scores of every kind."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from resolvent.linop import SENSE
from resolvent.monotone import (
    Bound,
    CertifiedPlanes,
    CertifiedSeries,
    CertifiedStack,
    ConditionedRidge,
    ConditionedStack,
    ConvexRidge,
    MonotoneOperator,
    PlainCNN,
    ProductNetwork,
    ResidualStack,
    Score,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.complex128) -> Tensor:
    """Normal numbers, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.complex128 if dtype.is_complex else torch.float64).to(
        dtype
    )


def unit_maps(*shape: int, sets: int = 1, seed: int = 1) -> Tensor:
    """Random maps ``(batch, coil, [set], ...)`` whose squares sum to one over coils and sets in every pixel."""
    maps = random(*shape, seed=seed)
    axes = (1,) if sets == 1 else (1, 2)
    return maps / maps.abs().square().sum(axes, keepdim=True).sqrt()


def random_mask(*shape: int, density: float = 0.5, seed: int = 2) -> Tensor:
    """Zeros and ones in complex128's real type; the centre of k-space is measured."""
    generator = torch.Generator().manual_seed(seed)
    mask = (torch.rand(*shape, generator=generator, dtype=torch.float64) < density).double()
    mask[..., shape[-2] // 2, shape[-1] // 2] = 1
    return mask


def dense(apply: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Matrix of a complex-linear map of images of `shape` (batch 1): columns are images of unit vectors."""
    size = math.prod(shape)
    columns = apply(torch.eye(size, dtype=torch.complex128).reshape(size, *shape))
    return columns.reshape(size, -1).T


@dataclass(frozen=True)
class Setting:
    """One geometry: how to build the operator, and the shapes that go with it."""

    name: str
    image: tuple[int, ...]  # behind the batch
    maps: tuple[int, ...]  # behind batch and coil
    mask: tuple[int, ...]
    ndim: int  # spatial axes of the physics
    network: int  # axes that a network convolves
    coils: int = 3
    sets: int = 1

    def operator(self, batch: int = 1, *, maps: Tensor | None = None, mask: Tensor | None = None, **kwargs) -> SENSE:
        if maps is None:
            maps = self.random_maps(batch)
        if mask is None:
            mask = random_mask(batch, *self.mask)
        return SENSE(maps, mask, ndim=self.ndim, sets=self.sets, **kwargs)

    def random_maps(self, batch: int = 1) -> Tensor:
        return unit_maps(batch, self.coils, *self.maps, sets=self.sets)

    def kspace(self, batch: int = 1, seed: int = 3) -> Tensor:
        lead_and_space = self.image[1:] if self.sets > 1 else self.image
        return random(batch, self.coils, *lead_and_space, seed=seed)


PLANE = Setting("2-D", (6, 5), (6, 5), (6, 5), ndim=2, network=2)
VOLUME = Setting("3-D", (3, 4, 5), (3, 4, 5), (3, 4, 5), ndim=3, network=3, coils=2)
DYNAMIC = Setting("2-D+time", (3, 4, 5), (1, 4, 5), (3, 4, 5), ndim=2, network=3, coils=2)
FRAMES = Setting("2-D frames", (3, 4, 5), (1, 4, 5), (3, 4, 5), ndim=2, network=2, coils=2)
TWO_SETS = Setting("two map sets", (2, 4, 5), (2, 4, 5), (1, 4, 5), ndim=2, network=2, sets=2)
TWO_SETS_DYNAMIC = Setting("two sets+time", (2, 3, 4, 5), (2, 1, 4, 5), (1, 3, 4, 5), ndim=2, network=2, sets=2)
ODD = Setting("odd", (5, 7), (5, 7), (5, 7), ndim=2, network=2)
ONE_COIL = Setting("one coil", (4, 5), (4, 5), (4, 5), ndim=2, network=2, coils=1)
SETTINGS = (PLANE, VOLUME, DYNAMIC, FRAMES, TWO_SETS, ODD, ONE_COIL)


STRICT = [
    "ProductNetwork",
    "ResidualStack",
    "ConvexRidge",
    "ConditionedStack",
    "ConditionedRidge",
    "CertifiedStack",
]
CONDITIONED = STRICT[3:]
CERTIFIED = {"channels": 4, "layers": 2, "trunk_layers": 2, "passes": 2}
WIDE = {**CERTIFIED, "dilations": 2, "trunks": 2}
KINDS = ["PlainCNN", *STRICT]


class LinearScore(MonotoneOperator):
    """``F = I - H`` with a complex matrix H of norm at most ``1 - m``; or ``F = eps I`` for ``H = (1 - eps) I``."""

    def __init__(self, matrix: Tensor, ndim: int = 2, c: float = 1.0, m: float | None = None) -> None:
        super().__init__(ndim)
        self.register_buffer("matrix", matrix)
        self._c, self._m = c, 1 - float(torch.linalg.matrix_norm(matrix, 2)) if m is None else m

    @classmethod
    def identity(cls, eps: float, size: int) -> "LinearScore":
        return cls((1 - eps) * torch.eye(size, dtype=torch.complex128))

    @property
    def c(self) -> Bound:
        return Bound(self._c, "proved")

    @property
    def m(self) -> Bound:
        return Bound(self._m, "proved")

    @property
    def tier(self) -> str:
        return "all-data"

    def condition(self, context=None) -> Score:
        def network(x: Tensor, shared: tuple[Tensor, ...], own: tuple[Tensor, ...]) -> Tensor:
            return (x.reshape(x.shape[0], -1) @ shared[0].T).reshape(x.shape)

        return Score(network, (self.matrix,))


def small_scores(ndim: int, m: float = 0.3, seed: int = 0) -> dict[str, MonotoneOperator]:
    """One small network of every kind in double precision, none of them trivial: biases are not zero."""
    torch.manual_seed(seed)
    scores: dict[str, MonotoneOperator] = {
        "PlainCNN": PlainCNN(m=m, channels=4, depth=3, ndim=ndim),
        "ProductNetwork": ProductNetwork(m=m, channels=4, depth=3, ndim=ndim),
        "ResidualStack": ResidualStack(m=m, channels=4, layers=3, ndim=ndim),
        "ConditionedStack": ConditionedStack(m=m, channels=4, layers=2, width=4, passes=2, ndim=ndim),
        "ConvexRidge": ConvexRidge(m=m, channels=4, size=3, ndim=ndim),
        "ConditionedRidge": ConditionedRidge(m=m, channels=4, size=3, width=4, passes=2, ndim=ndim),
        "CertifiedStack": CertifiedStack(m=m, **(WIDE if ndim == 2 else CERTIFIED), ndim=ndim),
    }
    if ndim == 3:
        scores["CertifiedPlanes"] = CertifiedPlanes(m=m, **CERTIFIED)
        with torch.random.fork_rng():  # the others stay as they are
            scores["CertifiedSeries"] = CertifiedSeries(m=m, **CERTIFIED)
    for score in scores.values():
        score.double()
        with torch.no_grad():
            for p in score.parameters():
                if p.ndim == 1:
                    p.add_(0.1 * torch.randn_like(p))
    with torch.no_grad():
        # knots where the images of the tests have values
        for score in (scores["ConvexRidge"], scores["ConditionedRidge"]):
            score.splines.log_width.add_(2.0)
            score.splines.logits.add_(torch.randn_like(score.splines.logits))
        for w in scores["PlainCNN"].weights:  # Lipschitz constant below 1 - m: the product of generous bounds
            w.mul_(0.8 / w.flatten(1).norm() / (9 if ndim == 2 else 27) ** 0.5)
    return scores
