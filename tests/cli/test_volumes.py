"""``resolvent recon`` of volumes: planes of a fully sampled axis, and a limit of memory."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent.cli.reconstruct import reconstruct
from resolvent.data import birdcage_maps, simulate
from resolvent.data.planes import in_planes
from resolvent.mol.weights import load_mol


@pytest.fixture(scope="module")
def volume() -> rv.Scan:
    """Ten planes, every third line measured or so, the other two axes fully sampled."""
    z, y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (10, 32, 28)), indexing="ij")
    image = ((z / 1.2) ** 2 + (y / 0.8) ** 2 + (x / 0.7) ** 2 < 1).float() * (1.5 + torch.cos(5 * y))
    full = simulate(image, maps=birdcage_maps(4, (10, 32, 28))[None], acceleration=1, snr_db=40, ndim=3)
    mask = torch.zeros(1, 10, 32, 28)
    mask[:, :, 1::3] = mask[:, :, 12:20] = 1
    mask[..., 3] = 0
    return full.replace(kspace=full.kspace * mask.unsqueeze(1), mask=mask)


def test_planes_of_a_volume_are_those_solved_by_themselves(resolvent, store, volume, model, tmp_path):
    run = resolvent("recon", store(volume), "-o", tmp_path / "out.npy", "--model", model)
    assert run.code == 0
    assert "10 planes across z, which is fully sampled" in run.out
    assert "10 planes" in json.loads((tmp_path / "out.json").read_text())["remarks"][0]
    planes = in_planes(volume, 0)
    network = load_mol(str(model))
    for number in (0, 4):
        one = planes.replace(kspace=planes.kspace[number : number + 1]).normalised()
        A = rv.SENSE(planes.maps[number : number + 1], planes.mask)
        alone = network.solve(one.kspace, A, noise=one.noise).image * one.scale
        written = torch.from_numpy(np.load(tmp_path / "out.npy")).reshape(10, 32, 28)[number]
        assert torch.allclose(written, alone[0].to(written), rtol=1e-4, atol=1e-5 * float(alone.abs().max()))


def test_a_volume_has_the_image_that_it_has_without_another_in_its_file(volume, model):
    network, other = load_mol(str(model)), 2 * volume.kspace.flip(-2)
    both = volume.replace(kspace=torch.cat([volume.kspace, other]), reference=volume.reference.expand(2, -1, -1, -1))
    together = reconstruct(both, network)
    for n, kspace in enumerate((volume.kspace, other)):
        alone = reconstruct(volume.replace(kspace=kspace), network).recon
        assert torch.equal(together.recon.image[n : n + 1], alone.image)
        torch.testing.assert_close(together.recon.fit.misfit[n : n + 1], alone.fit.misfit)
    assert together.recon.image.shape == together.images["sense"].shape == (2, 10, 32, 28)
    assert together.remarks == ("20 planes across z, which is fully sampled, each a 2-D problem of its own",)


def test_no_model_for_series_is_recommended_for_a_series_of_volumes(volume, model):
    """`cine` refuses them, taken apart or not."""
    series = volume.replace(
        kspace=volume.kspace.unsqueeze(2).expand(-1, -1, 2, -1, -1, -1),
        mask=volume.mask.unsqueeze(1),
        coil_maps=volume.maps.unsqueeze(2),
        reference=None,
    )
    partial = series.replace(kspace=series.kspace.clone(), mask=series.mask.clone())
    partial.kspace[..., 2, :, 5], partial.mask[..., 2, :, 5] = 0, 0
    for one in (series, partial):
        remarks = reconstruct(one, load_mol(str(model)), max_steps=1).remarks
        assert remarks[-1] == "2 frames, of which the network sees each by itself"


def test_of_several_volumes_all_are_taken_apart_or_none(volume, model):
    unseen = volume.maps.clone()
    unseen[:, :, -1] = 0
    both = volume.replace(
        kspace=volume.kspace.expand(2, -1, -1, -1, -1), coil_maps=torch.cat([volume.maps, unseen]), reference=None
    )
    outcome = reconstruct(both, load_mol(str(model)), max_steps=1)
    assert outcome.remarks == () and len(outcome.recon.lam) == 2


def test_the_fit_of_planes_is_that_of_their_volume(volume, model):
    recon = reconstruct(volume, load_mol(str(model))).recon
    left = rv.SENSE(volume.maps, volume.mask, ndim=3)(recon.image) - volume.kspace
    torch.testing.assert_close(recon.fit.misfit, (left.norm() / volume.kspace.norm()).reshape(1), rtol=1e-4, atol=0)
    torch.testing.assert_close(recon.fit.size, volume.kspace.norm().reshape(1), rtol=1e-4, atol=0)


def test_planes_of_air_do_not_make_a_volume_doubtful(resolvent, store, tmp_path):
    z = torch.arange(-8, 8).reshape(-1, 1, 1)
    image = torch.ones(16, 32, 28) * ((torch.arange(28) - 14).abs() < 9) * (z.abs() < 5)
    full = simulate(image, maps=birdcage_maps(4, (16, 32, 28))[None], acceleration=1, snr_db=30, ndim=3)
    mask = torch.zeros(1, 16, 32, 28)
    mask[:, :, ::2] = mask[:, :, 12:20] = 1
    path = store(full.replace(kspace=full.kspace * mask.unsqueeze(1), mask=mask))
    run = resolvent("recon", path, "-o", tmp_path / "a.npy", "--model", "brain-2d-small", "--require-certificate")
    assert run.code == 0 and not run.err and "16 planes across z" in run.out


def test_a_frame_without_samples_has_no_certificate(resolvent, store, model, tmp_path):
    image = torch.ones(2, 3, 32, 28) * ((torch.arange(28) - 14).abs() < 9)
    full = simulate(image, maps=birdcage_maps(4, (32, 28))[None, :, None].expand(2, -1, -1, -1, -1), acceleration=1)
    mask = torch.ones(2, 3, 32, 28)
    mask[1, 2] = 0
    path = store(full.replace(kspace=full.kspace * mask.unsqueeze(1), mask=mask, reference=None))
    arguments = ("recon", path, "-o", tmp_path / "a.npy", "--model", model)
    said = "slice 2 of 2, frame 3 of 3: nothing was measured"
    run = resolvent(*arguments, "--require-certificate")
    assert run.code == 3 and said in run.err and not (tmp_path / "a.npy").exists()
    run = resolvent(*arguments)
    assert run.code == 0 and said in run.err
    fit = json.loads((tmp_path / "a.json").read_text())["fit"]
    assert fit["doubtful"] and fit["misfit"][1][2] is None and np.shape(fit["noise"]) == (2, 3)


def test_certify_looks_at_the_planes_that_were_solved(resolvent, store, volume, model):
    run = resolvent("certify", model, store(volume), "--json", "--steps", 2)
    assert run.code == 0
    assert 0 <= run.json["local"]["J_F"]["slice"] < 10
    assert run.json["local"]["conditioning"]["slice"] == 0


def test_a_mask_that_varies_along_all_axes_is_solved_as_a_volume(volume, model):
    mask = volume.mask.clone()
    mask[:, 2, 1] = 0
    outcome = reconstruct(volume.replace(mask=mask, kspace=volume.kspace * mask.unsqueeze(1)), load_mol(str(model)))
    assert outcome.remarks == ()
    assert len(outcome.recon.lam) == 1


def test_a_limit_that_is_large_enough_changes_nothing(resolvent, store, scan, model):
    run = resolvent("recon", store(scan), "--model", model, "--max-memory", "64GiB", "--json")
    assert run.code == 0


def test_what_does_not_fit_is_refused_before_the_solve(resolvent, store, scan, model):
    run = resolvent("recon", store(scan), "--model", model, "--max-memory", "1 MiB")
    assert run.code == 1
    assert "The solve needs" in run.error
    assert "-" not in run.error
    least = re.search(r"Raise it to (\S+ GiB)", run.error)[1]
    assert resolvent("recon", store(scan), "--model", model, "--max-memory", least).code == 0


def test_what_is_said_to_be_enough_is_enough_for_every_slice_of_a_fresh_process(store, scan):
    parts = {name: torch.cat([getattr(scan, name)] * 3) for name in ("kspace", "mask", "coil_maps", "reference")}
    program = [sys.executable, "-m", "resolvent", "recon", store(scan.replace(**parts)), "--model", "brain-2d-small"]
    refused = subprocess.run([*program, "--max-memory", "1MiB"], capture_output=True, text=True)
    least = re.search(r"Raise it to (\S+ GiB)", refused.stderr)[1]
    run = subprocess.run([*program, "--max-memory", least], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("size", ["much", "4 apples", "0GiB", "-1", "4", "2e9", "1e400GiB"])
def test_a_size_that_is_none_is_a_usage_error(resolvent, store, scan, model, size):
    run = resolvent("recon", store(scan), "--model", model, f"--max-memory={size}")
    assert run.code == 2
    assert "such as 4GiB" in run.err
