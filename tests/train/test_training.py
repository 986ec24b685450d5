"""A training run: it learns, resumes to the last bit, stops when told, and never writes a bad model."""

import csv
import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.accelerators import CPUAccelerator
from torch.nn.functional import conv2d, conv3d

import resolvent as rv
from resolvent._errors import DataError, FormatError, ModelError
from resolvent.mol.weights import build
from resolvent.monotone.layers import UnitKernel
from resolvent.train import read_config, train
from resolvent.train.checkpoints import AtomicCheckpointIO, KeepLast
from resolvent.train.config import Config, parsed, to_yaml
from resolvent.train.datamodule import ScansModule
from resolvent.train.guard import PATIENCE
from resolvent.train.module import Training, moving_average
from resolvent.train.run import _trainer, begin


def changed(config: Config, **sections) -> Config:
    content = json.loads(config.model_dump_json())
    for name, values in sections.items():
        content[name] = {**content[name], **values} if isinstance(values, dict) else values
    return parsed(content, "the settings")


def logged(out) -> list[dict[str, str]]:
    files = sorted(out.glob("log/csv/*/metrics.csv"))
    return [row for path in files for row in csv.DictReader(path.read_text().splitlines())]


def test_a_run_leaves_settings_logs_checkpoints_and_a_model_with_its_card(config, tmp_path):
    found = train(config, tmp_path / "run")
    assert found["finished"] and found["steps"] == 6 and found["chosen_at"] in (3, 6)
    assert read_config(tmp_path / "run" / "config.yaml") == config
    rows = [row for row in logged(tmp_path / "run") if row["loss"]]
    assert [int(row["step"]) for row in rows] == list(range(6))
    for name in ("evaluations", "applications", "adjoint_evaluations", "contraction", "lam", "gradient", "rate"):
        assert all(float(row[name]) > 0 for row in rows), name
    assert list((tmp_path / "run" / "log" / "tensorboard").rglob("events*"))
    model = rv.load(found["model"])
    assert model.identity["name"] == "tiny" and model.tier == "per-scan"
    card = json.loads((tmp_path / "run" / "tiny" / "model.json").read_text())["card"]
    assert card["reached"]["psnr"] == found["psnr"] > card["reached"]["psnr_sense"] - 20
    assert card["training"]["data"]["train"] == ["train.h5"]
    page = (tmp_path / "run" / "tiny" / "README.md").read_text()
    assert (
        "Tier: **per-scan**; m = 0.1" in page
        and f"{found['psnr']:.2f} dB on 2 simulated scans" in page
        and "Research use only" in page
    )
    assert "over subjects (2 of val.h5)" in page


@pytest.mark.parametrize("seen", ["train.h5", "none.h5"], ids=["finished", "refused"])
def test_a_run_leaves_the_process_as_it_was(config, tmp_path, seen):
    def state():
        return torch.get_num_threads(), logging.getLogger("lightning.pytorch").level, torch.get_rng_state().tolist()

    config, ours = changed(config, data={"train": [seen]}), torch.get_num_threads()
    torch.set_num_threads(2)
    before = state()
    try:
        with pytest.raises(FormatError) if seen == "none.h5" else nullcontext():
            train(config, tmp_path / "run")
        assert state() == before
    finally:
        torch.set_num_threads(ours)


@pytest.mark.parametrize(
    "model",
    [
        {"kind": "MoDL", "channels": 4, "depth": 2, "steps": 2, "normalise": True},
        {"kind": "MOL", "score": {"kind": "PlainCNN", "channels": 4, "depth": 2}, "lam": 30, "normalise": True},
    ],
)
def test_other_models_train_with_the_same_settings(config, tmp_path, model):
    penalties = {"lipschitz": 0.01, "slope": 0.01, "steps": 1} if model["kind"] == "MOL" else {}
    run = changed(config, penalties=penalties, loss={"magnitude": 0.1, "ssim": 0.1}) if penalties else config
    found = train(run.model_copy(update={"model": model}), tmp_path / "run")
    assert rv.load(found["model"])(*example()).shape == (1, 24, 20)
    first = logged(tmp_path / "run")[0]
    assert ("barrier" in first) == bool(penalties)


def test_penalties_of_a_conditioned_score_are_refused_at_once(config, tmp_path):
    for name in ("lipschitz", "slope"):
        with pytest.raises(ModelError, match=r"do not depend on the scan, but CertifiedStack does\. Set penalties"):
            train(changed(config, penalties={name: 0.1}, data={"train": ["none.h5"]}), tmp_path / name)


def example():
    scan = rv.simulate(torch.rand(24, 20), n_coils=3, acceleration=2)
    return scan.kspace, rv.SENSE(scan.maps, scan.mask)


