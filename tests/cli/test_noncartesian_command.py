"""Radial scans from the command line, and how they compare with Cartesian ones of as many samples."""

import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent.data import Trajectory, metrics, radial, simulate
from resolvent.linop import NonCartesian

pytest.importorskip("finufft")


@pytest.fixture(scope="session")
def spokes(full: rv.Scan) -> rv.Scan:
    """The scan of the other tests along 16 spokes, without maps."""
    places = radial(16, full.matrix)
    y = NonCartesian(full.maps, places)(full.reference)
    white = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, *places.shape[:-1])
    trajectory = Trajectory(places[None], full.matrix)
    return full.replace(kspace=y + full.noise * white, mask=mask, trajectory=trajectory, coil_maps=None).validated()


HEADER = """<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><experimentalConditions><H1resonanceFrequency_Hz>1
</H1resonanceFrequency_Hz></experimentalConditions><encoding><encodedSpace>{0}</encodedSpace><reconSpace>{0}</reconSpace>
<encodingLimits></encodingLimits><trajectory>radial</trajectory></encoding></ismrmrdHeader>"""
SPACE = """<matrixSize><x>48</x><y>48</y><z>1</z></matrixSize>
<fieldOfView_mm><x>240</x><y>240</y><z>5</z></fieldOfView_mm>"""


def write_ismrmrd(path: Path, scan: rv.Scan) -> Path:
    """With the format's own library; the trajectory in cycles per pixel."""
    ismrmrd = pytest.importorskip("ismrmrd")
    file = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    file.write_xml_header(HEADER.format(SPACE).encode())
    places = (scan.trajectory.places[0] / 48).float().flip(-1).numpy()  # x first
    for samples, where in zip(scan.kspace[0].movedim(1, 0).numpy(), places, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's own, of a later NumPy
            one = ismrmrd.Acquisition.from_array(samples.copy(), where.copy())
        one.read_dir[:], one.phase_dir[:], one.slice_dir[:] = (1, 0, 0), (0, 1, 0), (0, 0, 1)
        file.append_acquisition(one)
    file.close()
    return path


def test_radial_ismrmrd_file_is_reconstructed_without_options(resolvent, spokes, model, tmp_path):
    file = write_ismrmrd(tmp_path / "radial.h5", spokes)
    out, page = tmp_path / "out.npy", tmp_path / "out.html"
    done = resolvent("recon", file, "-o", out, "--report", page, "--model", model, "--json")
    assert done.code == 0, done.err
    assert done.json["results"][0]["converged"] and done.json["results"][0]["certificate"]["proved"]
    found = np.load(out)
    assert found.shape == (1, 48, 48) and page.stat().st_size > 10_000
    scan = rv.read(file)
    assert torch.allclose(scan.trajectory.places, spokes.trajectory.places, atol=1e-4)
    assert torch.allclose(scan.kspace, spokes.kspace)
    # of the scan as it is in the file: in rounding alone the rank of a calibration may differ, and with it the maps
    ours = rv.load(model).solve(scan.normalised().kspace, scan.operator()).image * scan.normalised().scale
    assert np.abs(found - ours.numpy()).max() < 0.01 * ours.abs().max()


def test_pair_of_bart_is_reconstructed(resolvent, spokes, full, model, tmp_path):
    array = spokes.kspace[0].numpy().transpose(2, 1, 0)[None]  # (1, sample, readout, coil)
    places = spokes.trajectory.places[0].numpy()[..., ::-1].transpose(2, 1, 0)
    places = np.concatenate([places, np.zeros_like(places[:1])])
    for name, values in (("k", array), ("t", places)):
        shape = values.shape + (1,) * (16 - values.ndim)
        (tmp_path / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, shape)) + "\n")
        values.astype("<c8").ravel(order="F").tofile(tmp_path / f"{name}.cfl")
    given = ("--trajectory", tmp_path / "t.cfl", "--model", model, "--json")
    done = resolvent("recon", tmp_path / "k.cfl", *given, "-o", tmp_path / "a.npy")
    assert done.code == 0, done.err
    assert np.load(tmp_path / "a.npy").shape == (1, 48, 48)
    np.save(tmp_path / "maps.npy", full.maps.numpy())
    done = resolvent("recon", tmp_path / "k.cfl", *given, "--maps", tmp_path / "maps.npy", "-o", tmp_path / "b.npy")
    assert done.code == 0, done.err
    a, b = (np.abs(np.load(tmp_path / f"{name}.npy")).ravel() for name in "ab")
    assert a @ b > 0.99 * np.linalg.norm(a) * np.linalg.norm(b)


def test_info_knows_trajectories_and_they_cannot_be_undersampled(resolvent, store, spokes, model):
    file = store(spokes.replace(reference=None))
    found = resolvent("info", file, "--json").json
    assert found["matrix"] == [48, 48]
    assert found["sampling"] == {
        "acceleration": 4.7124,  # pi / 2 * 48 / 16
        "pattern": "trajectory of 16 x 96 samples",
        "same_for_all": True,
    }
    assert resolvent("recon", file, "--acceleration", "3", "--model", model).code == 1


def test_without_the_extra_the_message_names_it(resolvent, store, spokes, model, monkeypatch):
    file = store(spokes)
    monkeypatch.setitem(sys.modules, "finufft", None)
    done = resolvent("recon", file, "--model", model)
    assert done.code == 1 and "pip install 'resolvent[nufft]'" in done.err


def test_radial_image_is_as_good_as_a_cartesian_one_of_as_many_samples():
    """Packaged model, 8 coils, 72 / 6 spokes of 72 samples: within 1 dB of random points and of spokes on the grid."""
    n, count = 72, 12
    y, x = torch.meshgrid(torch.linspace(-1, 1, n), torch.linspace(-1, 1, n), indexing="ij")
    image = ((y / 0.9) ** 2 + (x / 0.75) ** 2 < 1).float() * (1 + 0.3 * torch.cos(9 * x) * torch.sin(7 * y))
    image = image + 0.5 * ((y - 0.3) ** 2 + (x + 0.2) ** 2 < 0.02) - 0.6 * ((y + 0.3) ** 2 + (x - 0.2) ** 2 < 0.03)
    model = rv.load("brain-2d")
    found = {}
    for kind in ("gaussian2d", "radial"):
        scan = simulate(image, n_coils=8, acceleration=n / count, mask_kind=kind, snr_db=30, seed=1)
        recon = model.solve(scan.kspace, scan.operator(), noise=scan.noise)
        found[kind] = metrics(scan.reference, recon.image)["psnr"]
    A = NonCartesian(scan.maps, radial(count, (n, n), oversampling=1))
    clean = A(scan.reference)
    white = torch.randn(clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(0))
    recon = model.solve(clean + scan.noise * white, A, noise=scan.noise)
    assert recon.solution.converged and recon.certificate.proved
    found["along spokes"] = metrics(scan.reference, recon.image)["psnr"]
    assert found["along spokes"] > max(found["gaussian2d"], found["radial"]) - 1, found
    assert math.prod(A.samples) == int((scan.mask != 0).sum())


def test_a_limit_of_memory_is_refused_before_any_work(resolvent, spokes, store, model, monkeypatch):
    monkeypatch.setattr(rv.Scan, "maps", property(lambda scan: pytest.fail("maps were estimated")))
    run = resolvent("recon", store(spokes), "--model", model, "--max-memory", "2GiB")
    assert run.code == 1 and "Cartesian scans only, not for those along a trajectory" in run.error
