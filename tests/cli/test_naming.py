"""Names of outputs, and wrong command lines."""

import numpy as np
import pytest
import typer

from resolvent.cli.naming import figures, make_folders, outputs, remove_empty, stem
from resolvent.data.io import OutputError


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/brain.nii.gz", "brain"), ("brain.h5", "brain"), ("a.b/x.y.cfl", "x.y"), ("a/bare", "bare"), (".h5", ".h5")],
)
def test_name_of_an_input(path, name):
    assert stem(path) == name


def test_one_input_and_a_file():
    assert outputs(["a.h5"], "x/out.png") == ["x/out.png"]
    assert outputs(["a.h5"], None) == [None]


@pytest.mark.parametrize("out", ["results", "results/", "v1.2/results"])
def test_a_folder_takes_one_image_for_each_input(out):
    folder = out.rstrip("/")
    assert outputs(["x/a.h5", "y/b.cfl"], out) == [f"{folder}/a.nii.gz", f"{folder}/b.nii.gz"]


def test_an_existing_folder_may_have_a_suffix(tmp_path):
    (tmp_path / "day.1").mkdir()
    assert outputs(["a.h5"], str(tmp_path / "day.1")) == [str(tmp_path / "day.1" / "a.nii.gz")]


def test_a_pattern_chooses_format_and_folder():
    assert outputs(["a.h5", "b.h5"], "{name}/image.h5") == ["a/image.h5", "b/image.h5"]


@pytest.mark.parametrize(
    ("inputs", "out"),
    [(["a.h5", "b.h5"], "out.nii.gz"), (["x/a.h5", "y/a.h5"], "out"), (["a.h5", "a.cfl"], "{name}.npy")],
)
def test_two_inputs_for_one_output_are_refused(inputs, out):
    with pytest.raises(typer.BadParameter, match=r"would both become .*\{name\}"):
        outputs(inputs, out)


@pytest.mark.parametrize(("inputs", "out"), [(["a.h5"], "./a.h5"), (["b.h5", "a.hdr"], "{name}.cfl")])
def test_an_input_is_never_replaced(inputs, out):
    with pytest.raises(typer.BadParameter, match="is an input and would be replaced"):
        outputs(inputs, out)


def test_maps_and_trajectories_are_never_replaced(resolvent, store, full, model, tmp_path):
    assert outputs(["a.h5"], "b.cfl", [None, "c.cfl"]) == ["b.cfl"]
    for given in (["b.hdr"], [None, "./b"]):
        with pytest.raises(typer.BadParameter, match=r"b.cfl is an input and would be replaced"):
            outputs(["a.h5"], "b.cfl", given)
    np.save(tmp_path / "m.npy", full.maps.numpy())
    before = (tmp_path / "m.npy").read_bytes()
    file = store(full.replace(coil_maps=None))
    for option in ("--maps", "--trajectory"):
        done = resolvent("recon", file, option, tmp_path / "m.npy", "-o", tmp_path / "m.npy", "--model", model)
        assert done.code == 2 and "would be replaced" in done.err
    assert (tmp_path / "m.npy").read_bytes() == before


def test_figures_are_png_and_distinct():
    assert figures(["a.h5", "b.h5"], "{name}.png") == ["a.png", "b.png"]
    assert figures(["a.h5"], None) == [None]
    with pytest.raises(typer.BadParameter, match=r"does not end in \.png"):
        figures(["a.h5"], "a.pdf")
    with pytest.raises(typer.BadParameter, match=r"--figure a folder .*pattern"):
        figures(["a.h5", "b.h5"], "a.png")


def test_folders_are_made_and_taken_back_if_nothing_came(tmp_path):
    made = make_folders([str(tmp_path / "a" / "b" / "x.png"), str(tmp_path / "c" / "y.png")])
    (tmp_path / "c" / "y.png").write_text("")
    remove_empty(made)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"folder .*file/x cannot be made .* Choose another one"):
        make_folders([str(tmp_path / "file" / "x" / "y.png")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-such-option",), "No such option"),
        (("--seed", 1), "Add --acceleration."),
        (("--mask-kind", "gaussian2d"), "Add --acceleration."),
        (("--acceleration", 4, "--mask-kind", "spiral"), "is not one of uniform1d"),
        (("--tol", 0), "is not a positive number"),
        (("--tol", "nan"), "is not a positive number"),
        (("--max-steps", 0), "Invalid value for '--max-steps'"),
        (("--figure", "x.pdf"), "does not end in .png"),
        (("-o", "x.png", "--figure", "./x.png"), "name the same file"),
        (("-o", "scan.h5"), "is an input and would be replaced"),
    ],
)
def test_a_wrong_command_line_has_code_2(resolvent, arguments, message):
    run = resolvent("recon", "scan.h5", *arguments, "--json")
    assert run.code == 2
    assert message in " ".join(run.err.split())
    assert run.out == ""


def test_usage_of_the_other_commands(resolvent):
    for arguments in (
        ("recon",),
        ("nonsense",),
        ("simulate", "v.nii"),
        ("simulate", "v.nii", "-o", "s.h5", "--ndim", 4),
        ("simulate", "v.nii", "-o", "s.h5", "--ndim", 3, "--slice", 1),
        ("convert", "m.pth"),
        ("convert", "m.pth", "-o", "x", "--alpha", -1),
        ("info",),
    ):
        assert resolvent(*arguments).code == 2, arguments