def test_training_improves_the_images_of_validation(config, tmp_path):
    run = changed(config, optimiser={"steps": 20, "rate": 5e-3}, validation={"every": 4})
    train(run, tmp_path / "run")
    psnr = [float(row["psnr"]) for row in logged(tmp_path / "run") if row["psnr"]]
    assert len(psnr) == 5 and psnr[-1] > psnr[0] + 1


def test_training_without_references_never_sees_them(config, folder, tmp_path):
    scan = rv.simulate(rv.data.read_subjects(folder / "train.h5")[0].images + 0j, n_coils=3, acceleration=2)
    rv.write(scan.replace(reference=None), folder / "scan.h5")
    run = changed(config, data={"train": ["scan.h5"], "supervision": "self"})
    module = Training(build(run.model), run)
    data = ScansModule(run)
    assert data.train[0].scan.reference is None
    found = train(run, tmp_path / "run")
    assert found["finished"] and module.step == 0
    with pytest.raises(DataError, match="undersampled, so there is no reference"):
        train(changed(run, data={"supervision": "full"}), tmp_path / "other")


def test_a_file_in_training_and_validation_is_refused(config, tmp_path):
    with pytest.raises(DataError, match=r"val.h5 is in validation and in training"):
        train(changed(config, data={"train": ["train.h5", "val.h5"]}), tmp_path / "run")


def test_a_run_goes_on_with_more_steps_but_not_with_other_settings(config, tmp_path):
    train(config, tmp_path / "run")
    more = changed(config, optimiser={"steps": 9})
    assert train(more, tmp_path / "run")["steps"] == 9
    with pytest.raises(DataError, match=r"holds a run with other settings \(optimiser.rate\)"):
        train(changed(config, optimiser={"rate": 1e-3}), tmp_path / "run")


def test_steps_are_added_to_a_run_that_ended_between_two_validations(config, tmp_path):
    train(changed(config, optimiser={"steps": 4}), tmp_path / "run")
    assert train(changed(config, optimiser={"steps": 8}), tmp_path / "run")["steps"] == 8
    assert [int(row["step"]) + 1 for row in logged(tmp_path / "run") if row["psnr"]] == [3, 4, 6, 8]


def test_a_run_that_is_finished_writes_the_same_card_again(config, tmp_path):
    card = tmp_path / "run" / "tiny" / "model.json"
    found = train(config, tmp_path / "run")
    written = card.read_bytes()
    assert train(config, tmp_path / "run") == found
    assert card.read_bytes() == written


def test_a_run_starts_from_the_weights_of_another_model(config, tmp_path):
    first = train(config, tmp_path / "first")["model"]
    run = changed(config, init=first, optimiser={"steps": 1, "rate": 1e-12}, validation={"every": 1})
    second = train(run, tmp_path / "second")["model"]
    y, A = example()
    torch.testing.assert_close(rv.load(second)(y, A), rv.load(first)(y, A), rtol=1e-4, atol=1e-5)


def stack(kind="CertifiedStack", channels=3, **options):
    return build({"kind": "MOL", "lam": 100, "score": {"kind": kind, "channels": channels, "layers": 1, **options}})


def test_weights_of_a_plane_become_those_of_a_volume_that_sees_each_plane_by_itself():
    planes, volume = stack(), stack(ndim=3)
    begin(volume, planes)
    kernel, x = planes.score.convs[0](), torch.randn(1, 3, 5, 8, 7)
    one_by_one = torch.stack([conv2d(plane, kernel, padding=1) for plane in x.unbind(2)], 2)
    torch.testing.assert_close(conv3d(x, volume.score.convs[0].weight, padding=1), one_by_one)


@pytest.mark.parametrize("kind", ["CertifiedStack", "CertifiedPlanes"])
def test_model_begins_as_the_same_function(kind):
    first, second = stack(kind), stack(kind)
    begin(second, first)
    for a, b in zip(first.score.modules(), second.score.modules(), strict=True):
        if isinstance(a, UnitKernel):
            torch.testing.assert_close(a(), b())


@pytest.mark.parametrize(("kind", "networks"), [("CertifiedPlanes", 1), ("CertifiedSeries", 2)])
def test_every_network_of_planes_begins_as_that_of_a_plane(kind, networks):
    planes, volume = stack(), stack(kind)
    begin(volume, planes)
    assert len(volume.score.stacks) == networks
    for one in volume.score.stacks:
        torch.testing.assert_close([c() for c in one.convs], [c() for c in planes.score.convs])
        torch.testing.assert_close(list(one.biases), list(planes.score.biases))
    assert torch.equal(volume.log_lam, planes.log_lam)


@pytest.mark.parametrize("other", [{"channels": 4}, {"trunk_layers": 1}, {"kind": "ResidualStack"}])
def test_weights_of_another_network_are_refused(other):
    with pytest.raises(ModelError, match=r"cannot begin with the weights of init: .*\. Choose another init"):
        begin(stack(), stack(**other))


