"""Protection of the weights when a run goes wrong: skip batches, go back, give up with a diagnosis."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from typing import Any

from resolvent._errors import ModelError

SPIKE = 5.0
"""A loss of more than this times the recent mean is an outlier: the batch is skipped."""
LOST = 3.0
"""A recent mean of more than this times the best one means that the run diverges."""
PATIENCE = 5
"""Batches skipped in a row before the run goes back."""
BACKOFF = 0.3
"""Factor on the learning rate each time the run goes back."""
RETURNS = 8
"""Times the run goes back before it gives up."""
EVERY = 50
"""Steps between snapshots of a good state."""
MEMORY = 0.95
"""Decay of the recent mean."""


@dataclass
class Guard:
    """Watches losses and gradients, and says what to do. Its state is part of a checkpoint.

    Attributes:
        factor: factor on the learning rate; smaller after each return.
        recent: running mean of the accepted losses.
        best: the smallest value of `recent`.
        accepted: steps taken since the start, the last return or the last change of task.
        skipped: batches left out, in all.
        good: the last good state, opaque: whatever was passed to `keep`.
    """

    factor: float = 1.0
    recent: float = math.nan
    best: float = math.inf
    accepted: int = 0
    skipped: int = 0
    in_a_row: int = 0
    returns: int = 0
    good: Any = field(default=None, repr=False)

    def accepts(self, loss: float, gradient: float) -> bool:
        """Whether a step may be taken: loss and gradient finite, and no outlier."""
        usual = self.accepted < 20 or loss <= SPIKE * self.recent
        if math.isfinite(loss) and math.isfinite(gradient) and usual:
            self.in_a_row = 0
            self.accepted += 1
            keep = min(MEMORY, 1 - 1 / self.accepted) if math.isfinite(self.recent) else 0.0
            self.recent = keep * self.recent + (1 - keep) * loss if keep else loss
            if self.accepted >= 20:
                self.best = min(self.best, self.recent)
            return True
        self.skipped += 1
        self.in_a_row += 1
        return False

    @property
    def lost(self) -> bool:
        """Whether the run must go back to the last good state."""
        return self.in_a_row >= PATIENCE or (self.accepted >= 20 and self.recent > LOST * self.best)

    @property
    def due(self) -> bool:
        """Whether the present state is worth keeping as a good one."""
        return self.in_a_row == 0 and self.accepted % EVERY == 1 and not self.recent > 1.5 * self.best

    def forget(self) -> None:
        """Begin another task, whose losses must not be compared with those so far."""
        self.recent, self.best, self.accepted, self.in_a_row = math.nan, math.inf, 0, 0

    def keep(self, state: Any) -> None:
        """Take a copy of a good state."""
        self.good = copy.deepcopy(state)

    def back(self, where: str) -> Any:
        """The last good state, for a run that is lost; it continues with a smaller learning rate.

        Raises:
            ModelError: there is no good state, or the run went back too often.
        """
        self.returns += 1
        if self.good is None or self.returns > RETURNS:
            raise ModelError(
                f"training diverged at {where}: the loss is {self.recent:.3g} after a best of {self.best:.3g}, "
                f"{self.skipped} batches were left out, and going back {self.returns - 1} times to a good state with a "
                f"rate {self.factor:.1g} times the one asked for did not help. Lower optimiser.rate, or look for bad "
                "data."
            )
        self.factor *= BACKOFF
        self.recent, self.accepted, self.in_a_row = math.nan, 0, 0
        return copy.deepcopy(self.good)
