from dataclasses import replace

import pytest
import torch

from resolvent.data import psnr
from resolvent.evaluate.bench import Bench
from resolvent.evaluate.methods import ZERO_FILLED, regularised
from resolvent.evaluate.scans import Acquisition, Files
from resolvent.evaluate.shift import SHIFTS, moved, sampled, shifted, summarise, toned, wrong_maps
from resolvent.evaluate.store import Store
from resolvent.linop import SENSE


@pytest.fixture
def spec(data):
    return Files((str(data),)).few(Acquisition(3.0, coils=3), 1)[0]


def test_one_thing_differs_and_the_rest_stays(spec):
    coils, noise = sampled(coils=5)(spec), sampled(snr=-6)(spec)
    assert coils.make().y.shape[1] == 5 and coils.seed == spec.seed
    assert noise.make().noise == pytest.approx(2 * spec.make().noise, rel=0.03)  # in units of the noisy scan
    square = toned(2.0)(spec)
    ratio = square.make().reference.abs() / spec.make().reference.abs().square().clamp_min(1e-9)
    inside = spec.make().reference.abs() > 0.1
    assert float(ratio[inside].std() / ratio[inside].mean()) < 0.02  # up to the unit, which is that of the scan


def test_each_shift_is_measured_on_its_own_scan(spec, tmp_path):
    bench = Bench(Store(tmp_path / "rows"), {}, lambda text: None)
    for shift in SHIFTS:
        other = shift.spec(spec)
        assert torch.equal(bench.case(other).reference, other.make().reference), shift.name


def test_measured_scans_keep_their_coils_noise_and_contrast(measured):
    spec = Files((str(measured),)).few(Acquisition(2.0), 1)[0]
    assert sampled(coils=4)(spec) is None and toned(0.5)(spec) is None


def test_wrong_maps_are_off_by_what_is_said_and_still_have_unit_power(case):
    near = wrong_maps(0.1)(case)
    inside = case.A.support.bool()
    assert float((near.A.maps - case.A.maps).abs().max()) < 0.11
    change = (near.A.maps - case.A.maps).abs().square().sum(1)[inside.expand_as(case.reference)].mean().sqrt()
    assert 0.04 < float(change) < 0.11
    power = near.A.maps.abs().square().sum(1)
    torch.testing.assert_close(power[inside.expand_as(power)], torch.ones_like(power[inside.expand_as(power)]))
    assert torch.equal(near.A.mask, case.A.mask)


def test_motion_shifts_the_object_in_a_third_of_the_columns(case):
    full = SENSE(case.A.maps, torch.ones_like(case.A.mask), ndim=2)
    still = replace(case, A=full, y=full(case.reference))
    blurred = moved(2.0)(still)
    columns = case.y.shape[-1]
    assert torch.equal(blurred.y[..., : 2 * columns // 3], still.y[..., : 2 * columns // 3])
    object_moved = full(full.adjoint(still.y).roll(2, -2))  # the coils stay
    rolled = torch.fft.ifftshift(torch.fft.fftshift(object_moved))
    late = slice(2 * columns // 3, None)
    own = torch.einsum("bcyx->cyx", blurred.y[..., late]).abs()
    torch.testing.assert_close(own, still.y[0, ..., late].abs())
    assert rolled.shape == still.y.shape
    assert psnr(case.reference, full.adjoint(blurred.y)) < psnr(case.reference, full.adjoint(still.y)) - 10
    turned = replace(still, y=still.y.mT, readout=-1)
    torch.testing.assert_close(moved(2.0)(turned).y, blurred.y.mT)


def test_the_table_compares_with_the_scan_as_it_is(spec):
    method = regularised("sense").at(5.0)
    rows = []
    for shift in SHIFTS[:2] + SHIFTS[-1:]:
        other = shift.spec(spec)
        case = other.make()
        rows += [
            {"method": m.name, "shift": shift.name, "data": "d", **r}
            for m in (method, ZERO_FILLED)
            for r in shifted(m, case, shift=shift)
        ]
    table = summarise(rows)
    assert [row["change"] for row in table if row["shift"] == "none"] == [0, 0]
    moved_rows = [row for row in table if row["shift"] == "moved by 3 pixels"]
    assert len(moved_rows) == 2 and all(row["change"] < 0 for row in moved_rows)


def test_a_shift_is_compared_with_the_scans_that_have_it_and_says_what_was_shifted():
    still = {"method": "m", "shift": "none", "data": "a.h5", "slice": 0, "ssim": 0.9, "coils": 8}
    rows = [
        {**still, "subject": "simulated", "psnr": 30.0},
        {**still, "subject": "measured", "psnr": 40.0, "coils": 16},
        {**still, "subject": "simulated", "psnr": 29.0, "coils": 4, "shift": "4 coils"},
    ]
    none, coils = summarise(rows)
    assert (none["psnr"], none["change"], none["scans"]) == (35, 0, 2)
    assert (coils["psnr"], coils["change"], coils["scans"]) == (29, -1, 1)
    assert (none["coils"], coils["coils"]) == ("8, 16", 4)
