"""The figure: one grey scale, one error scale, and a file that appears whole or not at all."""

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from resolvent._errors import FormatError
from resolvent.data.io import OutputError
from resolvent.data.places import Geometry, aspect_of
from resolvent.figures import attacked, comparison


@pytest.fixture
def images():
    reference = torch.zeros(1, 40, 30, dtype=torch.complex64)
    reference[:, 10:30, 8:22] = 1j
    return {"zero_filled": 0.5 * reference, "sense": 0.9 * reference, "model": reference.clone()}, reference


def size(path):
    with Picture.open(path) as picture:
        return picture.size


def panel(path, column, row):
    """The middle of a panel as red, green, blue."""
    with Picture.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    side, margin, head = 2.3 * 130, 0.25 * 130, 0.45 * 130
    x = int(margin + column * (side + margin) + side / 2)
    tall = side * 40 / 30
    y = int(0.5 * 130 + head + tall / 2 + row * (tall + head))
    return pixels[y, x]


def test_images_share_one_grey_scale_and_errors_one_scale(images, tmp_path):
    path = tmp_path / "figure.png"
    comparison(path, images[0], reference=images[1])
    greys = [panel(path, column, 0) for column in range(4)]
    assert all(np.ptp(grey) == 0 for grey in greys)
    zero_filled, sense, model, reference = (int(grey[0]) for grey in greys)
    assert reference == model == 255
    assert zero_filled == pytest.approx(127, abs=2)
    assert sense == pytest.approx(229, abs=2)
    errors = [panel(path, column, 1).sum() for column in range(3)]
    assert errors[0] >= errors[1] > errors[2]


def test_without_reference_there_is_no_row_of_errors(images, tmp_path):
    comparison(tmp_path / "with.png", images[0], reference=images[1], residuals=torch.rand(5, 1))
    comparison(tmp_path / "without.png", images[0], residuals=torch.rand(5, 1))
    assert size(tmp_path / "without.png")[1] < 0.7 * size(tmp_path / "with.png")[1]


def test_pixels_that_are_not_square_are_not_drawn_as_squares(images, tmp_path):
    """30 columns of 2 mm and 20 rows of 4 mm are drawn as 40 rows of 30 columns are."""
    half = {name: image[:, ::2] for name, image in images[0].items()}
    comparison(tmp_path / "square.png", images[0], reference=images[1])
    tall = aspect_of(Geometry(np.diag([2, 4, 1, 1])))
    comparison(tmp_path / "tall.png", half, reference=images[1][:, ::2], aspect=tall)
    assert (tmp_path / "tall.png").read_bytes() == (tmp_path / "square.png").read_bytes()
    attacked(tmp_path / "wide.png", images[1], images[1], images[1][None], aspect=0.5)
    attacked(tmp_path / "squares.png", images[1], images[1], images[1][None])
    assert size(tmp_path / "wide.png")[1] < size(tmp_path / "squares.png")[1]


def test_the_middle_slice_is_shown(images, tmp_path):
    stack = {name: torch.cat([0 * image, image, 0 * image]) for name, image in images[0].items()}
    comparison(tmp_path / "stack.png", stack, reference=torch.cat([0 * images[1], images[1], 0 * images[1]]))
    assert panel(tmp_path / "stack.png", 3, 0)[0] == 255


def test_scores_title_and_caption_are_drawn(images, tmp_path):
    scores = {name: {"psnr": 30.0, "ssim": 0.9, "nmse": 0.1} for name in images[0]}
    comparison(tmp_path / "plain.png", images[0], reference=images[1], caption=" \n ")
    comparison(tmp_path / "full.png", images[0], reference=images[1], scores=scores, title="T", caption="A\nB")
    assert size(tmp_path / "plain.png") == size(tmp_path / "full.png")
    assert (tmp_path / "plain.png").read_bytes() != (tmp_path / "full.png").read_bytes()


def test_scores_of_a_stack_are_said_to_be_of_all(images, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("resolvent.figures._title", lambda axes, name, score: said.append(score))
    scores = {name: {"psnr": 30.0, "ssim": 0.9} for name in images[0]}
    for count in (1, 3):
        stack = {name: image.expand(count, -1, -1) for name, image in images[0].items()}
        comparison(tmp_path / "a.png", stack, reference=images[1].expand(count, -1, -1), scores=scores)
    assert said[3] == "" and said[7] == "the middle of 3; scores of all"


def test_a_black_image_is_drawn(images, tmp_path):
    black = {name: 0 * image for name, image in images[0].items()}
    comparison(tmp_path / "black.png", black, residuals=torch.zeros(3, 1))
    assert panel(tmp_path / "black.png", 0, 0).sum() == 0


def test_a_sample_that_ended_early_does_not_hold_up_the_curve(images, tmp_path):
    slow, fast = torch.tensor([1.0, 0.1, 1e-2, 1e-4]), torch.tensor([1.0, 0.1, torch.nan, torch.nan])
    comparison(tmp_path / "one.png", images[0], residuals=slow[:, None])
    comparison(tmp_path / "two.png", images[0], residuals=torch.stack([fast, slow], 1))
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "one.png").read_bytes()


def test_only_png(images, tmp_path):
    with pytest.raises(FormatError, match=r"does not end in \.png"):
        comparison(tmp_path / "figure.pdf", images[0])


def test_a_missing_folder_is_an_error_and_leaves_nothing(images, tmp_path):
    with pytest.raises(OutputError, match="Create it first"):
        comparison(tmp_path / "missing" / "figure.png", images[0])
    assert not list(tmp_path.iterdir())
