"""``resolvent attack``: what it prints, draws and refuses."""

import pytest
import torch

import resolvent as rv
from resolvent.mol.targets import attack_model

QUICK = ("--steps", 2, "--starts", 1)
KEYS = {
    "version",
    "input",
    "model",
    "slice",
    "method",
    "steps",
    "starts",
    "seed",
    "seconds",
    "figure",
    "epsilon",
    "gain_worst",
    "gain_gaussian",
    "gain_gaussian_max",
    "gain_bound",
    "gain_bound_kind",
    "proved",
    "held",
    "error",
    "change",
    "largest_error",
    "window",
    "reconstructions",
    "gradients",
}


def test_json_has_the_keys_that_scripts_rely_on_and_the_numbers_of_the_library(resolvent, store, scan, model):
    run = resolvent("attack", model, store(scan), "--epsilon", 0.02, *QUICK, "--json")
    assert run.code == 0
    assert run.err == ""
    found = run.json
    assert set(found) == KEYS
    unit = scan.normalised()
    A = rv.SENSE(scan.maps, scan.mask)
    options = {"steps": 2, "starts": 1, "methods": ("pgd",), "draws": 4, "together": 1}
    wanted = attack_model(rv.load(model), unit.kspace, A, 0.02, noise=unit.noise, **options)
    assert found["gain_worst"] == pytest.approx(wanted.gain_worst.item(), rel=1e-3)
    assert found["gain_gaussian"] == pytest.approx(wanted.gain_gaussian.item(), rel=1e-3)
    assert found["gain_bound"] == pytest.approx(wanted.gain_bound)
    assert found["gain_gaussian"] <= found["gain_gaussian_max"] <= found["gain_worst"] * 1.001
    assert (found["proved"], found["gain_bound_kind"], found["held"]) == (False, "conditioning held", None)
    assert (found["epsilon"], found["model"], found["slice"], found["window"]) == (0.02, "tiny", 0, None)


def test_linear_reconstruction_comes_near_its_proved_bound(resolvent, store, scan):
    found = resolvent("attack", "sense", store(scan), "--steps", 25, "--starts", 1, "--json").json
    assert found["proved"] is True
    assert found["model"] == "sense"
    assert 0.9 * found["gain_bound"] <= found["gain_worst"] <= found["gain_bound"] * (1 + found["error"])


def test_people_get_a_table_that_calls_it_a_lower_bound(resolvent, store, scan, model):
    out = resolvent("attack", model, store(scan), *QUICK, "--held").out
    for text in (
        "white noise",
        "worst that was found",
        "conditioning held",
        "bound",
        "1 % of the data change the image",
    ):
        assert text in out
    assert "a lower bound of the worst case, never a guarantee" in out


def test_with_the_conditioning_held_the_bound_stands(resolvent, store, scan, model):
    found = resolvent("attack", model, store(scan), *QUICK, "--held", "--json").json
    assert 0 < found["held"] <= found["gain_bound"] * (1 + found["error"])
    assert found["gradients"] == 4


def test_an_estimated_model_has_no_proved_bound(resolvent, store, scan, estimated):
    found = resolvent("attack", estimated, store(scan), *QUICK, "--method", "both", "--json").json
    assert (found["proved"], found["gain_bound_kind"]) == (False, "estimated")
    assert found["gradients"] == 4


def test_a_window_is_reported_with_its_place(resolvent, store, scan):
    path = store(scan)
    found = resolvent("attack", "sense", path, *QUICK, "--window", 15, "--json").json
    assert found["window"]["side"] == 15
    assert 0 <= found["window"]["row"] <= 48 - 15
    assert "in the 15 x 15 window" in resolvent("attack", "sense", path, *QUICK, "--window", 15).out
    assert "A window of side 49 does not fit" in resolvent("attack", "sense", path, "--window", 49).error


def test_a_picture_is_drawn_and_named(resolvent, store, scan, tmp_path):
    picture = tmp_path / "new" / "attack.png"
    run = resolvent("attack", "sense", store(scan), *QUICK, "--window", 9, "-o", picture, "--json")
    assert run.json["figure"] == str(picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"
    bare = resolvent("attack", "sense", store(scan.replace(reference=None)), *QUICK, "-o", tmp_path / "bare.png")
    assert str(tmp_path / "bare.png") in bare.out


def test_a_full_scan_is_undersampled_first(resolvent, store, full):
    arguments = ("attack", "sense", store(full), *QUICK, "--json")
    assert resolvent(*arguments).json["gain_worst"] < 1.1
    assert resolvent(*arguments, "--acceleration", 3, "--mask-kind", "random1d").json["gain_worst"] > 1.5


def test_one_slice_is_attacked(resolvent, store, scan):
    stack = scan.replace(
        kspace=torch.cat([scan.kspace, scan.kspace.flip(-1) * 0.5]),
        mask=torch.cat([scan.mask, scan.mask.flip(-1)]),
        coil_maps=scan.maps.repeat(2, 1, 1, 1),
        reference=scan.reference.repeat(2, 1, 1),
    )
    path = store(stack)
    first, second = (resolvent("attack", "sense", path, *QUICK, "--slice", i, "--json").json for i in (0, 1))
    alone = resolvent("attack", "sense", store(scan, "alone.h5"), *QUICK, "--json").json
    assert first["gain_worst"] == pytest.approx(alone["gain_worst"], rel=1e-3)
    assert abs(second["gain_worst"] - first["gain_worst"]) > 1e-3
    error = resolvent("attack", "sense", path, "--slice", 2).error
    assert "has no slice 2: the slices are 0 to 1. Pass another." in error
    assert "the only slice is 0" in resolvent("attack", "sense", store(scan, "alone.h5"), "--slice", 1).error


@pytest.mark.parametrize(
    "wrong",
    [
        ("--epsilon", 0),
        ("--method", "newton"),
        ("--mask-kind", "radial"),
        ("--steps", 0),
        ("-o", "picture.jpg"),
        ("--held",),
    ],
)
def test_wrong_options_are_errors_of_usage(resolvent, store, scan, wrong):
    assert resolvent("attack", "sense", store(scan), *wrong).code == 2


def test_an_unknown_model_is_an_error_of_one_line(resolvent, store, scan):
    run = resolvent("attack", "nowhere", store(scan), "--json")
    assert run.code == 1
    assert "there is no model 'nowhere'" in run.json["error"]
