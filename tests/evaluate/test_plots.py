from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from resolvent.evaluate import plots


@pytest.fixture(scope="module")
def found():
    """Results of two methods, made up."""
    scan = {"data": "a.h5", "mask": "gaussian2d", "snr": 30.0, "coils": 8, "size": None}
    methods = ("sense", "model")
    curve = [("sense", k, 0.1**k) for k in range(5)] + [("plain", k, 0.3**k) for k in range(9)]
    curve += [("zero", k, 0.2**k) for k in range(5)]
    return {
        "accuracy": [
            {**scan, "method": m, "acceleration": R, "psnr": 30 - R, "psnr_std": 1.0, "ssim": 0.9, "ssim_std": None}
            for m in methods
            for R in (4.0, 6.0)
        ],
        "steps": [
            {"method": "model", "scan_seed": 1, "start": s, "step": k, "distance": d, "residual": d, "elapsed": 0.1 * k}
            for s, k, d in curve
        ],
        "iterations": [{"method": "model", "multiple": k, "change": 1e-5 * (k - 1)} for k in (1, 2, 3, 4)],
        "gaussian": [{"method": m, "epsilon": e, "psnr": 30 - e} for m in methods for e in (0.01, 0.05)],
        "worst": [
            {"method": m, "epsilon": e, "psnr": 28 - e, "gain_max": 3.0, "gain_bound": 5.0, "gain_bound_kind": "proved"}
            for m in methods
            for e in (0.01, 0.05)
        ],
        "samples": [{"method": m, "acceleration": R, "psnr": 34 - R} for m in methods for R in (2.0, 4.0)],
        "cost": [
            {"method": "sense", "recon_seconds": 0.1},
            {"method": "model", "recon_seconds": 1.0, "step_seconds": 2.0, "saved_bytes": 3e6},
        ],
    }


def test_every_experiment_has_a_figure_for_screen_and_for_print(found, tmp_path):
    paths = plots.write(tmp_path, found)
    names = [f"{name}.{kind}" for name in ("accuracy", "convergence", "robustness", "cost") for kind in ("png", "svg")]
    assert [path.name for path in paths] == names
    for path in paths[::2]:
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert pixels.shape[1] > 500
        for colour in plots.COLOURS[:2]:  # both methods are drawn
            rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
            drawn = int((np.abs(pixels.astype(int) - rgb).sum(2) < 30).sum())
            assert drawn > 20 or (path.stem == "convergence" and colour == plots.COLOURS[0])
    text = (tmp_path / "accuracy.svg").read_text()
    assert text.startswith("<?xml")


def test_the_same_results_give_the_same_files(found, tmp_path):
    only = {"accuracy": found["accuracy"]}
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        plots.write(tmp_path / folder, only)
    for name in ("accuracy.png", "accuracy.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bars_are_deviations_and_points_are_means(found):
    style = plots._Style(["sense", "model"])
    figure = plots.accuracy(found["accuracy"], style)
    above, below = figure.axes
    lines = {line.get_label(): line for line in above.lines}
    assert list(above.containers[0].lines[0].get_ydata()) == [26, 24]
    segments = above.containers[0].lines[2][0].get_segments()
    assert [tuple(s[:, 1]) for s in segments] == [(25, 27), (23, 25)]
    assert above.containers[0].lines[0].get_color() == plots.COLOURS[0] != above.containers[1].lines[0].get_color()
    assert (above.get_ylabel(), below.get_ylabel()) == ("PSNR [dB]", "SSIM")
    assert lines


def test_more_methods_than_colours_are_told_apart():
    style = plots._Style([f"method {number}" for number in range(20)])
    lines = [style.line(method) for method in style.methods]
    assert len({(line["color"], line["marker"]) for line in lines}) == 20


def test_one_subject_has_no_deviations(found):
    style = plots._Style(["sense", "model"])
    one = [{**row, "psnr_std": None} for row in found["accuracy"]]
    for rows, said in ((found["accuracy"], "means over subjects and their deviations"), (one, "one subject")):
        assert plots.accuracy(rows, style).get_supxlabel() == f"a.h5\n{said}"


def test_the_legend_names_the_bounds_that_are_drawn(found):
    style = plots._Style(["sense", "model"])
    for kind, named in (("proved", "bound, proved"), ("estimated", "bound, conditioning held or estimated")):
        worst = [{**row, "gain_bound_kind": kind} for row in found["worst"]]
        figure = plots.robustness(found["gaussian"], worst, found["samples"], style)
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sense", "model", named]


def test_a_solve_without_a_solution_to_compare_with_shows_its_residual(found):
    steps = [{**row, "distance": None} for row in found["steps"]]
    figure = plots.convergence(steps, found["iterations"], plots._Style(["model"]))
    assert [len(ax.lines[0].get_xdata()) if ax.lines else 0 for ax in figure.axes] == [0, 0, 5, 3]


def test_numbers_of_an_axis_do_not_run_together(found):
    rows = [{**row, "saved_bytes": 12.3e9, "step_seconds": 0.0123} for row in found["cost"]]
    figure = plots.cost(rows, plots._Style(["sense", "model"]))
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [label.get_window_extent() for label in ax.get_xticklabels() if label.get_text()]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_a_bound_is_dashed_only_where_it_is_proved(found):
    style = plots._Style(["sense", "model"])
    worst = [
        {**row, "gain_bound_kind": "proved" if row["method"] == "model" else "estimated"} for row in found["worst"]
    ]
    gains = plots.robustness(found["gaussian"], worst, found["samples"], style).axes[2]
    bounds = [line for line in gains.lines if list(line.get_ydata()) == [5.0, 5.0]]
    assert [line.get_linestyle() for line in bounds] == [":", "--"]
    assert gains.get_ylabel() == "largest gain"  # over the scans, as bounds are
    exact = [{**row, "gain_bound_kind": "exact"} for row in worst]
    gains = plots.robustness(found["gaussian"], exact, found["samples"], style).axes[2]
    assert not [line for line in gains.lines if list(line.get_ydata()) == [5.0, 5.0]]
