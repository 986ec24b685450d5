"""Convert the checkpoint layout of the published MOL code, without trusting the file."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from resolvent._errors import ModelError
from resolvent.mol.model import MOL
from resolvent.monotone import PlainCNN
from resolvent.monotone.operator import checked_margin

_CONV = re.compile(r"f\.dw\.net\.(\d+)\.conv\.(weight|bias)")
_SECONDS = 120


def convert(path: str | Path, *, alpha: float = 0.01, m: float = 0.1) -> MOL:
    """Read a published MOL checkpoint: ``f.lam`` and ``f.dw.net.{0..4}.conv.{weight,bias}``.

    The network is ``H(x) = cnn(x)``, F = I - H. The published solver adds 1.001 I where the equation has I, a hidden
    ridge of ``0.001 / alpha``, so its fixed points solve ``lam A^H (A x - b) + (1 + ridge) x - H(x) = 0``. The step
    size is not in the checkpoint. Images are in units in which the largest coil-image magnitude is 1.

    The file is unpickled with only tensors allowed, in a separate process that may not open a socket or start a
    program, and whose time and memory are limited.

    Args:
        path: a torch file.
        alpha: step size the model was trained with.
        m: monotonicity aimed at in training; reported as estimated, whatever its value.

    Raises:
        ModelError: the file does not exist, is not a torch file, holds more than tensors, or has another layout; alpha
            or m is out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no file {path}. Pass the path of a checkpoint.")
    if not alpha > 0:
        raise ModelError(f"alpha is {alpha}; a step size is positive. The published code trains with 0.01.")
    checked_margin(m)
    with path.open("rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            raise ModelError(f"{path} is HDF5, as scans are, not a checkpoint. Pass a file that torch.save wrote.")
    tensors = _isolated_read(path)
    lam, convs = _layout(tensors, path)
    channels, depth = convs[0][0].shape[0], len(convs)
    score = PlainCNN(m=m, channels=channels, depth=depth, ndim=convs[0][0].ndim - 2)
    with torch.no_grad():
        for target, bias, (weight, b) in zip(score.weights, score.biases, convs, strict=True):
            target.copy_(weight)
            bias.copy_(b)
    return MOL(score, lam, ridge=0.001 / alpha).eval()


def _layout(tensors: dict[str, Tensor], path: Path) -> tuple[float, list[tuple[Tensor, Tensor]]]:
    """The weight lam and the convolutions, with names and shapes checked."""
    remedy = "Expected f.lam and f.dw.net.N.conv.weight / .bias of 3x3 convolutions from 2 to 2 channels."
    depth = len([name for name in tensors if _CONV.fullmatch(name) and name.endswith("weight")])
    expected = {"f.lam", *(f"f.dw.net.{i}.conv.{part}" for i in range(depth) for part in ("weight", "bias"))}
    if depth < 2 or set(tensors) != expected:
        odd = sorted(set(tensors) ^ expected)[:3]
        raise ModelError(f"{path} has another layout than the published one (see {', '.join(odd) or 'f.dw'}). {remedy}")
    convs = [(tensors[f"f.dw.net.{i}.conv.weight"], tensors[f"f.dw.net.{i}.conv.bias"]) for i in range(depth)]
    width, hidden = 2, convs[0][0].shape[0] if convs[0][0].ndim else 0
    for i, (weight, bias) in enumerate(convs):
        out = 2 if i == depth - 1 else hidden
        if weight.ndim not in (4, 5) or tuple(weight.shape) != (out, width, *(3,) * (weight.ndim - 2)):
            raise ModelError(f"{path}: f.dw.net.{i}.conv.weight has the shape {tuple(weight.shape)}. {remedy}")
        if tuple(bias.shape) != (out,):
            raise ModelError(f"{path}: f.dw.net.{i}.conv.bias has the shape {tuple(bias.shape)}. {remedy}")
        width = out
    if not all(t.is_floating_point() and bool(torch.isfinite(t).all()) for t in tensors.values()):
        raise ModelError(f"{path} holds weights that are not finite real numbers. Use an earlier checkpoint.")
    lam = float(tensors["f.lam"].reshape(-1)[0]) if tensors["f.lam"].numel() == 1 else math.nan
    if not lam > 0:
        raise ModelError(f"{path}: f.lam is {lam}; the weight of the data must be positive. Use an earlier checkpoint.")
    return lam, convs


def _isolated_read(path: Path) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tensors.safetensors"
        command = [
            sys.executable,
            "-I",
            "-W",
            "ignore",
            "-m",
            "resolvent.mol.checkpoint",
            str(path.resolve()),
            str(out),
        ]
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, text=True)
        except subprocess.TimeoutExpired:
            raise ModelError(f"{path} took more than {_SECONDS} s to read. It is no checkpoint of this kind.") from None
        if done.returncode or not out.is_file():
            reason = (done.stderr.strip().splitlines() or ["the reader was stopped"])[-1][:200]
            raise ModelError(f"{path} is no torch file of tensors only: {reason}. Save it again as a state_dict.")
        return load_file(out)


def _confine() -> None:
    """Restrict this process to what reading tensors needs: limited time and memory, no sockets or other programs."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_DATA, (4 * 2**30, 4 * 2**30))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
    forbidden = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "ctypes.")

    def refuse(event: str, args: object) -> None:
        if event.startswith(forbidden):
            raise PermissionError(f"{event} is not allowed while a checkpoint is read")

    sys.addaudithook(refuse)


def _extract(source: str, target: str) -> None:
    """In the confined process: torch file to safetensors."""
    content = torch.load(source, map_location="cpu", weights_only=True)
    state = content["state_dict"] if isinstance(content, dict) and "state_dict" in content else content
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ValueError("the file holds something besides named tensors")
    save_file({str(name): t.detach().clone().contiguous() for name, t in state.items()}, target)


if __name__ == "__main__":
    _confine()
    try:
        _extract(sys.argv[1], sys.argv[2])
    except Exception as error:  # one line for the parent process, whatever went wrong
        sys.exit(" ".join(f"{type(error).__name__}: {error}".split())[:200])