def test_a_run_that_diverges_ends_with_a_diagnosis_or_a_finite_model(config, tmp_path):
    run = changed(config, optimiser={"steps": 12, "rate": 40.0}, validation={"every": 12})
    try:
        found = train(run, tmp_path / "run")
    except ModelError as error:
        assert "training diverged" in str(error) or "no validation gave a finite image" in str(error)
    else:
        assert found["psnr"] > -50
        rv.load(found["model"])  # refuses weights that are not finite


def test_a_run_that_goes_back_forgets_what_the_average_saw_since(config):
    module = Training(build(config.model), config)
    optimiser = module.configure_optimizers()
    module.guard.accepts(1.0, 1.0)
    module._watch(optimiser)
    good = {name: value.clone() for name, value in module.state_dict().items()}
    for p in module.model.parameters():
        p.data.add_(100.0)
    module.average.update_parameters(module.model)
    for _ in range(PATIENCE):
        module.guard.accepts(math.nan, 1.0)
    module._watch(optimiser)
    for name, value in module.state_dict().items():
        assert torch.equal(value, good[name]), name


def test_after_the_steps_as_a_denoiser_the_guard_knows_other_losses(config, tmp_path):
    train(changed(config, optimiser={"pretrain": 4}), tmp_path / "run")
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "run" / "last.ckpt")["resolvent"]["guard"]["accepted"] == 2


def test_batches_of_nan_are_skipped(config, tmp_path, monkeypatch):
    import resolvent.train.datamodule as datamodule

    draw = datamodule.draw_batch

    def sometimes(*args, number, **options):
        batch = draw(*args, number=number, **options)
        return batch._replace(y=batch.y * float("nan")) if number == 2 else batch

    monkeypatch.setattr(datamodule, "draw_batch", sometimes)
    found = train(changed(config, validation={"scans": 2}), tmp_path / "run")
    assert float([row for row in logged(tmp_path / "run") if row["loss"]][-1]["skipped"]) == 1
    rv.load(found["model"])


def test_early_stopping_and_a_folder_that_cannot_be_written(config, tmp_path):
    run = changed(config, optimiser={"steps": 60, "rate": 1e-12}, validation={"every": 3, "patience": 1})
    found = train(run, tmp_path / "run")
    assert found["steps"] < 60 and train(run, tmp_path / "run") == found
    patient = changed(run, validation={"patience": 2})
    assert train(patient, tmp_path / "run")["steps"] == found["steps"] + 3
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file cannot be written"):
        train(config, tmp_path / "file")


def weights(out):
    return (out / "tiny" / "model.safetensors").read_bytes()


@pytest.fixture
def erratic(config):
    """Settings of a run that is better or worse after each step, with a checkpoint at every one."""
    optimiser = {"rate": 0.2, "average": 0.0, "cooldown": 0.0}
    return changed(config, seed=2, optimiser=optimiser, solver={"tol": [0.05, 0.05]}, checkpoint_minutes=1e-9)


@pytest.mark.parametrize("step", [3, 4, 6])
@pytest.mark.parametrize("how", ["told", "killed"])
def test_a_run_that_ends_at_any_step_goes_on_to_the_same_model(erratic, tmp_path, monkeypatch, step, how):
    """Steps 3 and 6 are the last ones before a validation; after step 4 the images are better than at both."""
    whole = train(erratic, tmp_path / "whole")
    end = KeepLast.on_train_batch_end

    def stopped(keep, trainer, *arguments):
        if how == "told" and trainer.lightning_module.step == step:
            signal.raise_signal(signal.SIGTERM)
        end(keep, trainer, *arguments)
        if how == "killed" and trainer.lightning_module.step == step:
            raise MemoryError

    monkeypatch.setattr(KeepLast, "on_train_batch_end", stopped)
    if how == "killed":
        with pytest.raises(MemoryError):
            train(erratic, tmp_path / "run")
    else:
        first = train(erratic, tmp_path / "run")
        assert (first["steps"], first["finished"], first["signal"]) == (step, step == 6, "" if step == 6 else "SIGTERM")
    monkeypatch.undo()
    found = train(erratic, tmp_path / "run")
    assert {**found, "model": None} == {**whole, "model": None}
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")


RUN = "from resolvent.cli import main; main()"


