"""A training run: from a configuration to a folder with the model, its card, its logs and its checkpoints."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn

from resolvent._errors import DataError, ModelError
from resolvent.mol import MOL
from resolvent.mol.baselines import Baseline
from resolvent.mol.weights import CARD, build, load, save
from resolvent.monotone.layers import UnitKernel
from resolvent.train.card import make_card, readme
from resolvent.train.checkpoints import BEST, LAST, AtomicCheckpointIO, KeepLast, saved_config
from resolvent.train.config import Config, to_yaml
from resolvent.train.datamodule import ScansModule
from resolvent.train.module import Training

_NETWORK = re.compile(r"stacks\.\d+\.")
FREE = (
    "optimiser.steps",
    "checkpoint_minutes",
    "threads",
    "card",
    "data.workers",
    "data.folder",
    "validation.patience",
)
"""Settings that may change when a run is continued."""


def train(
    config: Config, out: str | Path, *, say: Callable[[str], None] = lambda text: None, bar: bool = False
) -> dict[str, Any]:
    """Train a model, or continue the run in `out`, and write the model with the best validation PSNR.

    In `out`: ``config.yaml`` (with all defaults), ``last.ckpt``, ``best.ckpt``, ``log/`` (CSV and TensorBoard), and the
    model in a folder of its name. A run that was killed continues from its last checkpoint; on one thread, its steps
    are the same to the last bit as without the interruption. Random state and threads are set for the run, and restored
    afterwards.

    Args:
        config: the run.
        out: folder; created if it does not exist.
        say: told what happens.
        bar: show a progress bar on stderr.

    Returns:
        ``model`` (folder), ``steps``, ``psnr``, ``psnr_sense`` (of the same scans), ``chosen_at``, ``finished``, and
        ``signal``: what stopped it.

    Raises:
        DataError: subjects or folder cannot be used; `out` holds a run with other settings.
        ModelError: an unknown architecture, or penalties that it does not take; training diverged.
    """
    with _own_state(config):
        return _train(config, Path(out), say, bar)


@contextmanager
def _own_state(config: Config) -> Iterator[None]:
    """Set random numbers, threads and the trainer's log level for the run, then restore those of the process."""
    threads, log = torch.get_num_threads(), logging.getLogger("lightning.pytorch")
    level = log.level
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        torch.set_num_threads(config.threads or threads)
        log.setLevel(logging.WARNING)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            log.setLevel(level)


def _train(config: Config, out: Path, say: Callable[[str], None], bar: bool) -> dict[str, Any]:
    resumes = (out / LAST).exists()
    if resumes:
        _compare(config, saved_config(out / LAST), out)
    _prepare(out, config)
    model = build(config.model)
    _penalised(model, config)
    if config.init:
        begin(model, load(config.init))
    say(f"reading {len(config.data.train) + len(config.data.validation)} files")
    data, module = ScansModule(config), Training(model, config)
    keep = KeepLast(out, config.checkpoint_minutes)
    best = ModelCheckpoint(
        out,
        filename=BEST.removesuffix(".ckpt"),
        monitor="psnr",
        mode="max",
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    trainer = _trainer(config, out, [keep, best], bar)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice of the trainer on workers, folders that exist, checkpoints
        trainer.fit(module, data, ckpt_path=str(out / LAST) if resumes else None, weights_only=True)
    if not keep.cut:
        trainer.save_checkpoint(out / LAST)
    stopped = keep.received if module.step < config.optimiser.steps else ""
    result: dict[str, Any] = {"steps": module.step, "signal": stopped, "finished": not stopped}
    if stopped or not (out / BEST).exists():
        return {**result, "model": None, "psnr": None, "psnr_sense": None, "chosen_at": None}
    chosen = AtomicCheckpointIO().load_checkpoint(out / BEST)
    module.load_state_dict(chosen["state_dict"])
    score, sense = float(chosen["callbacks"][best.state_key]["best_model_score"]), module.psnr_sense
    if not math.isfinite(score):
        raise ModelError(
            "no validation gave a finite image, so there is no model to write. Lower optimiser.rate, or start anew "
            "with other settings."
        )
    result |= {"psnr": round(score, 3), "psnr_sense": round(sense, 3), "chosen_at": chosen["resolvent"]["step"]}
    averaged = module.average.module.eval()
    assert isinstance(averaged, (MOL, Baseline))
    measured = any(subject.scan is not None for subject in (*data.train, *data.validation))
    used = {"subjects": min(config.validation.scans, len(data.validation)), "measured": measured}
    folder = save(averaged, out / config.name, make_card(config, {**result, **used}))
    (folder / "README.md").write_text(readme(json.loads((folder / CARD).read_bytes())), encoding="utf-8")
    return {**result, "model": str(folder)}


@torch.no_grad()
def begin(model: nn.Module, init: nn.Module) -> None:
    """Give `model` the weights of `init`, so that it begins as the same function.

    Kernels are taken after their division by their norms. A 2-D kernel becomes the middle plane of a 3-D one that is
    zero elsewhere: a model of volumes or series then processes each plane or frame on its own (slightly weaker, since
    norms in 3-D are certified with a larger margin). Every network of `CertifiedPlanes` begins as that of a 2-D model.

    Raises:
        ModelError: the weights are not those of such a model.
    """
    units = {f"{name}.weight": part() for name, part in init.named_modules() if isinstance(part, UnitKernel)}
    start, weights, used = init.state_dict() | units, {}, set()
    for name, target in model.state_dict().items():
        source = name if name in start else _NETWORK.sub("", name)
        if source in start:
            weights[name] = _in_planes(start[source], target)
            used.add(source)
    try:
        model.load_state_dict(weights | {name: start[name] for name in start.keys() - used})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"the model cannot begin with the weights of init: {reason}. Choose another init.") from None


