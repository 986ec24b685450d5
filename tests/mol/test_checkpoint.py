import itertools
import math
import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import pytest
import torch

from problems import PLANE, random, random_mask
from resolvent import solve_reference
from resolvent._errors import ModelError
from resolvent.mol.checkpoint import convert
from resolvent.mol.weights import load, save
from resolvent.solve import norm


def layout(channels=8, depth=5, lam=40.0, seed=0, ndim=2, lipschitz=0.6):
    """A checkpoint of the published layout with a network that contracts."""
    torch.manual_seed(seed)
    widths = [2, *[channels] * (depth - 1), 2]
    state = {"f.lam": torch.tensor(lam)}
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        weight = torch.randn(b, a, *(3,) * ndim)
        # |conv| <= sum over taps of the norms of their matrices
        bound = sum(torch.linalg.matrix_norm(weight.flatten(2)[..., t], 2) for t in range(3**ndim))
        state[f"f.dw.net.{i}.conv.weight"] = weight / bound * (lipschitz if i == 0 else 1)
        state[f"f.dw.net.{i}.conv.bias"] = 0.1 * torch.randn(b)
    return state


def written(tmp_path, content, wrap=True, **kwargs):
    path = tmp_path / "model.pth.tar"
    torch.save({"state_dict": content} if wrap else content, path, **kwargs)
    return path


@pytest.fixture
def read_here(monkeypatch):
    """No process of its own for the reader, which takes a second to start; other tests have one."""

    def read(path):
        return torch.load(path, weights_only=True)["state_dict"]

    monkeypatch.setattr("resolvent.mol.checkpoint._isolated_read", read)


@pytest.mark.parametrize("alpha", [0.005, 0.01, 0.1])
def test_converted_checkpoint_solves_the_equation_with_its_ridge(tmp_path, alpha, read_here):
    state = layout()
    model = convert(written(tmp_path, state), alpha=alpha)
    ridge = 0.001 / alpha
    assert model.ridge == pytest.approx(ridge)
    maps, mask = PLANE.random_maps().to(torch.complex64), random_mask(1, 6, 5).float()
    y = PLANE.kspace().to(torch.complex64)
    A = PLANE.operator(maps=maps, mask=mask)
    recon = model.solve(y, A, tol=2e-6, max_steps=1000)
    assert recon.solution.converged
    assert not recon.certificate.proved
    assert recon.certificate.tier == "estimated"

    def H(x):  # written again, from the layout alone
        z = torch.stack([x.real, x.imag], 1)
        for i in range(5):
            weight, bias = state[f"f.dw.net.{i}.conv.weight"].double(), state[f"f.dw.net.{i}.conv.bias"].double()
            z = torch.nn.functional.conv2d(torch.relu(z) if i else z, weight, bias, padding=1)
        return torch.complex(z[:, 0], z[:, 1])

    exact = A.to_double()
    for x, tol in ((recon.image.to(torch.complex128), 1e-5), (solve_reference(model, y, A), 1e-6)):
        data = 40.0 * exact.adjoint(y.to(torch.complex128))
        residual = 40.0 * exact.normal(x) - data + (1 + ridge) * x - H(x)
        assert norm(residual) <= tol * norm(data)


def test_published_iteration_has_the_same_fixed_point(tmp_path, read_here):
    # x <- argmin via (1.001 I + alpha lam N) x = (1 - alpha) x + alpha H(x) + alpha lam A^H b, solved exactly
    alpha, state = 0.01, layout()
    model = convert(written(tmp_path, state), alpha=alpha).double()
    A, y = PLANE.operator(), PLANE.kspace()
    x = solve_reference(model, y, A)
    with torch.no_grad():
        equation, _, _ = model.pose(y, A)
        basis = torch.eye(30, dtype=torch.complex128).reshape(30, 6, 5)
        normal = A.normal(basis).reshape(30, 30).T
        system = 1.001 * torch.eye(30, dtype=torch.float64) + alpha * equation.lam * normal
        rhs = (1 - alpha) * x + alpha * equation.score.H(x) + alpha * equation.data
        again = torch.linalg.solve(system, rhs.reshape(-1)).reshape(x.shape)
    assert norm(again - x) <= 1e-8 * norm(x)


