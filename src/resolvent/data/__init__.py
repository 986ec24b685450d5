"""Measured data: scans, files, coils, masks, simulation and image quality."""

from resolvent.data.coils import compress_coils, noise_covariance, whiten
from resolvent.data.espirit import espirit
from resolvent.data.masks import MASK_KINDS, make_mask
from resolvent.data.metrics import metrics, nmse, psnr, ssim
from resolvent.data.places import Geometry, Trajectory
from resolvent.data.scan import Scan
from resolvent.data.simulate import add_noise, birdcage_maps, simulate, smooth_phase, undersample
from resolvent.data.subjects import Subject, read_subjects
from resolvent.data.trajectories import radial, spiral
from resolvent.data.volume import Volume

__all__ = [
    "MASK_KINDS",
    "Geometry",
    "Scan",
    "Subject",
    "Trajectory",
    "Volume",
    "add_noise",
    "birdcage_maps",
    "compress_coils",
    "espirit",
    "make_mask",
    "metrics",
    "nmse",
    "noise_covariance",
    "psnr",
    "radial",
    "read_subjects",
    "simulate",
    "smooth_phase",
    "spiral",
    "ssim",
    "undersample",
    "whiten",
]
