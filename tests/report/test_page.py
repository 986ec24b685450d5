"""The page as text: one file that asks for nothing, says what it must, and leaks nothing."""

import json
import re

import numpy as np
import pytest
import torch

from resolvent._errors import FormatError
from resolvent.data import Geometry
from resolvent.data.io import OutputError
from resolvent.report import page, write_page

IMAGE = {"image": torch.ones(1, 6, 5, dtype=torch.complex64)}
EVIL = '</script><img src=x onerror="alert(1)">'


def payload(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_names_no_address_and_forbids_all(plane, volume):
    for made in (plane, volume):
        outside = re.sub(r'<script type="application/gzip".*?</script>', "", made.text, flags=re.DOTALL)
        assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?!#)[a-z]|https?://|@import|url\(", outside)
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', made.text)[1]
        assert policy.startswith("default-src 'none'; script-src 'sha256-")
        assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_only_pages_of_volumes_carry_niivue(plane, volume, cine):
    assert 'id="niivue"' in volume.text
    assert volume.path.stat().st_size < 2e6
    for made in (plane, cine):
        assert 'id="niivue"' not in made.text
        assert made.path.stat().st_size < 1e6


def test_only_volumes_of_known_orientation_have_letters_for_right_and_left(volume):
    assert payload(volume.text)["oriented"] is True
    image = torch.rand(1, 4, 5, 6)
    for geometry in (Geometry(np.eye(4), oriented=False), None):
        assert payload(page({"model": image}, {}, title="", ndim=3, geometry=geometry))["oriented"] is False


def test_edges_are_named_by_the_axis_that_a_plane_follows_most():
    turned = np.diag([1.0, 1.0, 1.0, 1.0])
    turned[:3, :2] = [[0.3, 0.1], [-2.0, 0.0], [0.5, -1.0]]  # columns to the back, rows to the feet
    image = {"model": torch.rand(2, 5, 6)}
    for affine, letters in ((np.eye(4), list("LRPA")), (turned, list("APSI"))):
        assert payload(page(image, {}, title="", geometry=Geometry(affine)))["edges"] == letters
    for unknown in (None, Geometry(np.eye(4), oriented=False)):
        assert payload(page(image, {}, title="", geometry=unknown))["edges"] == []


def test_the_page_says_where_it_came_from(plane):
    record = plane.outcome.recon.record()
    for said in (record["model"]["sha256"], "demo.h5", "0.001", record["version"], "resolvent recon demo.h5"):
        assert said in plane.text
    for score in plane.outcome.scores.values():
        assert f"{score['psnr']:.2f}" in plane.text
    assert "Research use only" in plane.text
    assert str(plane.path.parent) not in plane.text


def test_every_explanation_that_is_linked_is_there(plane):
    links = set(re.findall(r'href="#([^"]+)"', plane.text))
    assert {"proved", "distance", "gain", "certificate", "solve", "images"} <= links
    assert all(f'id="{link}"' in plane.text for link in links)


def test_the_curve_has_all_steps_against_step_and_time(cine, plane):
    steps = plane.outcome.recon.solution.steps
    lines = re.findall(r'<polyline class="line" points="([^"]*)"', plane.text)
    assert [len(line.split()) for line in lines] == [steps, steps]
    times = plane.outcome.recon.solution.seconds[:, 0]
    assert (times.diff() > 0).all()
    assert 0 < times[0] < times[-1] < plane.outcome.seconds


def test_a_doubt_stands_above_all_marks_and_is_the_first_of_them():
    record = {"converged": True, "steps": 9, "fit": {"doubtful": True, "doubts": {"unexplained": "a"}}}
    text = page(IMAGE, record, title="")
    marks = re.findall(r'<li class="mark (\w+)"><a href="#(\w+)">.*?</span> (.*?)</a>', text)
    assert marks[0] == ("refused", "warnings", "The image does not explain the samples")
    assert marks[1] == ("proved", "solve", "Converged in 9 steps")
    assert text.index('role="note"') < text.index('class="mark ')
    assert 'id="warnings"' in text


@pytest.mark.parametrize(
    ("batch", "ndim", "lines", "each"),
    [(3, 2, 3, "slice"), (1, 3, 4, "plane"), (1, 3, 16, "plane"), (2, 3, 2, "volume"), (4, 2, 5, "plane")],
)
def test_the_lines_of_the_curve_are_called_what_was_solved(batch, ndim, lines, each):
    image = torch.ones(batch, *(4, 6, 5)[-ndim:]) + 0j
    text = page({"model": image}, {"curve": {"residuals": [[1.0, 0.1]] * lines}}, title="", ndim=ndim)
    assert f"; a line for each {each}. " in text
    assert f"<summary>The numbers, {each} 1</summary>" in text


def test_the_curve_of_one_solve_names_no_slice():
    text = page(IMAGE, {"curve": {"residuals": [[1.0, 0.1]]}}, title="")
    assert "how far the first one did. " in text and "<summary>The numbers</summary>" in text


@pytest.mark.parametrize(
    ("shape", "said"),
    [((1, 6, 5), ""), ((3, 6, 5), "all slices"), ((1, 4, 6, 5), "all frames"), ((2, 4, 6, 5), "all slices and frames")],
)
def test_scores_say_what_they_are_of(shape, said):
    text = page({"model": torch.ones(shape)}, {"metrics": {"model": {"psnr": 30, "ssim": 0.9}}}, title="")
    (image,) = payload(text)["images"]
    assert image["score"] == "PSNR 30.0 dB · SSIM 0.900" + f" · {said}" * bool(said)
    assert f"<caption>Against the reference{f', over {said}' * bool(said)}</caption>" in text


def test_titles_and_records_cannot_inject():
    record = {
        "input": EVIL,
        "status": EVIL,
        "converged": False,
        "model": {"name": EVIL},
        "metrics": {EVIL: {"psnr": 1}},
    }
    text = page({EVIL: IMAGE["image"]}, record, title=EVIL)
    assert EVIL not in text
    assert "<img" not in text
    assert payload(text)["images"][0]["label"] == EVIL


def test_nothing_of_a_record_but_what_is_named_reaches_the_page():
    text = page(IMAGE, {"PatientName": "DOE^JANE", "certificate": {"PatientID": "12345678"}}, title="image.nii.gz")
    assert "DOE" not in text
    assert "12345678" not in text


def test_the_largest_of_scale_and_image_are_in_units_of_the_file():
    assert payload(page({"image": 3 * IMAGE["image"]}, {}, title="", scale=5.0))["peak"] == pytest.approx(15)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_an_image_without_a_picture_in_it_still_gives_a_page(value):
    assert payload(page({"image": value * IMAGE["image"]}, {}, title="none"))["rows"] == 6


def test_what_was_left_out_is_said(monkeypatch):
    from resolvent.report import planes

    noise = torch.randn(40, 32, 32, dtype=torch.complex64)
    monkeypatch.setitem(planes.BUDGET, 2, 30_000)
    text = page({"image": noise}, {}, title="many")
    kept = payload(text)["slices"]
    assert 1 < len(kept) < 40
    assert f"{len(kept)} of 40 slices are in this page" in text


def test_only_html(tmp_path):
    with pytest.raises(FormatError, match=r"does not end in \.html"):
        write_page(tmp_path / "page.pdf", IMAGE, {}, title="")


def test_a_missing_folder_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(OutputError, match="Create it first"):
        write_page(tmp_path / "missing" / "page.html", IMAGE, {}, title="")
    assert not list(tmp_path.iterdir())
