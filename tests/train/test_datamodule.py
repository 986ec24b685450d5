"""What is drawn from which subjects: slices, volumes and series, in training and in validation."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

import resolvent as rv
from resolvent.train import train
from resolvent.train.config import parsed
from resolvent.train.datamodule import Draws, ScansModule


@pytest.mark.parametrize("spatial", ["3d", "2d+t"])
def test_volumes_and_series_train_with_the_same_settings(config, tmp_path, spatial):
    content = json.loads(config.model_dump_json())
    content["model"]["score"]["ndim"] = 3
    content["data"]["scans"] |= {"spatial": spatial, "depth": [3, 3], "matrix": [16, 16], "acceleration": [2, 2]}
    content["data"] |= {"batch": 1, "stills": [] if spatial == "3d" else ["train.h5"]}
    content["optimiser"]["steps"] = 2
    found = train(parsed(content, "these"), tmp_path / "run")
    assert math.isfinite(found["psnr"]) and rv.load(found["model"]).score.ndim == 3


def test_scores_are_kept_subject_by_subject(config):
    data = ScansModule(config)
    numbers = [int(batch.subject) for batch in data.val_dataloader()]
    assert len(data.validation) == 2 and numbers == [0, 1]


def test_validation_takes_the_subjects_of_all_files_in_turn(config, folder):
    shutil.copy(folder / "train.h5", folder / "more.h5")
    content = json.loads(config.model_dump_json())
    content["data"] |= {"train": ["val.h5"], "validation": ["train.h5", "more.h5"]}
    data = ScansModule(parsed(content, "these"))
    assert [s.name for s in data.validation] == ["trains0", "trains1"] * 2
    assert [s.source for s in data.val_dataloader().dataset.subjects] == 2 * [
        str(folder / name) for name in ("train.h5", "more.h5")
    ]


def test_the_card_says_how_many_subjects_and_whether_scans_were_measured(measured, tmp_path, ascii_locale):
    content, _ = measured
    content["card"] = {"purpose": "Köpfe"}
    content["optimiser"]["steps"] = 1
    page = (Path(train(parsed(content, "these"), tmp_path / "run")["model"]) / "README.md").read_text(encoding="utf-8")
    assert "Köpfe" in page
    assert "over subjects (1 of full.h5)" in page and "on 2 scans of the kind" in page and "simulated" not in page


def test_stills_are_subjects_of_training(config, folder):
    content = json.loads(config.model_dump_json())
    content["data"] |= {"train": ["train.h5"], "stills": ["val.h5"], "validation": ["val.h5"]}
    content["data"]["scans"] |= {"spatial": "2d+t"}
    with pytest.raises(rv.ResolventError, match=r"val.h5 is in validation and in training\. Split"):
        ScansModule(parsed(content, "these"))
    shutil.copy(folder / "train.h5", folder / "stills.h5")
    content["data"]["stills"] = ["stills.h5"]
    assert [s.images.ndim for s in ScansModule(parsed(content, "these")).train] == [4, 4, 3, 3]


def test_a_file_in_training_and_validation_is_found_under_another_name(config, folder):
    (folder / "link.h5").symlink_to(folder / "train.h5")
    shutil.copy(folder / "train.h5", folder / "copy.h5")
    for name in ("link.h5", "copy.h5", "../" + folder.name + "/train.h5"):
        content = json.loads(config.model_dump_json())
        content["data"]["validation"] = [name]
        with pytest.raises(rv.ResolventError, match=r"is in validation and in training, there as .*train\.h5\. Split"):
            ScansModule(parsed(content, "these"))


@pytest.fixture
def measured(config, folder):
    """Settings of a run that is validated with a measured scan without maps, and a function that writes that scan."""
    x = torch.zeros(1, 40, 36)
    x[:, 6:34, 6:30] = 1 + 0.5 * torch.rand(28, 24)
    full = rv.simulate(x, n_coils=3, acceleration=1, snr_db=30).replace(coil_maps=None, noise=None, reference=None)

    def write(kept=1.0):
        rv.write(full.replace(kspace=full.kspace * kept), folder / "full.h5")

    content = json.loads(config.model_dump_json())
    content["data"] |= {"validation": ["full.h5"]}
    content["data"]["scans"] |= {"masks": {"gaussian2d": 1}}
    write()
    return content, write


def test_what_is_left_out_of_a_measured_scan_enters_neither_maps_nor_noise(measured):
    content, write = measured
    run = parsed(content, "these")

    def drawn():
        return Draws(ScansModule(run).validation, run, 1, ())[0]

    first = drawn()
    write(torch.where(first.mask == 1, 1.0, 0.5))
    second = drawn()
    assert torch.equal(first.mask, second.mask) and not torch.allclose(first.reference, second.reference, rtol=1e-3)
    scale = second.y.norm() / first.y.norm()  # the largest coil image is another
    torch.testing.assert_close(second.y, scale * first.y)
    torch.testing.assert_close(second.A.weighted_maps, first.A.weighted_maps, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(second.noise, scale * first.noise, rtol=1e-3, atol=0)


def test_masks_that_leave_no_middle_for_maps_are_refused_at_once(measured):
    content, _ = measured
    content["data"]["scans"] |= {"masks": {"uniform1d": 1}, "acceleration": [2, 8]}
    with pytest.raises(rv.ResolventError, match=r"At acceleration 8 a uniform1d mask .* up to 1\.5, or pass coil maps"):
        ScansModule(parsed(content, "these"))
    content["data"]["scans"] |= {"masks": {"uniform1d": 0, "gaussian2d": 1}, "acceleration": [2, 5]}
    assert ScansModule(parsed(content, "these")).validation
