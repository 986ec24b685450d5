"""Checkpoints that survive a crash: written to a temporary file, flushed to disk, then renamed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from resolvent._errors import DataError

LAST, BEST = "last.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoint files that are always complete, the old one or the new one; reading one executes nothing in it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write to ``path.tmp``, flush, rename.

        Raises:
            DataError: the disk is full, or the folder is gone or cannot be written; the previous checkpoint is kept.
        """
        path = Path(path)
        temporary = path.with_name(path.name + ".tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except (OSError, RuntimeError) as error:  # torch's zip writer turns a full disk into a RuntimeError
            try:
                temporary.unlink(missing_ok=True)
            except OSError:
                pass
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
            raise DataError(f"{path} cannot be written ({reason}). Make room or choose another folder.") from None

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Tensors and plain values only.

        Raises:
            DataError: damaged, or not a checkpoint of a training run.
        """
        try:
            return torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(f"{path} cannot be read as a checkpoint ({reason}). Remove it to start anew.") from None


class KeepLast(pl.Callback):
    """Writes ``last.ckpt`` every few minutes, and once more on SIGTERM or Ctrl-C, which stop the run.

    No state is written between the last step before a validation and that validation: a run that continues from it
    would skip the validation. On a signal at that step the run stops after the validation, with a complete state.

    Lightning's own `ModelCheckpoint` has no time interval if the module steps its optimiser itself, and its SIGTERM
    handler ends the process without a checkpoint. Its handling of SIGUSR1 for SLURM is left as it is.

    Attributes:
        received: name of the signal; empty before there is one.
        cut: whether it stopped the run between two validations; ``last.ckpt`` is then of that step.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, folder: Path, minutes: float) -> None:
        self.folder, self.seconds = folder, 60 * minutes
        self.received, self.cut = "", False
        self._written = time.monotonic()
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the signal handlers, now that Lightning has set its own."""
        if threading.current_thread() is threading.main_thread():
            self._before = {which: signal.signal(which, self._note) for which in self.SIGNALS}
        self._written = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Write if due: the state between two steps is complete, unless a validation lies between them."""
        trainer.should_stop = trainer.should_stop or bool(self.received)
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        if self.received or time.monotonic() - self._written > self.seconds:
            trainer.save_checkpoint(self.folder / LAST)
            self._written = time.monotonic()
            self.cut = bool(self.received)
            trainer.limit_val_batches = 0 if self.cut else trainer.limit_val_batches

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the previous signal handlers."""
        for which, handler in self._before.items():
            signal.signal(which, handler)
        self._before = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number).name


def saved_config(path: Path) -> str:
    """The configuration (JSON) of the run that wrote a checkpoint.

    Raises:
        DataError: as `AtomicCheckpointIO.load_checkpoint`.
    """
    try:
        return AtomicCheckpointIO().load_checkpoint(path)["resolvent"]["config"]
    except KeyError:
        raise DataError(f"{path} was not written by `resolvent train`. Remove it to start anew.") from None
