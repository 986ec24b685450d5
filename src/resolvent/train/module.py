"""The training step: loss of the reconstruction, gradient of the equation, guarded step, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from resolvent._types import Image
from resolvent.linop import LinearOperator, Sampling
from resolvent.mol import MOL
from resolvent.mol.baselines import Baseline, sense
from resolvent.mol.equation import Work
from resolvent.mol.held_out import held_out_loss, split
from resolvent.mol.monotonicity import monotone_penalty
from resolvent.mol.scale import intensity
from resolvent.monotone.estimates import lipschitz_penalty
from resolvent.solve import along
from resolvent.train.config import Config
from resolvent.train.draws import Batch
from resolvent.train.guard import Guard
from resolvent.train.losses import image_loss

LAM = (1e-2, 1e5)
"""lam is kept between these."""


class Training(pl.LightningModule):
    """One model in training: every `Trainer` of Lightning runs it on one device.

    Args:
        model: `MOL` or a baseline; anything with ``model(y, A, noise) -> image``.
        config: the run.
    """

    def __init__(self, model: MOL | Baseline, config: Config) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model: MOL | Baseline = model
        self.config = config
        self.average = AveragedModel(model, avg_fn=moving_average(config.optimiser.average))
        self.average.requires_grad_(False)
        self.guard = Guard()
        self.step = 0
        self.scores: dict[str, dict[int, list[float]]] = {}
        self.psnr_sense = math.nan

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, with a larger rate for single numbers (lam), which have far to go."""
        groups = (
            [p for p in self.model.parameters() if p.ndim > 0],
            [p for p in self.model.parameters() if p.ndim == 0],
        )
        return torch.optim.Adam([{"params": group} for group in groups if group], lr=self.config.optimiser.rate)

    def on_fit_start(self) -> None:
        """A run that stopped early stays stopped, unless it is given more patience than its checkpoint has."""
        for rule in self.trainer.early_stopping_callbacks:
            rule.patience = self.config.validation.patience or rule.patience
            self.trainer.should_stop = self.trainer.should_stop or rule.wait_count >= rule.patience

    def training_step(self, batch: Batch, number: int) -> None:
        """Reconstruct, differentiate, and step unless the guard says no."""
        optimiser = self.optimizers()
        assert isinstance(optimiser, LightningOptimizer)
        self._accuracy()
        if self.step == self.config.optimiser.pretrain:
            self.guard.forget()
        work = Work()
        loss, parts = torch.tensor(math.nan), {"loss": math.nan}
        if bool(torch.isfinite(batch.y).all()):
            loss, parts = self._loss(batch, work)
        optimiser.zero_grad()
        if bool(torch.isfinite(loss)):
            self.manual_backward(loss)
        size = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimiser.clip)
        if self.guard.accepts(parts["loss"] if bool(torch.isfinite(loss)) else math.nan, float(size)):
            self._set_rate(optimiser.optimizer)
            optimiser.step()
            self._bound_lam()
            self.average.update_parameters(self.model)
        self._watch(optimiser.optimizer)
        self.step += 1
        self.trainer.should_stop = self.trainer.should_stop or self.step >= self.config.optimiser.steps
        counts = {"evaluations": work.evaluations, "applications": work.applications}
        counts |= {"adjoint_evaluations": work.adjoint_evaluations, "contraction": work.contraction}
        lam = {"lam": self.model.lam.detach()}
        progress = {"rate": optimiser.optimizer.param_groups[0]["lr"], "skipped": self.guard.skipped}
        values = {**parts, "gradient": size, **counts, **lam, **progress}
        self.log_dict({k: float(v) for k, v in values.items() if v is not None and k != "loss"})
        self.log("loss", parts["loss"], prog_bar=True)

    def _loss(self, batch: Batch, work: Work) -> tuple[Tensor, dict[str, float]]:
        """The mean logarithm of the errors, so that scans count by decibels, hard or easy; and its parts by name."""
        config, seed = self.config, self.config.seed + 1_000_003 * self.step
        if config.data.supervision == "self":
            given, held = split(batch.mask, config.data.held_out, seed)
            part, rest = Sampling(given), Sampling(held)
            x = self.reconstruct(part(batch.y), part @ batch.A, batch.noise, work)
            errors = held_out_loss(rest(batch.A(x)), rest(batch.y))
        else:
            x = self.reconstruct(batch.y, batch.A, batch.noise, work)
            errors = image_loss(x, batch.reference, config.loss)
        loss, parts = errors.log().mean(), {"loss": errors.mean()}
        penalties = config.penalties
        if isinstance(self.model, MOL) and (penalties.lipschitz or penalties.slope):
            score, m = self.model.score.condition(), self.model.m.value
            u = x.detach()
            u = u / along(intensity(u), u) if self.model.normalise else u
            if penalties.lipschitz:
                generator = torch.Generator().manual_seed(seed)
                noise = torch.randn(u.shape, dtype=u.dtype, generator=generator).to(u.device)
                points, t = [u, u + penalties.noise * noise], 1 - m
                parts["barrier"] = lipschitz_penalty(score.H, points, t=t, steps=penalties.steps, seed=self.step)
                loss = loss + penalties.lipschitz * parts["barrier"]
            if penalties.slope:
                parts["shortfall"] = monotone_penalty(score, u, m, steps=penalties.steps, seed=self.step)
                loss = loss + penalties.slope * parts["shortfall"]
        return loss, {name: float(value.detach()) for name, value in parts.items()}

    def reconstruct(self, y: Tensor, A: LinearOperator, noise: Tensor, work: Work) -> Image:
        """The image, differentiable."""
        return self.model(y, A, noise, work=work) if isinstance(self.model, MOL) else self.model(y, A, noise)

    def validation_step(self, batch: Batch, number: int) -> None:
        """Record PSNR of the averaged model, and once of SENSE, for each subject."""
        model, A = self.average.module, batch.A
        if isinstance(model, MOL):
            model.tol, model.max_steps = 1e-3, 100
        images = {"psnr": model(batch.y, A, batch.noise)}
        if math.isnan(self.psnr_sense):
            images["psnr_sense"] = sense(batch.y, A, noise=batch.noise)
        for name, x in images.items():
            subjects = self.scores.setdefault(name, {})
            for one, reference, subject in zip(x.abs(), batch.reference.abs(), batch.subject.tolist(), strict=True):
                error = float((one - reference).square().mean())
                value = 10 * math.log10(float(reference.max()) ** 2 / error) if 0 < error < math.inf else -math.inf
                subjects.setdefault(subject, []).append(value)

    def on_validation_epoch_end(self) -> None:
        """The mean over subjects, by which the model is chosen."""
        means = {name: fmean(map(fmean, subjects.values())) for name, subjects in self.scores.items()}
        self.scores = {}
        self.psnr_sense = means.get("psnr_sense", self.psnr_sense)
        self.log("psnr", means["psnr"], prog_bar=True)
        self.log("psnr_sense", self.psnr_sense)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the step, the guard and the score of SENSE, so that the run continues where it was."""
        checkpoint["resolvent"] = {
            "step": self.step,
            "guard": vars(self.guard),
            "psnr_sense": self.psnr_sense,
            "config": self.config.model_dump_json(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See `on_save_checkpoint`."""
        self.step = checkpoint["resolvent"]["step"]
        self.guard = Guard(**checkpoint["resolvent"]["guard"])
        self.psnr_sense = checkpoint["resolvent"].get("psnr_sense", math.nan)

    def _accuracy(self) -> None:
        """Set the accuracy of the solves: loose at first, as configured at the end."""
        solver, done = self.config.solver, min(1.0, self.step / self.config.optimiser.steps)
        self.model.linear_tol = solver.linear_tol
        if isinstance(self.model, MOL):
            first, last = solver.tol
            self.model.tol = first ** (1 - done) * last**done
            self.model.adjoint_tol, self.model.max_steps = solver.adjoint_tol, solver.max_steps

    def _set_rate(self, optimiser: torch.optim.Optimizer) -> None:
        plan = self.config.optimiser
        rise = min(1.0, (self.step + 1) / max(1, plan.warmup))
        fall = min(1.0, (plan.steps - self.step) / max(1.0, plan.cooldown * plan.steps))
        for group, factor in zip(optimiser.param_groups, (1.0, plan.scalars), strict=False):
            group["lr"] = plan.rate * rise * fall * factor * self.guard.factor

    def _bound_lam(self) -> None:
        with torch.no_grad():
            self.model.log_lam.clamp_(*map(math.log, LAM))

    def _watch(self, optimiser: torch.optim.Optimizer) -> None:
        if self.guard.lost:
            weights, moments = self.guard.back(f"step {self.step}")
            self.load_state_dict(weights)
            optimiser.load_state_dict(moments)
        elif self.guard.due:
            self.guard.keep((self.state_dict(), optimiser.state_dict()))


def moving_average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """``mean + (1 - d) (value - mean)`` with ``d = min(decay, (1 + n) / (20 + n))`` after n steps: short at first."""

    def average(mean: Tensor, value: Tensor, count: Tensor | int) -> Tensor:
        return torch.lerp(mean, value, 1 - min(decay, (1 + int(count)) / (20 + int(count))))

    return average