def started(path, out, *options):
    command = [sys.executable, "-c", RUN, "train", str(path), "--output", str(out), "--json", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def waited(out, condition, process, seconds=100):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None and not condition(out):
        time.sleep(0.02)
    assert process.poll() is None, process.communicate()


def test_a_killed_run_resumes_to_the_last_bit(config, tmp_path):
    run = changed(config, optimiser={"steps": 400, "cooldown": 0.0}, validation={"every": 1000})
    run = changed(run, checkpoint_minutes=1e-4, solver={"tol": [1e-2, 1e-2]})  # no schedule that depends on the steps
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(run))
    process = started(path, tmp_path / "killed")
    waited(tmp_path / "killed", lambda out: (out / "last.ckpt").exists(), process)
    time.sleep(0.3)
    process.kill()  # SIGKILL
    process.communicate()
    at = AtomicCheckpointIO().load_checkpoint(tmp_path / "killed" / "last.ckpt")["resolvent"]["step"]
    assert 0 < at < 400
    short = changed(run, optimiser={"steps": at + 5})
    train(short, tmp_path / "killed")
    train(short, tmp_path / "whole")
    states = [AtomicCheckpointIO().load_checkpoint(tmp_path / n / "last.ckpt") for n in ("killed", "whole")]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name
    assert [state["resolvent"]["step"] for state in states] == [at + 5] * 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_writes_a_checkpoint_and_ends_the_run_in_time(config, tmp_path, number, code):
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(changed(config, optimiser={"steps": 5000}, validation={"every": 5000})))
    process = started(path, tmp_path / "run")
    waited(tmp_path / "run", lambda out: any(out.glob("log/csv/*/metrics.csv")), process)
    process.send_signal(number)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and time.monotonic() - began < 30
    assert json.loads(out)["signal"] == number.name and "the same command continues from there" in err
    assert (tmp_path / "run" / "last.ckpt").exists() and not list((tmp_path / "run").glob("*.tmp"))


KILLER = """
import os, random, signal, sys, time
import torch
from pathlib import Path
from resolvent.train.checkpoints import AtomicCheckpointIO, KeepLast
io, path = AtomicCheckpointIO(), Path(sys.argv[1])
content = lambda n: {"n": n, "weights": torch.full((50_000,), float(n))}
io.save_checkpoint(content(0), path)
random.seed(0)
for kill in range(30):
    child = os.fork()
    if not child:
        n = 0
        while True:
            n += 1
            io.save_checkpoint(content(n), path)
    time.sleep(random.uniform(0.002, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    found = io.load_checkpoint(path)
    assert bool((found["weights"] == found["n"]).all())
print("whole")
"""


def test_a_checkpoint_survives_thirty_kills(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", KILLER, str(tmp_path / "last.ckpt")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "whole", done.stderr


def test_checkpoints_execute_nothing_and_damage_is_named(tmp_path):
    class Gadget:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/executed",))

    torch.save({"state_dict": Gadget()}, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")
    assert not (tmp_path / "executed").exists()
    (tmp_path / "last.ckpt").write_bytes(b"PK\3\4 cut")
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "last.ckpt")


def test_a_disk_that_is_full_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    io, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"n": 1}, path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"cannot be written \(No space left"):
        io.save_checkpoint({"n": 2}, path)
    assert io.load_checkpoint(path)["n"] == 1 and [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_moving_average_starts_short_and_ends_long():
    average = moving_average(0.99)
    zero, one = torch.zeros(1), torch.ones(1)
    assert float(average(zero, one, 0)) == pytest.approx(0.95)
    assert float(average(zero, one, 10_000)) == pytest.approx(0.01)


@pytest.mark.filterwarnings("ignore")  # of the trainer, about workers and its own libraries
def test_the_module_runs_in_any_trainer(config, tmp_path):
    module = Training(build(config.model), config)
    trainer = pl.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, num_sanity_val_steps=0,
    )  # fmt: skip
    before = module.model.lam.item()
    trainer.fit(module, ScansModule(config))
    assert module.step == 3 and module.model.lam.item() != before


def test_progress_says_which_validation_comes_next(config, tmp_path, capsys):
    train(config, tmp_path / "run", bar=True)
    assert "To validation 2" in capsys.readouterr().err


def test_a_run_takes_one_device_of_several(config, tmp_path, monkeypatch):
    monkeypatch.setattr(CPUAccelerator, "auto_device_count", staticmethod(lambda: 2))
    assert _trainer(config, tmp_path, [], bar=False).num_devices == 1


def test_settings_on_the_command_line(config, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(to_yaml(config))))
    from typer.testing import CliRunner

    from resolvent.cli import app

    done = CliRunner().invoke(
        app, ["train", str(path), "-o", str(tmp_path / "run"), "--set", "optimiser.steps=3", "--json"]
    )
    found = json.loads(done.stdout)
    assert done.exit_code == 0 and found["steps"] == 3 and found["model"].endswith("run/tiny")
    schema = CliRunner().invoke(app, ["train", "--schema"])
    assert json.loads(schema.stdout)["title"] == "Config"
    assert CliRunner().invoke(app, ["train"]).exit_code == 2
    wrong = CliRunner().invoke(app, ["train", str(path), "--set", "optimiser.steps=0"])
    assert wrong.exit_code == 1 and "optimiser.steps" in wrong.stderr
