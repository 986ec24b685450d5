import h5py
import numpy as np
import pytest
import torch

import resolvent as rv
from resolvent._errors import DataError
from resolvent.evaluate.scans import Acquisition, Files, resized


def files(*paths, **options):
    return Files(tuple(map(str, paths)), **options)


def test_every_subject_gives_its_slices_evenly_spaced(others, acquisition):
    all_of = files(others).specs(acquisition)
    assert [(s.subject.name, s.number) for s in all_of] == [(n, k) for n in ("cleo", "dan") for k in range(3)]
    assert [s.number for s in files(others, slices=1).specs(acquisition)] == [1, 1]
    assert [s.subject.name for s in files(others, subjects=1).specs(acquisition)] == ["cleo"] * 3


def test_a_scan_does_not_depend_on_what_else_is_in_the_study(others, data, acquisition):
    few = {(s.subject.name, s.number): s.seed for s in files(others, subjects=1, slices=1).specs(acquisition)}
    many = {(s.subject.name, s.number): s.seed for s in files(data, others).specs(acquisition)}
    assert few.items() <= many.items()
    assert len(set(many.values())) == len(many)
    assert {s.seed for s in files(others, seed=1).specs(acquisition)}.isdisjoint(many.values())


def test_two_files_of_one_name_are_refused(data):
    for paths in ((data, data), (data, data.parent.parent / "other" / data.name)):
        with pytest.raises(rv.ResolventError, match="Two files are called val"):
            files(*paths)


def test_accelerations_differ_in_the_mask_alone(data):
    slow, fast = (files(data).specs(Acquisition(R, coils=3))[0].make() for R in (2.0, 4.0))
    ratio = slow.reference.abs().max() / fast.reference.abs().max()  # the units follow the largest coil image
    assert torch.allclose(slow.reference, ratio * fast.reference, atol=1e-6)
    assert torch.equal(slow.A.weighted_maps, fast.A.weighted_maps)
    both = (slow.y != 0) & (fast.y != 0)
    assert torch.allclose(slow.y[both], ratio * fast.y[both], atol=1e-5)
    taken = [float((case.A.encode != 0).float().mean()) for case in (slow, fast)]
    assert taken == pytest.approx([1 / 2, 1 / 4], rel=0.02)


def test_a_row_says_how_the_scan_was_made(data):
    spec = files(data).specs(Acquisition(3.0, "uniform1d", 20.0, coils=2, size=32))[1]
    about = {"data": "val.h5", "subject": "ada", "slice": 1, "acceleration": 3.0, "mask": "uniform1d", "snr": 20.0}
    assert (about | {"coils": 2, "size": 32, "scan_seed": spec.seed}).items() <= spec.about.items()
    assert len(spec.about["data_sha256"]) == 16
    case = spec.make()
    assert case.y.shape == (1, 2, 32, 32)
    assert files(data).specs(Acquisition(3.0))[0].about["snr"] == 30.0


def test_a_slice_and_the_volume_that_it_is_of_are_told_apart(data, acquisition):
    one, all_of = (files(data, layout=layout).specs(acquisition)[0] for layout in ("slices", "volumes"))
    assert one.number == all_of.number and one.about != all_of.about


def test_the_noise_is_that_of_the_snr(data):
    case = files(data).specs(Acquisition(1.0, snr=20.0, coils=3))[0].make()
    power = case.reference.abs().square()
    signal = power[case.reference.abs() > 0.05 * case.reference.abs().max()].mean()
    assert 10 * torch.log10(signal / case.noise**2).item() == pytest.approx(20, abs=0.05)
    assert case.level == case.noise


def test_probes_take_turns_between_files(data, others, acquisition):
    few = files(data, others).few(acquisition, 3)
    assert [(s.subject.name, s.number) for s in few] == [("ada", 1), ("cleo", 1), ("bob", 1)]
    assert few[0].about == files(data).specs(acquisition)[1].about  # one of the test scans, and not another one


