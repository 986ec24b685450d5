"""Settings: complete, checked, and the same after a round trip."""

import json

import pytest
import yaml

from resolvent._errors import DataError, ModelError
from resolvent.mol import MOL
from resolvent.mol.weights import build
from resolvent.train.config import Config, read_config, to_yaml


@pytest.fixture
def path(config, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(to_yaml(config))
    return path


def test_written_settings_are_the_settings(config, path):
    assert read_config(path) == config


def test_changes_reach_nested_fields_with_their_types(path):
    changed = read_config(path, ["optimiser.steps=7", "data.scans.masks={radial: 1}", "init=null", "loss.ssim=0.1"])
    assert changed.optimiser.steps == 7
    assert changed.data.scans.masks == {"radial": 1.0}
    assert changed.init is None and changed.loss.ssim == 0.1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("optimiser.stepps=7", r"optimiser.stepps: Extra inputs"),
        ("optimiser.steps=0", r"optimiser.steps: .* greater than or equal to 1"),
        ("data.scans.masks={spiral: 1}", "there is no mask kind 'spiral'"),
        ("data.scans.matrix=[30, 20]", "matrix is from 30 to 20; give the smaller number first"),
        ("data.scans.acceleration=[2, 11]", r"Acceleration 11 is not possible on 20 lines. Choose .* to 10\. See"),
        ("data.scans.acceleration=[0.5, 2]", "acceleration, depth and coils must be at least 1"),
        ("data.scans.depth=[0, 2]", "acceleration, depth and coils must be at least 1"),
        ("data.scans.acceleration=[.nan, .nan]", r"scans.acceleration.0: .* finite"),
        ("data.scans.snr_db=[10, .inf]", r"scans.snr_db.1: .* finite"),
        ("data.scans.masks={gaussian2d: 0}", "odds of masks must be at least 0, and not all of them 0"),
        ("data.scans.masks={gaussian2d: 2, radial: -1}", "odds of masks must be at least 0"),
        ("data.scans.masks={gaussian2d: .nan}", r"masks.gaussian2d: .* finite"),
        ("data.scans.contrast=[-1, -1]", "contrast and zoom must be greater than 0"),
        ("data.scans.zoom=[0, 1]", "contrast and zoom must be greater than 0"),
        ("data.scans={spatial: picture, matrix: [12, 16]}", "blur must be .* at most a sixth of the matrix"),
        ("solver.tol=[0.1, 0]", "tol must be greater than 0"),
        ("optimiser.rate=.inf", r"optimiser.rate: .* finite"),
        ("optimiser.rate=1.0e+300", r"optimiser.rate: .* less than or equal to 100"),
        ("optimiser.scalars=1.0e+300", r"optimiser.scalars: .* less than or equal to 100"),
        ("data.stills=[a.h5]", "stills are set in motion, but scans.spatial is 2d"),
        ("loss.complex=0", "every weight is zero"),
        ("name=A B", "name: String should match"),
        ("seed", "'seed' is no setting. Write key=value"),
        ("name.first=1", "name is a value, not a section"),
        ("seed=[", "the value of seed is no YAML"),
    ],
)
def test_wrong_settings_are_named(path, change, says):
    with pytest.raises(DataError, match=says):
        read_config(path, [change])


def test_small_matrices_are_for_scans_which_have_no_blur(path):
    assert read_config(path, ["data.scans.matrix=[8, 8]"]).data.scans.matrix == (8, 8)


def test_all_faults_are_named_at_once(path):
    with pytest.raises(DataError, match=r"optimiser.rate.*; validation.every"):
        read_config(path, ["optimiser.rate=-1", "validation.every=0"])


@pytest.mark.parametrize(("content", "says"), [("- a", "holds no settings"), ("a: [", "is no YAML")])
def test_a_file_without_settings_is_refused(tmp_path, content, says):
    (tmp_path / "x.yaml").write_text(content)
    with pytest.raises(DataError, match=says):
        read_config(tmp_path / "x.yaml")
    with pytest.raises(DataError, match="cannot be read"):
        read_config(tmp_path / "absent.yaml")


def test_settings_are_in_utf_8_whatever_the_locale(path, ascii_locale):
    for mark in (b"", b"\xef\xbb\xbf"):  # the mark that some editors write
        path.write_bytes(mark + path.read_bytes() + "\ncard: {purpose: Köpfe}\n".encode())
        assert read_config(path).card.purpose == "Köpfe"
    path.write_bytes(b"name: K\xf6pfe")
    with pytest.raises(DataError, match="is no YAML"):
        read_config(path)


def test_the_schema_describes_every_number_of_the_scans():
    schema = json.loads(json.dumps(Config.model_json_schema()))
    fields = schema["$defs"]["Scans"]["properties"]
    assert all("description" in field for field in fields.values())
    assert schema["required"] == ["name", "model", "data"]


def test_recipes_are_valid(request):
    recipes = sorted((request.config.rootpath / "recipes").glob("*.yaml"))
    assert {p.stem for p in recipes} >= {"brain-2d", "brain-2d-lr", "brain-2d-modl", "brain-3d", "cine"}
    for path in recipes:
        config = read_config(path)
        assert config.name == path.stem == yaml.safe_load(path.read_text())["name"]
        model = build(config.model)
        convolved = 2 if config.data.scans.spatial in ("2d", "picture") else 3
        assert not isinstance(model, MOL) or model.score.ndim == convolved


def test_a_model_that_cannot_be_built_is_named_in_two_sentences():
    with pytest.raises(ModelError, match=r"the weight of the data must be positive\. Correct it\.$"):
        build({"score": {"kind": "CertifiedStack", "channels": 4, "layers": 1}, "lam": -1})
