"""The training configuration: every field with its meaning, checked before anything is read or computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from resolvent._errors import DataError
from resolvent.data.masks import MASK_KINDS, make_mask

Range = tuple[float, float]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Scans(_Section):
    """How training scans are simulated from images, each with its own random draw."""

    spatial: Literal["2d", "3d", "2d+t", "picture"] = Field(
        default="2d", description="Slices, volumes, series of frames; or photographs, blurred and with missing pixels."
    )
    matrix: tuple[int, int] = Field(
        default=(72, 128), description="Smallest and largest number of pixels along an axis (y, x)."
    )
    depth: tuple[int, int] = Field(default=(8, 16), description="The same for planes (3d) or frames (2d+t).")
    coils: list[int] = Field(default=[4, 6, 8, 12, 16], min_length=1, description="Coil counts, all equally likely.")
    acceleration: Range = Field(
        default=(2.0, 8.0),
        description="Smallest and largest, drawn log-uniformly; for pictures, all pixels over those measured.",
    )
    blur: Range = Field(default=(0.0, 2.0), description="For pictures: standard deviation of the blur, in pixels.")
    masks: dict[str, float] = Field(default={"gaussian2d": 1.0}, min_length=1, description="Mask kinds and their odds.")
    snr_db: Range = Field(
        default=(15.0, 50.0), description="Signal-to-noise ratio of a pixel of the object, drawn uniformly."
    )
    clean: float = Field(default=0.1, ge=0, le=1, description="Fraction of scans without noise.")
    noise_error: float = Field(
        default=0.25, ge=0, lt=1, description="Largest relative error of the noise level given to the model."
    )
    estimated: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Fraction of scans whose noise level is given as `estimate_noise` finds it.",
    )
    maps: list[Path] = Field(
        default=[], description="Files with measured coil maps (coil, y, x), used for a third of the scans."
    )
    map_error: float = Field(default=0.1, ge=0, description="Largest weight of a wrong smooth coil in the given maps.")
    calibrated: float = Field(
        default=0.5, ge=0, le=1, description="Fraction of scans whose maps come from the centre of their own k-space."
    )
    phase: float = Field(default=1.5, ge=0, description="Largest weight of each part of the phase of the object.")
    contrast: Range = Field(default=(0.6, 1.5), description="Exponent of the magnitude.")
    tone: float = Field(default=0.6, ge=0, description="Largest strength of a random tone curve of the magnitude.")
    shading: float = Field(
        default=1.5, ge=0, description="Largest exponent of the brightness of a ring of receive coils."
    )
    whole: float = Field(default=0.6, ge=0, le=1, description="Fraction of images that are zoomed to fit the matrix.")
    zoom: Range = Field(default=(0.4, 1.0), description="Zoom of the others, which are cropped.")
    motion: float = Field(
        default=0.5, ge=0, le=1, description="Fraction of series that are made from `data.stills`, if there are any."
    )

    @model_validator(mode="after")
    def _check(self) -> Scans:
        for kind in self.masks:
            if kind not in MASK_KINDS:
                raise ValueError(f"there is no mask kind {kind!r}; use one of {', '.join(MASK_KINDS)}")
        if min(self.masks.values()) < 0 or not any(self.masks.values()):
            raise ValueError("the odds of masks must be at least 0, and not all of them 0")
        for name in ("matrix", "depth", "acceleration", "blur", "snr_db", "contrast", "zoom"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is from {low} to {high}; give the smaller number first")
        if min(self.acceleration[0], self.depth[0], *self.coils) < 1 or self.matrix[0] < 8:
            raise ValueError("acceleration, depth and coils must be at least 1, matrix at least 8")
        if min(self.contrast[0], self.zoom[0]) <= 0:
            raise ValueError("contrast and zoom must be greater than 0")
        if self.spatial == "picture" and (self.blur[0] < 0 or 6 * self.blur[1] + 3 > self.matrix[0]):
            raise ValueError("blur must be at least 0, and at most a sixth of the matrix")
        if self.spatial != "picture":
            least = self.depth[:1] * (self.spatial == "3d") + self.matrix[:1] * 2
            for kind in (kind for kind, odds in self.masks.items() if odds):
                make_mask(kind, least, self.acceleration[1])  # a draw would end the run, at some step
        return self


class Data(_Section):
    """Where images and scans come from. Subjects of `validation` must not be among those of `train`."""

    folder: Path = Field(Path(), description="Folder of the files below.")
    train: list[Path] = Field(min_length=1, description="Files of training subjects, as `read_subjects` reads them.")
    stills: list[Path] = Field(
        default=[], description="Files of training subjects whose slices are set in motion, for `spatial: 2d+t`."
    )
    validation: list[Path] = Field(min_length=1, description="Files of validation subjects.")
    scans: Scans = Scans()
    trim: int = Field(
        default=0,
        ge=0,
        description="Images left out at both ends of every stack, where resampling has left them half empty.",
    )
    batch: int = Field(default=2, ge=1, description="Scans of one matrix and coil count in a step.")
    workers: int = Field(default=0, ge=0, description="Processes that draw scans ahead; 0 draws them in the step.")
    supervision: Literal["full", "self"] = Field(
        default="full", description="`self`: no reference is used; a part of the measured samples is held out (SSDU)."
    )
    held_out: float = Field(
        default=0.4, gt=0, lt=1, description="Fraction of the samples held out by `supervision: self`."
    )

    @model_validator(mode="after")
    def _check(self) -> Data:
        if self.stills and self.scans.spatial != "2d+t":
            raise ValueError(f"stills are set in motion, but scans.spatial is {self.scans.spatial}; list them in train")
        return self


class Loss(_Section):
    """Weights of the parts of the error of a scan; each is relative to the reference.

    The mean logarithm of the errors is minimised: a decibel counts the same for easy and for hard scans.
    """

    complex: float = Field(default=1.0, ge=0, description="|x - r| / |r| of the complex image.")
    magnitude: float = Field(default=0.0, ge=0, description="||x| - |r|| / |r|.")
    ssim: float = Field(default=0.0, ge=0, description="1 - SSIM of the magnitudes.")

    @model_validator(mode="after")
    def _check(self) -> Loss:
        if self.complex + self.magnitude + self.ssim == 0:
            raise ValueError("every weight is zero; give at least one part of the loss a weight")
        return self


class Penalties(_Section):
    """Penalties that pull an approximate score towards its constant, in training only; they prove nothing."""

    lipschitz: float = Field(
        default=0.0, ge=0, description="Weight of the log barrier on the local Lipschitz estimate."
    )
    slope: float = Field(
        default=0.0, ge=0, description="Weight of the shortfall of the smallest slope at the solution."
    )
    steps: int = Field(default=3, ge=1, description="Ascent or Lanczos steps of the search.")
    noise: float = Field(
        default=0.1, ge=0, description="The barrier also searches at the solution plus this much noise."
    )


class Solver(_Section):
    """Accuracy of the solves in training: loose at first, tighter towards the end."""

    tol: Range = Field(
        default=(5e-2, 1e-2), description="Relative accuracy of the solution, at the first and the last step."
    )
    adjoint_tol: float = Field(default=0.1, gt=0, description="Relative accuracy of the adjoint solution.")
    linear_tol: float = Field(
        default=2e-3, gt=0, description="Accuracy of the linear reconstruction and data-consistency steps."
    )
    max_steps: int = Field(default=30, ge=1, description="Largest number of network evaluations in a solve.")

    @model_validator(mode="after")
    def _check(self) -> Solver:
        if min(self.tol) <= 0:
            raise ValueError("tol must be greater than 0")
        return self


class Optimiser(_Section):
    """Adam: the rate rises over `warmup` steps, stays, and falls to zero over the last `cooldown` of the steps.

    So a run that turns out too short can continue with more steps, and only its last part is wasted.
    """

    steps: int = Field(default=2000, ge=1, description="Steps in all.")
    rate: float = Field(default=2e-3, gt=0, le=100, description="Learning rate.")
    scalars: float = Field(default=3.0, gt=0, le=100, description="Factor on the rate for single numbers, such as lam.")
    warmup: int = Field(default=50, ge=0)
    cooldown: float = Field(default=0.4, ge=0, le=1)
    clip: float = Field(default=3.0, gt=0, description="Largest norm of the gradient.")
    average: float = Field(
        default=0.998, ge=0, lt=1, description="Decay of the exponential moving average of the weights."
    )
    pretrain: int = Field(
        default=0, ge=0, description="First steps on fully sampled, noisy scans: the network as a denoiser."
    )


class Validation(_Section):
    """How a model is chosen: by mean PSNR over subjects that were not trained on."""

    every: int = Field(default=250, ge=1, description="Steps between validations.")
    scans: int = Field(default=16, ge=1, description="Number of scans, from the subjects of all files in turn.")
    patience: int | None = Field(default=None, ge=1, description="Stop after so many validations without a better one.")


class Card(_Section):
    """What users should know about the model; the numbers are added when it is written."""

    purpose: str = ""
    sources: list[str] = Field(default=[], description="Data trained on, with their licences.")
    limits: str = ""


class Config(_Section):
    """One training run, on one GPU if there is one, else on the CPU."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="Name of the model.")
    seed: int = Field(default=0, ge=0)
    model: dict[str, Any] = Field(description="As for `resolvent.mol.weights.build`, and `lam`, its initial value.")
    init: str | None = Field(
        default=None,
        description="A model with the initial weights; for volumes and series also a 2-D one, for each plane.",
    )
    data: Data
    loss: Loss = Loss()
    penalties: Penalties = Penalties()
    solver: Solver = Solver()
    optimiser: Optimiser = Optimiser()
    validation: Validation = Validation()
    checkpoint_minutes: float = Field(default=5.0, gt=0, description="Time between checkpoints.")
    threads: int | None = Field(default=None, ge=1, description="Threads of PyTorch; its own choice by default.")
    card: Card = Card()