def _in_planes(kernel: Tensor, target: Tensor) -> Tensor:
    if target.ndim != kernel.ndim + 1 or target.shape[:2] != kernel.shape[:2]:
        return kernel
    volume = torch.zeros_like(target)
    volume[:, :, target.shape[2] // 2] = kernel
    return volume


class _Bar(RichProgressBar):
    """Counts validations, since the trainer does not know how many there will be."""

    def _get_train_description(self, current_epoch: int) -> str:
        return f"To validation {current_epoch + 1}"


def _trainer(config: Config, out: Path, callbacks: list[pl.Callback], bar: bool) -> pl.Trainer:
    if config.validation.patience:
        rule = EarlyStopping("psnr", mode="max", patience=config.validation.patience, check_on_train_epoch_end=False)
        callbacks.append(rule)
    if bar:
        callbacks.append(_Bar(console_kwargs={"file": sys.stderr}))
    loggers = [CSVLogger(out / "log", name="csv"), TensorBoardLogger(out / "log", name="tensorboard")]
    return pl.Trainer(
        devices=1,  # what is skipped, when a run goes back and when it is saved are decided by one process
        max_epochs=-1,  # until the module has taken its steps
        callbacks=callbacks,
        logger=loggers,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=out,
    )


def _prepare(out: Path, config: Config) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for stale in out.glob("*.tmp"):
            stale.unlink()
        (out / "config.yaml").write_text(to_yaml(config))
    except OSError as error:
        raise DataError(f"{out} cannot be written ({error.strerror}). Choose another folder with --output.") from None


def _penalised(model: nn.Module, config: Config) -> None:
    """Refuse penalties, which evaluate F without a scan, if F depends on the scan."""
    wanted = config.penalties.lipschitz or config.penalties.slope
    if wanted and isinstance(model, MOL) and model.score.conditioning(1.0).value > 0:
        raise ModelError(
            f"penalties are for scores that do not depend on the scan, but {type(model.score).__name__} does. Set "
            "penalties.lipschitz and penalties.slope to 0: it is monotone by construction."
        )


def _compare(config: Config, saved: str, out: Path) -> None:
    """Refuse to continue a run with other settings than it began with."""
    now, before = (_flat(json.loads(text)) for text in (config.model_dump_json(), saved))
    fixed = {key for key in now.keys() | before.keys() if not key.startswith(FREE)}
    changed = sorted(key for key in fixed if now.get(key) != before.get(key))
    if changed:
        raise DataError(
            f"{out} holds a run with other settings ({', '.join(changed[:5])}). "
            "Choose another folder, or those settings."
        )


def _flat(content: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(content, dict):
        return {prefix.removesuffix("."): content}
    return {key: value for name, part in content.items() for key, value in _flat(part, f"{prefix}{name}.").items()}
