"""``--device``: the commands that solve take it, and find there what they find on the processor."""

import pytest
import torch

COMMANDS = {
    "recon": ("recon", "SCAN", "--model", "MODEL"),
    "adapt": ("adapt", "SCAN", "--model", "MODEL", "-o", "OUT", "--steps", 2, "--rate", 1e-3),
    "attack": ("attack", "MODEL", "SCAN", "--held", "--window", 8, "-o", "OUT.png", "--steps", 2, "--starts", 1),
    "attack sense": ("attack", "sense", "SCAN", "--steps", 2, "--starts", 1),
    "certify": ("certify", "MODEL", "SCAN", "--steps", 3),
}
FOUND = {
    "recon": ("fit", "misfit"),
    "adapt": ("after",),
    "attack": ("gain_worst",),
    "attack sense": ("gain_worst",),
    "certify": ("local", "J_F", "smallest"),
}


@pytest.fixture
def call(resolvent, store, scan, model, tmp_path):
    path = store(scan)

    def run(name, device):
        places = {"SCAN": path, "MODEL": model, "OUT": tmp_path / device, "OUT.png": tmp_path / f"{device}.png"}
        return resolvent(*(places.get(word, word) for word in COMMANDS[name]), "--device", device, "--json")

    return run


@pytest.mark.parametrize("name", COMMANDS)
def test_a_device_that_is_not_there_is_a_usage_error(call, name):
    for device in ("cuda:99", "gpu", "meta", "hpu"):
        run = call(name, device)
        assert run.code == 2
        assert f"PyTorch finds no device {device!r} here" in run.err


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "device", ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
)
def test_what_is_found_is_that_of_the_processor(call, name, device):
    values = []
    for where in ("cpu", device):
        run = call(name, where)
        assert run.code == 0, run.err
        value = run.json["results"][0] if name == "recon" else run.json
        for key in FOUND[name]:
            value = value[key]
        values.append(value)
    assert values[1] == pytest.approx(values[0], rel=1e-2)
