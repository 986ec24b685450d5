"""What is drawn from which subjects: slices, volumes and series, in training and in validation."""

import json
import math
import shutil

import pytest

import resolvent as rv
from resolvent.train import train
from resolvent.train.config import parsed
from resolvent.train.datamodule import ScansModule


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


def test_stills_are_subjects_of_training(config, folder):
    content = json.loads(config.model_dump_json())
    content["data"] |= {"train": ["train.h5"], "stills": ["val.h5"], "validation": ["val.h5"]}
    content["data"]["scans"] |= {"spatial": "2d+t"}
    with pytest.raises(rv.ResolventError, match=r"vals0 of .*val.h5 is in training and in validation"):
        ScansModule(parsed(content, "these"))
    shutil.copy(folder / "val.h5", folder / "stills.h5")
    content["data"]["stills"] = ["stills.h5"]
    assert [s.images.ndim for s in ScansModule(parsed(content, "these")).train] == [4, 4, 3, 3]