def test_a_measured_scan_loses_samples_and_is_compared_with_all_of_them(measured):
    spec = files(measured).specs(Acquisition(2.0, coils=7, size=64))[0]
    assert (spec.about["coils"], spec.about["size"], spec.about["snr"]) == (3, None, None)
    case = spec.make()
    full = rv.read(measured)
    image = rv.SENSE(full.maps, full.mask).adjoint(full.kspace)
    ratio = image.abs().max() / case.reference.abs().max()
    assert torch.allclose(ratio * case.reference, image, atol=1e-5)
    kept = case.y != 0
    assert torch.allclose(ratio * case.y[kept], full.kspace[kept], atol=1e-4)
    assert float(kept.float().mean()) == pytest.approx(0.5, rel=0.02)


def test_noise_is_added_to_a_measured_scan_and_not_to_its_reference(measured):
    quiet, noisy = (files(measured).specs(Acquisition(1.0, snr=snr))[0].make() for snr in (None, 15.0))
    ratio = noisy.reference.abs().max() / quiet.reference.abs().max()
    assert torch.allclose(noisy.reference, ratio * quiet.reference, atol=1e-5)
    added = noisy.y / ratio - quiet.y
    power = quiet.reference.abs().square()
    signal = power[power > 0.0025 * power.max()].mean()
    assert 10 * torch.log10(signal / added.abs().square().mean()).item() == pytest.approx(15, abs=0.4)
    both = (quiet.noise**2 + added.abs().square().mean().item()) ** 0.5
    assert noisy.noise == pytest.approx(ratio.item() * both, rel=0.05)


@pytest.mark.parametrize(("layout", "ndim"), [("volumes", 3), ("series", 2)])
def test_volumes_and_series_are_one_scan_a_subject(others, layout, ndim, acquisition):
    specs = files(others, layout=layout).specs(acquisition)
    assert len(specs) == 2
    case = specs[0].make()
    assert case.y.shape == (1, 3, 3, 24, 20)
    assert case.A.ndim == ndim
    error = (case.A(case.reference) - case.y)[case.y != 0]
    assert error.abs().square().mean().sqrt().item() == pytest.approx(case.noise, rel=0.1)
    taken = case.A.encode[0, 0] != 0
    whole_lines = bool((taken == taken[..., :1]).all())  # in a volume x is read out and always complete
    assert whole_lines == (layout == "volumes")


@pytest.mark.parametrize("layout", ["volumes", "series"])
def test_a_measured_slice_is_no_volume_and_no_series(measured, layout, acquisition):
    with pytest.raises(DataError, match=f"holds measured slices .*, not {layout}"):
        files(measured, layout=layout).specs(acquisition)


def test_resizing_keeps_the_whole_field_of_view():
    image = torch.zeros(1, 40, 30)
    image[:, 10:30, 5:25] = 1.0
    small = resized(image, 20)
    assert small.shape == (1, 20, 20)
    assert small.max() == 1
    centre = [float((small[0] * torch.arange(20.0).reshape(shape)).sum() / small.sum()) for shape in ((-1, 1), (1, -1))]
    assert centre == pytest.approx([9.5, 9.5], abs=0.3)  # 15 in 30 columns is 9.5 in a square of 20
    assert torch.equal(resized(image, None), image)
    turned = resized(image * torch.exp(torch.tensor(0.7j)), 20)
    assert torch.allclose(turned, small * torch.exp(torch.tensor(0.7j)), atol=1e-5)


def test_complex_images_keep_their_phase(tmp_path, acquisition):
    stack = np.ones((1, 16, 16)) * np.exp(0.3j)
    with h5py.File(tmp_path / "complex.h5", "w") as file:
        file["image_ri"] = np.stack([stack.real, stack.imag], -1).astype(np.float32)
    case = files(tmp_path / "complex.h5").specs(acquisition)[0].make()
    assert torch.allclose(case.reference.angle(), torch.tensor(0.3), atol=1e-4)