def read_config(path: str | Path, changes: list[str] | tuple[str, ...] = ()) -> Config:
    """The configuration in a YAML file, with ``key=value`` changes: dotted keys, values in YAML.

    Raises:
        DataError: the file is no YAML mapping, or a field is unknown, missing or out of range; all faults are named.

    Example: ``read_config("brain-2d.yaml", ["optimiser.steps=100", "data.folder=/data"])``.
    """
    try:
        content = yaml.safe_load(Path(path).read_bytes())  # as UTF-8, whatever the locale
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}). Give the YAML file of a training run.") from None
    except yaml.YAMLError as error:
        raise DataError(f"{path} is no YAML: {' '.join(str(error).split())}. Correct that line.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no settings. Give the YAML file of a training run.")
    for change in changes:
        _apply(content, change)
    return parsed(content, str(path))


def parsed(content: dict[str, Any], where: str) -> Config:
    """The checked configuration of plain values."""
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg'].rstrip('.')}" for e in error.errors())
        raise DataError(f"{where} is no valid configuration: {faults}. See `resolvent train --schema`.") from None


def to_yaml(config: Config) -> str:
    """The configuration with all its defaults, as a file that `read_config` takes."""
    return yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False)


def _apply(content: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    if not equals or not key:
        raise DataError(f"{change!r} is no setting. Write key=value, for example optimiser.steps=500.")
    *path, last = key.split(".")
    for part in path:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise DataError(f"{key} cannot be set: {part} is a value, not a section. See `resolvent train --schema`.")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise DataError(f"the value of {key} is no YAML: {value!r}. Quote it.") from None