@pytest.mark.parametrize("options", [{"channels": 3, "depth": 2}, {"ndim": 3, "channels": 4, "depth": 3}], ids=str)
def test_other_widths_depths_and_dimensions_convert(tmp_path, options):
    state = layout(**options)
    model = convert(written(tmp_path, state, wrap=False))
    assert model.score.ndim == options.get("ndim", 2)
    assert model.score.weights[0].equal(state["f.dw.net.0.conv.weight"])
    assert float(model.lam.detach()) == pytest.approx(40.0)


def test_converted_model_is_saved_and_loaded(tmp_path, read_here):
    model = convert(written(tmp_path, layout()), alpha=0.01, m=0.2)
    twin = load(save(model, tmp_path / "m"))
    assert (twin.ridge, twin.m, twin.tier) == (model.ridge, model.m, "estimated")
    x = random(1, 6, 5, dtype=torch.complex64)
    assert twin.score(x).equal(model.score(x))


def test_old_torch_format_is_read(tmp_path):
    assert convert(written(tmp_path, layout(), _use_new_zipfile_serialization=False)).score.config["depth"] == 5


def change(name, value):
    state = layout()
    if value is None:
        del state[name]
    else:
        state[name] = value(state.get(name)) if callable(value) else value
    return state


FIRST = "f.dw.net.0.conv.weight"
WRONG = {
    "negative lam": (change("f.lam", torch.tensor(-3.0)), "f.lam is -3.0; the weight of the data must be positive"),
    "zero lam": (change("f.lam", torch.tensor(0.0)), "must be positive"),
    "two lams": (change("f.lam", torch.ones(2)), "f.lam is nan"),
    "no lam": (change("f.lam", None), r"another layout than the published one \(see f.lam\)"),
    "another tensor": (change("f.extra", torch.ones(1)), r"\(see f.extra\)"),
    "a layer missing": (change("f.dw.net.2.conv.bias", None), "another layout"),
    "one layer": ({k: v for k, v in layout().items() if "net.0" in k or k == "f.lam"}, "another layout"),
    "empty": ({}, "another layout"),
    "kernel 5x5": (change(FIRST, torch.ones(8, 2, 5, 5)), "has the shape"),
    "wrong channels": (change(FIRST, torch.ones(8, 3, 3, 3)), "has the shape"),
    "wrong bias": (change("f.dw.net.1.conv.bias", torch.ones(3)), "has the shape"),
    "1-D": (change(FIRST, torch.ones(8, 2, 3)), "has the shape"),
    "scalar weight": (change(FIRST, torch.tensor(1.0)), "has the shape"),
    "NaN": (change(FIRST, lambda w: w * torch.nan), "not finite real numbers"),
    "integers": (change(FIRST, lambda w: w.long()), "not finite real numbers"),
    "complex": (change(FIRST, lambda w: w + 0j), "not finite real numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_checkpoint_of_another_layout_is_refused(tmp_path, case, monkeypatch):
    monkeypatch.setattr("resolvent.mol.checkpoint._isolated_read", lambda path: WRONG[case][0])  # read elsewhere
    path = tmp_path / "model.pth.tar"
    path.touch()
    with pytest.raises(ModelError, match=WRONG[case][1]):
        convert(path)


def test_missing_file_and_wrong_step_size_are_named(tmp_path):
    with pytest.raises(ModelError, match="there is no file"):
        convert(tmp_path / "none.pth")
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = [1.0]
    with pytest.raises(ModelError, match=r"scan.h5 is HDF5, as scans are, not a checkpoint"):
        convert(tmp_path / "scan.h5")
    with pytest.raises(ModelError, match=r"alpha is -1.0; a step size is positive"):
        convert(written(tmp_path, layout()), alpha=-1.0)


@pytest.mark.parametrize("m", [0.0, 1.0, math.nan])
def test_a_margin_that_is_none_is_refused_before_the_file_is_read(tmp_path, monkeypatch, m):
    monkeypatch.setattr("resolvent.mol.checkpoint._isolated_read", None)
    with pytest.raises(ModelError, match="is between 0 and 1"):
        convert(written(tmp_path, layout()), m=m)


# ---- pickles that run code: read once in one process, to keep the suite fast -----------------------------------


class Gadget:
    """Unpickled, calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def gadgets(sentinel):
    touch = f"open({str(sentinel)!r}, 'w').close()"
    shell = f"touch {sentinel}"
    return {
        "os.system": Gadget(os.system, shell),
        "exec": Gadget(exec, touch),
        "eval": Gadget(eval, touch),
        "subprocess": Gadget(subprocess.Popen, ["touch", str(sentinel)]),
        "open": Gadget(open, str(sentinel), "w"),
        "torch.load": Gadget(torch.load, str(sentinel)),
        "os.mkdir": Gadget(os.mkdir, str(sentinel)),
        "pickle.loads": Gadget(pickle.loads, pickle.dumps(Gadget(os.system, shell))),
        "torch.save": Gadget(torch.save, {}, str(sentinel)),
        "torch.hub": Gadget(torch.hub.load, str(sentinel.parent), "x"),
    }


NAMES = list(gadgets(Path("/nowhere")))


def hostile(folder, name, wrap):
    """A checkpoint with a gadget in it: among the tensors, or in place of everything, or as a raw pickle."""
    gadget = gadgets(folder / "sentinel")[name]
    path = folder / f"{re.sub(r'[^a-z]', '-', name)}-{wrap}.pth"
    if wrap == "tensors":
        torch.save({"state_dict": {**layout(channels=2), "f.lam": gadget}}, path)
    elif wrap == "zip":
        torch.save(gadget, path)
    elif wrap == "legacy":
        torch.save({"state_dict": gadget}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(gadget))
    return path


def test_hostile_checkpoints_would_run_if_they_were_trusted(tmp_path):
    with pytest.raises(Exception, match=r".*"):  # what it returns is no tensor; the harm is done by then
        torch.load(hostile(tmp_path, "exec", "tensors"), weights_only=False)["state_dict"]["f.lam"].shape  # noqa: B018
    assert (tmp_path / "sentinel").exists()


@pytest.mark.parametrize("wrap", ["tensors", "zip", "legacy", "raw"])
def test_code_in_a_checkpoint_is_never_executed(tmp_path, wrap):
    paths = [hostile(tmp_path, name, wrap) for name in NAMES]
    script = (
        "import sys\nfrom resolvent.mol import checkpoint\ncheckpoint._confine()\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n        checkpoint._extract(path, path + '.out')\n"
        "    except Exception as error:\n        print(type(error).__name__)\n"
        "    else:\n        print('ACCEPTED', path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, paths)], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.split()) == len(paths), done.stderr
    assert "ACCEPTED" not in done.stdout
    assert not (tmp_path / "sentinel").exists()
    assert not list(tmp_path.glob("*.out"))


@pytest.mark.parametrize(("name", "wrap"), [("os.system", "tensors")])
def test_hostile_checkpoint_is_an_error_of_one_sentence(tmp_path, name, wrap):
    with pytest.raises(ModelError, match="is no torch file of tensors only") as caught:
        convert(hostile(tmp_path, name, wrap))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sentinel").exists()


def test_process_that_reads_may_neither_start_programs_nor_open_sockets():
    script = (
        "import os, socket, subprocess\nfrom resolvent.mol import checkpoint\ncheckpoint._confine()\n"
        "for act in (lambda: os.system('true'), lambda: subprocess.run(['true']), lambda: socket.socket(),\n"
        "            lambda: os.execv('/bin/true', ['true']), lambda: os.fork()):\n"
        "    try:\n        act()\n    except PermissionError:\n        print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["refused"] * 5


@pytest.mark.parametrize("content", ["empty", "truncated", "zip without a pickle", "huge"])
def test_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "model.pth"
    if content == "empty":
        path.touch()
    elif content == "truncated":
        whole = written(tmp_path, layout()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif content == "zip without a pickle":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a", "b")
    else:  # a small file of a tensor that is a view of one number
        torch.save({"state_dict": {"f.lam": torch.zeros(1).expand(2**31, 2)}}, path)
    with pytest.raises(ModelError, match=r"is no torch file of tensors only|another layout"):
        convert(path)
