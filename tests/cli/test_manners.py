"""Examples in every help, remedies that name what was meant, progress with a rate, and a doctor."""

import errno
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import suppress
from importlib.metadata import requires
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import typer

import resolvent as rv
from problems import random
from resolvent._errors import DataError, ScanWarning
from resolvent.cli import app, output
from resolvent.cli.examples import EXAMPLES
from resolvent.cli.output import entries, pace
from resolvent.cli.present import headline
from resolvent.cli.reconstruct import reconstruct
from resolvent.mol.weights import load_mol

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_readme import PAGES, commands

COMMANDS = [command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_its_examples(resolvent, command):
    help_ = resolvent(command, "--help").out
    assert EXAMPLES[command]
    lines = [line.strip() for line in help_.partition("Examples:")[2].splitlines() if line.strip()]
    assert " ".join(lines) == " ".join(EXAMPLES[command])
    assert lines[0].startswith(f"resolvent {command}")


def test_one_thing_has_one_name_in_all_commands():
    options = [option for command in typer.main.get_command(app).commands.values() for option in command.params]
    names = {name for option in options for name in option.opts if name.startswith("--")}
    assert not {name for name in names if any(other.startswith(f"{name}-") for other in names)}
    assert {tuple(sorted(option.opts)) for option in options if "-o" in option.opts} == {("--output", "-o")}


def test_every_example_runs_as_one_of_the_documentation():
    documented = {line for page in PAGES for line in commands(page)}
    to_a_server = set(EXAMPLES["send"])
    assert {line for lines in EXAMPLES.values() for line in lines} - to_a_server <= documented
    assert all(any(line in page.read_text() for page in PAGES) for line in to_a_server)
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["recn", "x.h5"], "Did you mean 'recon'?"),
        (["recon", "x.h5", "--modle", "m"], "--model"),
        (["recon", "x.h5", "--acceleration", 2, "--mask-kind", "gausian2d"], "Did you mean gaussian2d?"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(resolvent, arguments, meant):
    run = resolvent(*arguments)
    assert run.code == 2
    assert meant in " ".join(run.err.split())


def test_a_mistyped_file_is_answered_with_the_one_beside_it(resolvent, store, scan, model, tmp_path):
    path = store(scan, "brain.h5")
    (tmp_path / "nancoil.h5").touch()
    assert resolvent("recon", tmp_path / "brian.h5", "--model", model).error.endswith(f"Did you mean {path}?")
    assert resolvent("info", tmp_path / "nofile.h5").error.endswith("Check the path.")
    assert resolvent("info", tmp_path / "other.h5").error.endswith("Check the path.")
    run = resolvent("info", tmp_path / "no" / "brain.h5")
    assert run.error.endswith(f"There is no folder {tmp_path / 'no'}: check the path.")


def test_a_mistyped_model_is_answered_with_the_packaged_one(resolvent, store, scan):
    assert resolvent("recon", store(scan), "--model", "brain2d").error.endswith("Did you mean 'brain-2d'?")


def test_progress_has_a_rate_and_the_time_that_is_left():
    assert pace(0, 16, 0.0) == "slice 1 of 16"
    assert pace(4, 16, 8.0) == "slice 5 of 16 · 0.5 a second · 0:24 left"
    assert pace(1, 5, 30.0) == "slice 2 of 5 · 2 a minute · 2:00 left"
    assert pace(10, 1000, 400.0).endswith("11:00:00 left")


@pytest.mark.parametrize(
    ("shape", "ndim", "name", "names"),
    [((8, 8), 2, "slice", "slices"), ((4, 8, 8), 3, "volume", "volumes"), ((4, 8, 8), 2, "series", "series")],
)
def test_slices_volumes_and_series_are_called_so(model, shape, ndim, name, names):
    kspace, maps = random(2, 3, *shape, dtype=torch.complex64), torch.ones(1, 3, *shape) + 0j
    scan = rv.Scan(kspace, torch.ones(1, *shape), maps, ndim=ndim)
    outcome = reconstruct(scan, load_mol(str(model)), max_steps=1)
    assert headline(outcome).startswith(f"2 {names} of {' x '.join(map(str, shape))} · ")
    assert pace(0, 2, 0.0, entries(scan)) == f"{name} 1 of 2"


def test_slices_report_their_progress(store, scan, model):
    said = []
    many = scan.replace(kspace=torch.cat([scan.kspace] * 3), coil_maps=scan.maps.expand(3, -1, -1, -1), reference=None)
    reconstruct(many, rv.load(model), say=said.append)
    told = [text for text in said if text.startswith("reconstructing")]
    assert [text.split(" · ")[1] for text in told] == ["slice 1 of 3", "slice 2 of 3", "slice 3 of 3"]
    assert all("left" in text for text in told[1:])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes_commands(monkeypatch, resolvent, shell):
    monkeypatch.setenv("_RESOLVENT_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", "resolvent re")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "resolvent re")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, [], prog_name="resolvent", env=dict(os.environ))
    assert "recon" in done.stdout
    assert "simulate" not in done.stdout


def test_doctor_says_what_is_there(resolvent):
    import torch

    run = resolvent("doctor", "--json")
    found = run.json
    assert run.code == 0
    assert found["version"] == rv.__version__
    assert found["packages"]["torch"] == torch.__version__
    assert found["machine"]["threads"] == torch.get_num_threads()
    assert found["models"]["brain-2d"] == "per-scan"
    assert found["extras"]["test"] == {"installed": True, "missing": []}
    assert found["problems"] == []
    assert "no problems" in resolvent("doctor").out


