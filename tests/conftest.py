"""What all tests share: shapes and types checked at run time, threads, the folder of development data."""

import os
from pathlib import Path

import jaxtyping
import pytest

# Before anything imports the package: from here on every annotated shape and type in it is checked when it is called.
# An int may stand for a float, as for static checkers; `Self` is not checked (beartype cannot, method by method).
jaxtyping.install_import_hook(
    "resolvent",
    "beartype.beartype(conf=beartype.BeartypeConf("
    "is_pep484_tower=True, hint_overrides=beartype.FrozenDict({beartype.typing.Self: object})))",
)


def _outer_only(typechecker, decorator=jaxtyping.jaxtyped):
    """jaxtyping's decorator, but for functions within functions: each call of the outer one would compile them anew."""
    return lambda f: f if "<locals>" in f.__qualname__ else decorator(f, typechecker=typechecker)


jaxtyping.jaxtyped = _outer_only


class _FirstCalls(type(jaxtyping.config)):
    """jaxtyping's settings, which it asks at each call: those of the first thousand of a test are checked.

    Tests that call more go through the same functions again, and were half as long again with all of them checked.
    """

    left = 0

    @property
    def jaxtyping_disable(self) -> bool:
        self.left -= 1
        return self.left < 0


jaxtyping.config.__class__ = _FirstCalls


def pytest_runtest_setup() -> None:
    jaxtyping.config.left = 1000


if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores: one thread each, in their child processes too
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of development data; the tests that need it skip where it is absent."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("development data are not on this machine")
    return folder
