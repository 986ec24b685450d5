"""The Hub is a function that copies a folder: no test reaches a network."""

import shutil
import sys
from types import SimpleNamespace

import pytest
import torch

from problems import PLANE, random_mask, small_scores
from resolvent._errors import ModelError
from resolvent.mol import MOL
from resolvent.mol.weights import CARD, WEIGHTS, load, save


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A Hub with one repository, which holds a model, a pickle and a program; `asked` is what was asked of it."""
    asked = []
    there = save(MOL(small_scores(2)["ResidualStack"].float(), 17.0), tmp_path / "there")
    for stranger in ("pytorch_model.bin", "model.py"):
        (there / stranger).write_bytes(b"never")

    def snapshot_download(repo_id, *, revision=None, allow_patterns):
        asked.append((repo_id, revision, sorted(allow_patterns)))
        if repo_id != "owner/small":
            raise OSError("404: no such\n repository")
        folder = tmp_path / "cache"
        folder.mkdir(exist_ok=True)
        for name in allow_patterns:
            if (there / name).is_file():
                shutil.copy(there / name, folder)
        return str(folder)

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=snapshot_download))
    monkeypatch.chdir(tmp_path)
    return SimpleNamespace(asked=asked, there=there, cache=tmp_path / "cache")


def test_a_model_of_the_hub_is_fetched_and_checked_as_any(hub):
    model = load("owner/small")
    assert hub.asked == [("owner/small", None, [CARD, WEIGHTS])]
    assert sorted(p.name for p in hub.cache.iterdir()) == [CARD, WEIGHTS]
    assert model.identity["sha256"] == load(hub.there).identity["sha256"]

    (hub.there / WEIGHTS).write_bytes(b"other")
    with pytest.raises(ModelError, match="does not match the SHA-256"):
        load("owner/small")


def test_a_revision_can_be_named(hub):
    load("owner/small@0123abc")
    assert hub.asked == [("owner/small", "0123abc", [CARD, WEIGHTS])]


def test_what_may_be_a_folder_here_is_not_asked_for_there(hub, tmp_path):
    (tmp_path / "runs").mkdir()
    for name in ("runs/brain", "brain-9d", "./brain", tmp_path / "absent" / "brain", "a/b/c"):
        with pytest.raises(ModelError, match="neither a folder"):
            load(name)
    save(MOL(small_scores(2)["ResidualStack"].float(), 3.0), tmp_path / "owner" / "small")
    assert float(load("owner/small").lam.detach()) == pytest.approx(3.0)
    assert hub.asked == []


def test_what_the_hub_lacks_is_said(hub):
    with pytest.raises(ModelError, match=r"could not be fetched from Hugging Face: 404: no such repository\. Correct"):
        load("owner/other")
    (hub.there / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"owner/small on Hugging Face lacks model\.safetensors\. Upload"):
        load("owner/small")


def test_without_the_package_the_remedy_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"needs the package huggingface_hub.*'resolvent\[hub\]'"):
        load("owner/small")


def test_pretrained_names_are_save_and_load(tmp_path, hub):
    model = MOL(small_scores(2)["ResidualStack"].float(), 17.0).eval()
    folder = model.save_pretrained(tmp_path / "mine", {"data": "none"})
    y = PLANE.kspace().to(torch.complex64)
    A = PLANE.operator(maps=PLANE.random_maps().to(torch.complex64), mask=random_mask(1, 6, 5).float())
    twin = MOL.from_pretrained(folder)
    assert twin.solve(y, A).image.equal(model.solve(y, A).image)
    assert MOL.from_pretrained("brain-2d").identity["name"] == "brain-2d"
    assert isinstance(MOL.from_pretrained("owner/small"), MOL)
