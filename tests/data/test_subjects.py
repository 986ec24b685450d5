"""Subjects: which slices belong together, in one unit, whatever the layout of the file."""

import h5py
import numpy as np
import pytest
import torch

from resolvent._errors import DataError, ShapeError
from resolvent.data import simulate
from resolvent.data.io import write
from resolvent.data.subjects import read_subjects


def magnitudes(n: int = 3) -> np.ndarray:
    stack = np.zeros((n, 12, 10), np.uint16)
    stack[:, 3:9, 2:8] = 1000 * np.arange(1, n + 1)[:, None, None]
    return stack


def test_groups_are_subjects_and_keep_the_contrast_between_slices(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("b1", "b2"):
            file.create_group(name).create_dataset("magnitude", data=magnitudes()).attrs["scale"] = 0.5
    subjects = read_subjects(tmp_path / "a.h5")
    assert [s.name for s in subjects] == ["b1", "b2"]
    assert subjects[0].images.shape == (3, 12, 10) and not subjects[0].phase
    assert torch.allclose(subjects[0].images.amax((1, 2)), torch.tensor([1 / 3, 2 / 3, 1.0]))


def test_subject_ids_split_a_stack_of_complex_slices(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_ri"] = np.stack([magnitudes(4), magnitudes(4)], -1).astype(np.int16)
        file["subject"] = np.array([0, 0, 7, 7])
    subjects = read_subjects(tmp_path / "a.h5")
    assert [(s.name, len(s.images), s.phase) for s in subjects] == [("subject0", 2, True), ("subject7", 2, True)]
    assert float(subjects[1].images.abs().max()) == pytest.approx(1)
    assert float(subjects[1].images.angle().max()) == pytest.approx(np.pi / 4)


def test_magnitudes_that_are_stored_as_complex_numbers_have_no_phase(tmp_path):
    for name, image in (("magnitude", magnitudes()), ("complex", (1 + 0.5j) * magnitudes())):
        np.save(tmp_path / f"{name}.npy", image.astype(np.complex64))
    real, complex_ = (read_subjects(tmp_path / f"{name}.npy")[0] for name in ("magnitude", "complex"))
    assert real.images.is_complex() and not real.phase and complex_.phase


def test_empty_slices_are_left_out_but_frames_and_planes_are_kept(tmp_path):
    stack = magnitudes()
    stack[1] = 0
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["magnitude"] = stack
    assert len(read_subjects(tmp_path / "a.h5")[0].images) == 2
    assert read_subjects(tmp_path / "a.h5", ndim=3)[0].images.shape == (1, 3, 12, 10)


def test_slices_are_those_of_all_axes_before_the_last_two(tmp_path):
    stack = np.stack([magnitudes(), 0 * magnitudes(), 2 * magnitudes()], 1)  # (3, 3, 12, 10)
    np.save(tmp_path / "a.npy", stack)
    slices = read_subjects(tmp_path / "a.npy")[0].images
    assert slices.shape == (6, 12, 10)
    torch.testing.assert_close(slices.abs().amax((1, 2)), torch.tensor([1.0, 2, 2, 4, 3, 6]) / 6)
    assert read_subjects(tmp_path / "a.npy", ndim=3)[0].images.shape == (3, 3, 12, 10)


def test_the_ends_of_every_stack_are_trimmed_before_it_is_scaled(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image_ri"] = np.stack([magnitudes(7)] * 2, -1).astype(np.int16)
        file["subject"] = np.array([0, 0, 0, 0, 7, 7, 7])
    first, second = read_subjects(tmp_path / "a.h5", trim=1)
    assert len(first.images) == 2 and len(second.images) == 1
    assert torch.allclose(first.images.abs().amax((1, 2)), torch.tensor([2 / 3, 1.0]))
    assert read_subjects(tmp_path / "a.h5", ndim=3, trim=1)[0].images.shape == (1, 2, 12, 10)
    with pytest.raises(DataError, match=r"subject0 in .* has 4 images; none is left without 2 at both ends"):
        read_subjects(tmp_path / "a.h5", trim=2)


def test_a_scan_is_a_subject(tmp_path):
    scan = simulate(torch.rand(16, 16), n_coils=2, acceleration=1)
    write(scan, tmp_path / "scan.h5")
    (subject,) = read_subjects(tmp_path / "scan.h5")
    assert subject.images is None and torch.equal(subject.scan.kspace, scan.kspace)


def test_what_cannot_be_used_is_named(tmp_path):
    with h5py.File(tmp_path / "zero.h5", "w") as file:
        file["magnitude"] = np.zeros((2, 8, 8))
    with pytest.raises(DataError, match=r"images of zero in .* are zero"):
        read_subjects(tmp_path / "zero.h5")
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["magnitude"] = np.ones((8, 8))
    with pytest.raises(ShapeError, match="2 axes"):
        read_subjects(tmp_path / "flat.h5")
    with h5py.File(tmp_path / "ids.h5", "w") as file:
        file["magnitude"], file["subject"] = magnitudes(), np.arange(5)
    with pytest.raises(ShapeError, match="5 subject ids for 3 slices"):
        read_subjects(tmp_path / "ids.h5")
