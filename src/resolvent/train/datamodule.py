"""Batches for the trainer: numbered draws for training, the same few for every validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from resolvent._errors import DataError
from resolvent.data import Scan, Subject, read_subjects, undersample
from resolvent.data.io import read_maps
from resolvent.data.io.output import sha256
from resolvent.data.subjects import in_turn
from resolvent.train.config import Config, Data, Scans
from resolvent.train.draws import Batch, draw_batch, unit
from resolvent.train.pictures import draw_pictures, read_picture

_TRAIN, _VALIDATION = 0, 1  # streams of draws of one seed


class Draws(Dataset[Batch]):
    """Batch number i of simulated scans, drawn when it is asked for."""

    def __init__(self, subjects: Sequence[Subject], config: Config, stream: int, maps: Sequence[Tensor]) -> None:
        self.subjects, self.config, self.stream, self.maps = subjects, config, stream, maps

    def __getitem__(self, number: int) -> Batch:
        """See `draw_batch`."""
        data, first = self.config.data, self.config.optimiser.pretrain
        validating = self.stream == _VALIDATION
        subjects, which = self.subjects, 0
        if validating:  # subjects in turn
            number, which = divmod(number, len(subjects))
            subjects = [subjects[which]]
        options = {
            "seed": 2 * self.config.seed + self.stream,
            "number": number,
            "size": 1 if validating else data.batch,
            "denoise": not validating and number < first,
        }
        if data.scans.spatial == "picture":
            batch = draw_pictures(subjects, data.scans, **options)
        else:
            batch = draw_batch(subjects, data.scans, measured_maps=self.maps, **options)
        return batch._replace(subject=torch.full_like(batch.subject, which)) if validating else batch


class ScansModule(pl.LightningDataModule):
    """Reads the subjects once, and draws from them.

    Raises:
        DataError: a file is in both training and validation, or scans are given where they cannot be used.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        data = config.data
        self.config = config
        scans = data.scans
        ndim = 2 if scans.spatial == "2d" else 3
        train, validation = ([data.folder / path for path in paths] for paths in (data.train, data.validation))
        if scans.spatial == "picture":
            self.train, self.validation = [*map(read_picture, train)], [*map(read_picture, validation)]
        else:
            self.train = _subjects(train, data, ndim, data.supervision)
            self.train += _subjects([data.folder / path for path in data.stills], data, 2, data.supervision)
            self.validation = _subjects(validation, data, ndim, "full")
        trained = {content: path for path, content in _contents(self.train).items()}
        for path, content in _contents(self.validation).items():
            if content in trained:
                same = "" if path == trained[content] else f", there as {trained[content]}"
                raise DataError(f"{path} is in validation and in training{same}. Split the subjects.")
        self.maps = [unit(maps) for path in scans.maps for maps in read_maps(data.folder / path)]

    def train_dataloader(self) -> DataLoader[Batch]:
        """An epoch: the steps to the next validation; a resumed run continues with the same batch number."""
        assert self.trainer is not None
        step, loop = getattr(self.trainer.lightning_module, "step", 0), self.trainer.fit_loop
        first = step - (loop.epoch_loop.batch_progress.current.ready if loop.restarting else 0)
        every, steps = self.config.validation.every, self.config.optimiser.steps
        length = min(every - first % every, steps - first)
        return self._loader(self.train, _TRAIN, range(step, step + length))

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same scans each time, from the subjects of all files in turn."""
        return self._loader(in_turn(self.validation), _VALIDATION, range(self.config.validation.scans))

    def _loader(self, subjects: list[Subject], stream: int, order: range) -> DataLoader[Batch]:
        draws, workers = Draws(subjects, self.config, stream, self.maps), self.config.data.workers
        return DataLoader(draws, batch_size=None, sampler=order, num_workers=workers)


def _contents(subjects: Sequence[Subject]) -> dict[str, str]:
    """A hash of the file of each subject, which is the same if a file has two names."""
    paths = dict.fromkeys(subject.source for subject in subjects)
    return {path: sha256(path) or str(Path(path).resolve()) for path in paths}


def _subjects(paths: Sequence[Path], data: Data, ndim: int, supervision: str) -> list[Subject]:
    found = [s for path in paths for s in read_subjects(path, ndim, data.trim)]
    return [s if s.scan is None else replace(s, scan=_prepared(s.scan, data.scans, supervision)) for s in found]


def _prepared(scan: Scan, scans: Scans, supervision: str) -> Scan:
    """The scan in its own units; with maps if undersampled, else after a check that maps can be found."""
    scan = scan.normalised()
    if scan.complete:
        for kind in (kind for kind, odds in scans.masks.items() if odds):
            undersample(scan.entry(0), scans.acceleration[1], kind)
        return scan
    if supervision == "full":
        raise DataError(
            f"{scan.source} is undersampled, so there is no reference to train on or to validate with. "
            "Use fully sampled scans, or supervision: self for the training part."
        )
    return scan.replace(coil_maps=scan.maps)
