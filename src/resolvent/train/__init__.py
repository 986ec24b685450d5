"""Training on Lightning: configuration, simulated scans, the guarded step, checkpoints, the model card."""

from resolvent.train.config import Config, read_config
from resolvent.train.run import train

__all__ = ["Config", "read_config", "train"]