def test_doctor_finds_what_is_missing(resolvent, monkeypatch):
    module = sys.modules["resolvent.cli.doctor"]  # of which the package shows the command
    installed, absent = module._installed, {"nibabel", "lightning"}
    monkeypatch.setattr(module, "_installed", lambda name: None if name in absent else installed(name))
    run = resolvent("doctor", "--json")
    assert run.code == 1
    assert run.json["problems"] == ["nibabel is missing: pip install nibabel"]
    assert run.json["extras"]["train"] == {"installed": False, "missing": ["lightning"]}


@pytest.mark.parametrize("name", ["torch", "safetensors"])
def test_doctor_works_without_what_everything_rests_on(resolvent, monkeypatch, name):
    module = sys.modules["resolvent.cli.doctor"]
    installed = module._installed
    monkeypatch.setattr(module, "_installed", lambda one: None if one == name else installed(one))
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "resolvent.mol.weights")
    run = resolvent("doctor", "--json")
    assert run.code == 1 and run.err == ""
    assert run.json["problems"][0] == f"{name} is missing: pip install {name}"
    assert run.json["models"] == {}
    assert name in run.json["problems"][1]
    assert f"problem   {name} is missing" in resolvent("doctor").out


def test_doctor_looks_for_all_that_the_package_needs(resolvent):
    needed = {re.match(r"[\w.-]+", line)[0] for line in requires("resolvent") if "extra ==" not in line}
    assert set(resolvent("doctor", "--json").json["packages"]) == needed


def test_doctor_finds_a_damaged_model(resolvent, monkeypatch, tmp_path):
    from resolvent.mol import weights

    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text("{")
    monkeypatch.setattr(weights, "PACKAGED", tmp_path)
    run = resolvent("doctor")
    assert run.code == 1
    assert "problem   model broken" in run.out


def test_a_reader_that_leaves_ends_the_program_without_a_word(capsys):
    with pytest.raises(BrokenPipeError), output.reporting(as_json=False, debug=False):
        raise BrokenPipeError("nobody reads")
    assert capsys.readouterr() == ("", "")


def test_a_stream_that_nobody_reads_ends_without_a_word(resolvent, store, scan, model, monkeypatch):
    monkeypatch.setattr("resolvent.cli.results.stream_image", failing(BrokenPipeError("nobody reads")))
    with pytest.raises(BrokenPipeError):
        resolvent("recon", store(scan), "-o", "-", "--model", model)


def test_closed_streams_are_no_internal_error(store, scan, model, monkeypatch, capsys):
    """As in a service that was started without them."""

    def run(*arguments):
        with suppress(SystemExit):
            app([*map(str, arguments)])
        return capsys.readouterr().err

    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdin", None)
        assert run("recon", "-", "--model", model).startswith("resolvent: error: standard input is closed. Pipe")
    monkeypatch.setattr("resolvent.cli.reconstruct.reconstruct", failing(AssertionError("work was done")))
    with monkeypatch.context() as closed:
        closed.setattr(sys, "stdout", None)
        said = run("recon", store(scan), "-o", "-", "--model", model)
    assert said == "resolvent: error: standard output is closed. Name a file with -o.\n"


def test_a_full_disk_is_no_internal_error(resolvent, store, scan, model, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr("resolvent.cli.results.stream_image", failing(full))
    run = resolvent("recon", store(scan), "-o", "-", "--model", model)
    assert (run.code, run.error) == (1, "no space is left where the output goes. Free some space, or write elsewhere.")
    monkeypatch.setattr(output, "emit", failing(full))
    with pytest.raises(typer.Exit), output.reporting(as_json=True, debug=False):
        output.emit({})


def failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


def given(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


def test_standard_input_is_called_so(store, scan, model, tmp_path, monkeypatch, capsys):
    """In errors, in warnings, and by every command that reads it; its file is gone."""

    def run(*arguments):
        with suppress(SystemExit):
            app([*map(str, arguments)])
        return capsys.readouterr()

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "spool"))
    (tmp_path / "spool").mkdir()
    whole = store(scan).read_bytes()
    given(monkeypatch, whole)
    assert "-: scan" in run("info", "-").out
    for command in (("info", "-"), ("recon", "-", "--model", model)):
        given(monkeypatch, whole[:9000])
        assert run(*command).err.startswith("resolvent: error: standard input is truncated or damaged")

    def odd(path, *_):
        warnings.warn(ScanWarning(path, "odd"), stacklevel=1)
        return scan.replace(source=path)

    monkeypatch.setattr("resolvent.data.io.read", odd)
    given(monkeypatch, whole)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert "resolvent: warning: standard input: odd." in run("info", "-").err
    given(monkeypatch, whole)
    assert "of standard input were measured" in run("recon", "-", "--model", model, "--acceleration", 2).err

    def refused(path, *_):
        warnings.warn(ScanWarning(path, "odd"), stacklevel=1)
        raise DataError(f"{path} is of no use. Export it again.")

    monkeypatch.setattr("resolvent.data.io.read", refused)
    for command in (("info", "-"), ("recon", "-", "--model", model)):
        given(monkeypatch, whole)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            said = run(*command).err
        assert said.startswith("resolvent: warning: standard input: odd.\nresolvent: error: standard input is of no")
    assert list((tmp_path / "spool").iterdir()) == []


def test_nothing_of_standard_input_is_left_by_a_process_that_is_terminated(tmp_path):
    command = [sys.executable, "-c", "from resolvent.cli import main; main()", "info", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        for _ in range(600):
            time.sleep(0.1)
            if list(tmp_path.rglob("standard input")):
                break
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
