"""``resolvent recon --report`` and ``resolvent view``: the page of one input, of many, of an image that is there."""

import inspect
import json
import re

import nibabel
import numpy as np
import pytest

import resolvent as rv
from resolvent.cli.recon import command_line, recon


def test_recon_writes_a_page(resolvent, store, scan, model, tmp_path):
    page = tmp_path / "page.html"
    run = resolvent("recon", store(scan), "--model", model, "--tol", 2e-3, "--report", page, "--json")
    assert run.code == 0
    assert run.json["results"][0]["report"] == str(page)
    text = page.read_text()
    assert "resolvent recon scan.h5 --model tiny --tol 0.002 --report page.html" in text
    assert str(tmp_path) not in text
    assert '"label": "SENSE"' in text


def test_people_are_told_where_it_is(resolvent, store, scan, model, tmp_path):
    run = resolvent("recon", store(scan), "--model", model, "--report", tmp_path / "page.html")
    assert f"written: {tmp_path / 'page.html'}" in run.out


def test_several_inputs_take_a_pattern(resolvent, store, scan, model, tmp_path):
    paths = [store(scan, "a.h5"), store(scan, "b.h5")]
    run = resolvent("recon", *paths, "--model", model, "--report", tmp_path / "new" / "{name}.html", "--json")
    assert run.code == 0
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["a.html", "b.html"]
    run = resolvent("recon", *paths, "--model", model, "--report", tmp_path / "one.html")
    assert run.code == 2


@pytest.mark.parametrize(("name", "code"), [("page.pdf", 2), ("missing/page.html", 1)])
def test_a_page_that_cannot_be_written_is_found_out_first(resolvent, store, scan, model, tmp_path, name, code):
    run = resolvent("recon", store(scan), "--model", model, "--report", tmp_path / name, "-o", tmp_path / "x.npy")
    assert run.code == code
    assert [p.name for p in tmp_path.iterdir()] == ["scan.h5"]
    for picture in (tmp_path / "a.png", tmp_path / "a.dcm"):
        picture.touch()
        assert "Give an image in .nii.gz, .nii, .h5 or .npy" in resolvent("view", picture).error


def test_the_record_of_another_image_says_nothing_of_this_one(resolvent, store, scan, estimated, model, tmp_path):
    resolvent("recon", store(scan), "--model", estimated, "-o", tmp_path / "x.nii.gz")
    resolvent("recon", store(scan), "--model", model, "-o", tmp_path / "x.npy")  # the record has the same name
    own, other = (
        resolvent("view", tmp_path / f"x.{kind}", "-o", tmp_path / f"{kind}.html") for kind in ("npy", "nii.gz")
    )
    assert "warning" not in own.err and "is the record of another image than" in other.err
    assert "statement proved" in (tmp_path / "npy.html").read_text()
    assert "statement proved" not in (tmp_path / "nii.gz.html").read_text()


def test_an_estimated_model_is_warned_about(resolvent, store, scan, estimated, tmp_path):
    resolvent("recon", store(scan), "--model", estimated, "--report", tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert re.search(r'class="warning"[^>]*><strong>Nothing is proved', text)
    assert "statement proved" not in text


def test_a_refused_certificate_leaves_no_page(resolvent, store, scan, estimated, tmp_path):
    arguments = ("--model", estimated, "--report", tmp_path / "page.html", "--require-certificate")
    assert resolvent("recon", store(scan), *arguments).code == 3
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("suffix", [".nii.gz", ".npy", ".h5"])
def test_view_shows_an_image_with_its_record(resolvent, store, scan, model, tmp_path, suffix):
    resolvent("recon", store(scan), "--model", model, "-o", tmp_path / f"out{suffix}")
    run = resolvent("view", tmp_path / f"out{suffix}")
    assert run.code == 0
    assert run.out == f"{tmp_path / 'out.html'}\n"
    text = (tmp_path / "out.html").read_text()
    assert rv.load(model).identity["sha256"] in text
    assert len(re.findall("<polyline", text)) == 2, "the record holds the residuals"
    assert "Converged in" in text


def test_view_shows_slices_whose_place_is_known_as_a_volume(resolvent, tmp_path):
    values = np.arange(5 * 6 * 4 * 3, dtype=np.float32).reshape(5, 6, 4, 3)  # x, y, z, t
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 4.0, 1.0])), tmp_path / "a.nii.gz")
    resolvent("view", tmp_path / "a.nii.gz")
    text = (tmp_path / "a.html").read_text()
    said = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert 'id="niivue"' in text
    assert (said["of_slices"], said["of_frames"], said["rows"], said["columns"]) == (4, 3, 6, 5)
    assert np.array_equal(said["affine"], np.diag([2.0, 2.0, 4.0, 1.0]))
    for name, stack in (("b", values[:, :, :1]), ("c", values[..., 0])):
        np.save(tmp_path / f"{name}.npy", stack)
        nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), tmp_path / f"{name}.nii.gz")
    for name in ("b.nii.gz", "c.npy"):  # one slice; slices at unknown places
        resolvent("view", tmp_path / name, "-o", tmp_path / "d.html")
        assert 'id="niivue"' not in (tmp_path / "d.html").read_text()


def test_view_of_an_image_without_a_record_claims_nothing(resolvent, tmp_path):
    np.save(tmp_path / "image.npy", np.ones((8, 8), np.complex64))
    (tmp_path / "image.json").write_text("[" * 10_000)
    run = resolvent("view", tmp_path / "image.npy", "-o", tmp_path / "page.html", "--json")
    assert run.json["report"] == str(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "No certificate" in text
    assert "Proved<" not in text.partition("What the words mean")[0]


def test_view_takes_no_names_from_records_of_others(resolvent, tmp_path):
    np.save(tmp_path / "image.npy", np.ones((8, 8), np.complex64))
    (tmp_path / "image.json").write_text(json.dumps({"PatientName": "DOE^JANE", "SeriesDescription": "HEAD OF DOE"}))
    resolvent("view", tmp_path / "image.npy")
    assert "DOE" not in (tmp_path / "image.html").read_text()


def test_view_opens_a_page(resolvent, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    page = tmp_path / "a page.html"
    page.write_text("<p>")
    assert resolvent("view", page).out == f"{page}\n"
    assert opened == []
    resolvent("view", page, "--open")
    assert opened == [page.as_uri()]
    run = resolvent("view", page, "-o", tmp_path / "other.html")
    assert run.code == 2 and "is already a page" in run.err
    assert page.read_text() == "<p>"


def test_view_of_what_is_not_there(resolvent, store, scan, tmp_path):
    assert "recon SCAN --report" in resolvent("view", tmp_path / "no.html").error
    assert "does not exist" in resolvent("view", tmp_path / "no.nii.gz").error
    assert "k-space, not an image" in resolvent("view", store(scan)).error
    assert [p.name for p in tmp_path.iterdir()] == ["scan.h5"]


def test_the_command_of_a_record_can_be_typed_again():
    given = {name: one.default for name, one in inspect.signature(recon).parameters.items()}
    given |= {"files": ["folder/brain.h5"], "acceleration": 4.0, "mask_kind": "radial", "seed": 12345678}
    given |= {"tol": 0.00123456789, "max_steps": 1000000, "report": "folder/my page.html", "as_json": True}
    given |= {"model": "owner/name@v1"}
    assert command_line(given) == (
        "resolvent recon brain.h5 --model owner/name@v1 --acceleration 4 --mask-kind radial --seed 12345678 "
        "--tol 0.00123456789 --max-steps 1000000 --report 'my page.html' --json"
    )
