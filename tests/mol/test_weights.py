import hashlib
import json
import math
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save as tensors_to_bytes

from problems import CERTIFIED, KINDS, PLANE, STRICT, random_mask, small_scores
from resolvent._errors import ModelError
from resolvent.mol import MOL
from resolvent.mol.weights import (
    CARD,
    WEIGHTS,
    build,
    describe,
    load,
    load_mol,
    packaged_models,
    save,
)
from resolvent.monotone import CertifiedStack
from resolvent.monotone.layers import UnitKernel
from resolvent.testing import check_contraction, check_monotone


def model_of(kind, **options):
    return MOL(small_scores(2)[kind].float(), 17.0, **options).eval()


@pytest.fixture
def folder(tmp_path):
    return save(model_of("ResidualStack"), tmp_path / "small", {"data": "none"})


def rewrite(folder, **changes):
    """The card with other entries; None removes one."""
    description = {**json.loads((folder / CARD).read_text()), **changes}
    (folder / CARD).write_text(json.dumps({k: v for k, v in description.items() if v is not None}))


def replace_weights(folder, content):
    """Other weights, and the hash that fits them: what a forger does."""
    (folder / WEIGHTS).write_bytes(content)
    rewrite(folder, sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"ridge": 0.1, "normalise": True}], ids=["plain", "scan"])
def test_model_survives_the_round_trip(tmp_path, kind, options):
    model = model_of(kind, **options)
    with torch.no_grad():
        model.log_lam.add_(0.123)
        if model.normalise:
            model.noise_slope.fill_(-0.7)
    twin = load(save(model, tmp_path / "m", {"trained on": ["nothing"]}))
    y = PLANE.kspace().to(torch.complex64)
    A = PLANE.operator(maps=PLANE.random_maps().to(torch.complex64), mask=random_mask(1, 6, 5).float())
    assert twin.solve(y, A).image.equal(model.solve(y, A).image)
    assert not twin.training
    assert (twin.tier, twin.m, twin.c, twin.r, twin.ridge) == (model.tier, model.m, model.c, model.r, model.ridge)
    claims = json.loads((tmp_path / "m" / CARD).read_text())["claims"]
    assert (claims["m"], claims["c"], claims["r"]) == pytest.approx((model.m.value, model.c.value, model.r.value))
    assert (claims["tier"], claims["kind"]) == (model.tier, model.m.kind)
    k = model.score.conditioning(float(model.lam.detach()))
    assert claims["conditioning"] == (pytest.approx(k.value, rel=1e-4) if k.kind == "proved" else None)
    assert twin.identity["name"] == "m"
    assert twin.identity["sha256"] == hashlib.sha256((tmp_path / "m" / WEIGHTS).read_bytes()).hexdigest()
    assert load(tmp_path / "m").card == {"trained on": ["nothing"]}
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [CARD, WEIGHTS]  # nothing temporary is left


def test_model_may_be_named_by_its_folder_or_either_file(folder):
    for name in (folder, str(folder), folder / CARD, folder / WEIGHTS):
        assert load(name).identity["name"] == "small"


def test_model_in_double_precision_is_saved(tmp_path):
    model = model_of("ProductNetwork").double()
    assert load(save(model, tmp_path / "m")).m == model.m


def test_a_mol_is_loaded_without_the_compiler_of_pytorch(tmp_path):
    """Its import takes nearly a second and leaves a folder behind; arithmetic on the meta device asks for it."""
    for kind in KINDS:
        save(model_of(kind), tmp_path / kind)
    code = (
        "import pathlib, sys\nfrom resolvent.mol.weights import load\n"
        "print(*(folder.name for folder in pathlib.Path(sys.argv[1]).iterdir() if load(folder)))\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == set(KINDS)


@pytest.mark.parametrize("name", packaged_models())
def test_packaged_models_load(name):
    assert load(name).identity["name"] == name


# ---- what is wrong with a file ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "../brain", "x/../../y", ""])
def test_unknown_model_is_named(name):
    with pytest.raises(ModelError, match=r"there is no model .*Packaged models: "):
        load(name)


@pytest.mark.parametrize("offset", [0, 100, -1])
def test_flipped_byte_is_noticed(folder, offset):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[offset] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(content))
    with pytest.raises(ModelError, match="does not match the SHA-256"):
        load(folder)


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_truncated_weights_are_refused(folder, length):
    content = (folder / WEIGHTS).read_bytes()[:length]
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ModelError, match="does not match the SHA-256"):
        load(folder)
    replace_weights(folder, content)  # with a hash that fits
    with pytest.raises(ModelError, match="holds no model this version can build"):
        load(folder)


def test_missing_weights_are_named(folder):
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=rf"{WEIGHTS} cannot be read \(No such file"):
        load(folder)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(folder, bad):
    model = model_of("ResidualStack")
    with torch.no_grad():
        model.score.convs[1].weight[0, 0, 0, 0] = bad
    replace_weights(folder, tensors_to_bytes(model.state_dict()))
    with pytest.raises(ModelError, match="holds NaN or infinite weights"):
        load(folder)


FORGERIES = {
    "tier": ["all-data", "per-scan", "estimated"],
    "m": [0.9, 0.301, "0.3", None],
    "c": [2.0, 0.999],
    "r": [0.1, 0.7001],
    "kind": ["proved", "estimated"],
    "conditioning": [0.0, 1e-3, None, 1e9],
    "lam": [18.0, 1.0],
}


@pytest.mark.parametrize("kind", KINDS)
def test_claims_that_the_weights_do_not_support_are_refused(tmp_path, kind):
    folder = save(model_of(kind), tmp_path / "m")
    claims = json.loads((folder / CARD).read_text())["claims"]
    assert set(claims) == set(FORGERIES)
    for name, values in FORGERIES.items():
        for value in values:
            if value != claims[name]:
                rewrite(folder, claims={**claims, name: value})
                with pytest.raises(ModelError, match=r"claims .* but the weights give"):
                    load(folder)
    rewrite(folder, claims=claims)
    load(folder)


@pytest.mark.parametrize("claims", [{}, "proved", None])
def test_claims_that_are_none_are_refused(folder, claims):
    rewrite(folder, claims=claims)
    with pytest.raises(ModelError, match=r"claims .* but the weights give"):
        load(folder)


def test_estimate_cannot_be_passed_off_as_proof(tmp_path):
    folder = save(model_of("PlainCNN"), tmp_path / "m")
    claims = json.loads((folder / CARD).read_text())["claims"]
    rewrite(folder, claims={**claims, "kind": "proved", "tier": "all-data"})
    with pytest.raises(ModelError, match="Do not trust that file"):
        load(folder)


@pytest.mark.parametrize("kind", STRICT)
@pytest.mark.parametrize("factor", [1e3, -7.0])
def test_constants_hold_for_scaled_kernels_with_the_old_card(tmp_path, kind, factor):
    folder = save(model_of(kind), tmp_path / "m")
    model = load(folder)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, UnitKernel):
                module.weight.mul_(factor)
    replace_weights(folder, tensors_to_bytes(model.state_dict()))
    forged = load(folder).double()  # the claims hold: they rest on the normalisation, not on the weights
    assert (forged.m.value, forged.c.value, forged.r.value) == (0.3, 1.0, 0.7)
    y, A = PLANE.kspace(), PLANE.operator()
    with torch.no_grad():
        F = forged.pose(y, A)[0].score
    check_monotone(F, y[:, 0], m=0.3, draws=4, ascent=4)
    check_contraction(F.H, y[:, 0], 0.7, draws=4, ascent=4)


def test_proved_conditioning_follows_the_architecture_in_the_card(tmp_path):
    folder = save(MOL(CertifiedStack(m=0.3, **CERTIFIED), 17.0).eval(), tmp_path / "m")
    description = json.loads((folder / CARD).read_text())
    for name, value in (("emphasis", 1.0), ("passes", 1), ("m", 0.5)):  # shapes stay: only the claims can tell
        rewrite(folder, score={**description["score"], name: value})
        with pytest.raises(ModelError, match="Do not trust that file"):
            load(folder)


def test_scaled_weights_with_the_old_card_stay_within_their_bounds(folder):
    model = load(folder)
    with torch.no_grad():
        for p in model.score.parameters():
            p.mul_(1e3)
    replace_weights(folder, tensors_to_bytes(model.state_dict()))
    forged = load(folder)  # the claims hold: they rest on the normalisation, not on the weights
    y = PLANE.kspace().to(torch.complex64)
    A = PLANE.operator(maps=PLANE.random_maps().to(torch.complex64), mask=random_mask(1, 6, 5).float())
    recon = forged.solve(y, A, tol=1e-3, max_steps=300)
    assert recon.solution.converged
    assert recon.certificate.proved


def test_other_architecture_than_the_weights_is_refused(folder):
    for score in (
        {"kind": "ResidualStack", "m": 0.3, "channels": 5, "layers": 3, "ndim": 2},
        {"kind": "ResidualStack", "m": 0.3, "channels": 4, "layers": 4, "ndim": 2},
        {"kind": "ProductNetwork", "m": 0.3, "channels": 4, "depth": 3, "ndim": 2},
        {"kind": "ResidualStack", "m": 0.3, "channels": 4, "layers": 3, "ndim": 3},
    ):
        rewrite(folder, score=score)
        with pytest.raises(ModelError, match="holds no model this version can build"):
            load(folder)


@pytest.fixture
def little_memory():
    """A card that does get its terabytes shall fail this test, and not the machine."""
    resource = pytest.importorskip("resource", reason="limits of memory are POSIX")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (6 * 2**30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


GOOD = {"kind": "ResidualStack", "m": 0.3, "channels": 4, "layers": 3, "ndim": 2}


@pytest.mark.parametrize(
    "score",
    [
        {**GOOD, "kind": "os.system"},
        {**GOOD, "kind": ["ResidualStack"]},
        {**GOOD, "channels": 4096, "layers": 4096},
        {**GOOD, "channels": 4096, "layers": 4096, "ndim": 3},
        {**GOOD, "channels": 1e9},
        {**GOOD, "channels": -4},
        {**GOOD, "channels": 0},
        {**GOOD, "channels": 4.5},
        {"kind": "CertifiedStack", "m": 0.3, "channels": 4, "layers": 1, "trunk_layers": 1, "passes": 1.5},
        {**GOOD, "m": 1e-17},
        {**GOOD, "channels": "4"},
        {**GOOD, "layers": None},
        {**GOOD, "m": 1.5},
        {**GOOD, "m": math.nan},
        {**GOOD, "m": 1e-320},
        {**GOOD, "surprise": 1},
        {"kind": "ConditionedStack", "width": 4096, "passes": 4096, "channels": 4096, "layers": 4096},
        {"m": 0.3},
        "ResidualStack",
        None,
        [],
    ],
    ids=str,
)
def test_hostile_architectures_are_refused_at_once(folder, score, little_memory):
    rewrite(folder, score=score)
    with pytest.raises(ModelError):
        load(folder)


def test_a_file_too_large_for_a_model_is_not_read(folder):
    with (folder / WEIGHTS).open("r+b") as file:
        file.truncate(2**30 + 1)  # a hole: it takes no room
    with pytest.raises(ModelError, match="larger than 1024 MiB"):
        load(folder)


@pytest.mark.parametrize("change", [lambda t: t.half(), lambda t: t.double() if t.ndim > 1 else t, lambda t: t + 0j])
def test_weights_of_no_one_precision_are_refused(folder, change):
    tensors = {name: change(t.detach()) for name, t in load(folder).state_dict().items()}
    replace_weights(folder, tensors_to_bytes(tensors))
    with pytest.raises(ModelError, match="all of single or all of double precision"):
        load(folder)


def test_a_weight_of_the_data_beyond_all_numbers_is_refused(folder):
    tensors = load(folder).state_dict()
    tensors["log_lam"] = torch.tensor(200.0)
    replace_weights(folder, tensors_to_bytes(tensors))
    with pytest.raises(ModelError, match="NaN or infinite"):
        load(folder)


def test_a_folder_with_the_name_of_a_packaged_model_is_not_taken_for_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = save(model_of("ResidualStack"), "photo")
    with pytest.raises(ModelError, match="is a packaged model and a folder here"):
        load("photo")
    assert load(folder.absolute()).m.value == 0.3


@pytest.mark.parametrize(("card", "error"), [({"x": object()}, TypeError), ({"x": math.nan}, ValueError)])
def test_a_card_that_is_no_json_leaves_the_model_that_was_there(folder, card, error):
    before = load(folder).identity
    with pytest.raises(error):
        save(model_of("ConvexRidge"), folder, card)
    assert load(folder).identity == before


def test_other_weights_do_not_go_by_the_name_of_those_that_were_loaded(folder):
    model = load(folder)
    known = model.identity
    assert known["name"] == "small"
    assert model.double().identity == known
    with torch.no_grad():
        model.score.biases[0][0] += 1e-6
    assert model.identity == {"changed_from": known}


@pytest.mark.parametrize("ridge", [-1.0, math.nan, math.inf, "0.1x", [1]])
def test_hostile_ridge_is_refused(folder, ridge):
    rewrite(folder, ridge=ridge)
    with pytest.raises(ModelError):
        load(folder)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "other/1"}', "\x00\xff", "[" * 100_000], ids=lambda t: repr(t[:20])
)
def test_card_that_is_none_is_refused(folder, text):
    (folder / CARD).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"no readable JSON|not of format resolvent-model/1"):
        load(folder)


# ---- descriptions and baselines ----------------------------------------------------------------------------


def scan_of_plane():
    y = PLANE.kspace().to(torch.complex64)
    return y, PLANE.operator(maps=PLANE.random_maps().to(torch.complex64), mask=random_mask(1, 6, 5).float())


SMALL = {"kind": "MoDL", "channels": 4, "depth": 2, "steps": 2, "normalise": True, "ndim": 2}
BASELINES = [
    SMALL,
    {**SMALL, "kind": "ADMMNet", "shared": False},
    {**SMALL, "kind": "ADMMNet", "shared": True},
    {key: value for key, value in {**SMALL, "kind": "DEGrad"}.items() if key != "steps"},
    {"kind": "UNet", "channels": 2, "levels": 1, "normalise": True, "ndim": 2},
]


@pytest.mark.parametrize("description", BASELINES, ids=lambda d: d["kind"])
def test_baseline_survives_the_round_trip_and_claims_nothing(tmp_path, description):
    model = build({**description, "lam": 17.0}).eval()
    assert type(model).__name__ == description["kind"]
    assert describe(model) == description
    assert model.lam.item() == pytest.approx(17)
    with torch.no_grad():
        model.noise_slope.fill_(-0.7)
    twin = load(save(model, tmp_path / "m"))
    assert twin(*scan_of_plane()).equal(model(*scan_of_plane()))
    assert json.loads((tmp_path / "m" / CARD).read_text())["claims"] == {"tier": "none"}
    assert twin.identity["name"] == "m"
    with pytest.raises(ModelError, match=f"m is a {description['kind']}: it solves no equation"):
        load_mol(tmp_path / "m")
    rewrite(tmp_path / "m", claims={"tier": "all-data"})
    with pytest.raises(ModelError, match="Do not trust that file"):
        load(tmp_path / "m")


@pytest.mark.parametrize("kind", KINDS)
def test_description_builds_the_same_model(kind):
    model = model_of(kind, ridge=0.1, normalise=True)
    twin = build(json.loads(json.dumps({**describe(model), "lam": 17.0})))
    assert describe(twin) == describe(model)
    assert {k: v.shape for k, v in twin.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    assert twin.log_lam.equal(model.log_lam)


def test_card_without_a_kind_is_that_of_a_mol(folder):
    assert json.loads((folder / CARD).read_text())["kind"] == "MOL"
    expected = load(folder)(*scan_of_plane())
    rewrite(folder, kind=None)
    assert load(folder)(*scan_of_plane()).equal(expected)


@pytest.mark.parametrize(
    "description",
    [
        {},
        {"score": GOOD, "normalize": True},
        {"score": {**GOOD, "surprise": 1}},
        {"score": GOOD, "lam": -1},
        {"score": GOOD, "lam": "much"},
        {"kind": "Sequential"},
        {"kind": ["MoDL"]},
        {**SMALL, "score": GOOD},
        {**SMALL, "surprise": 1},
        {**SMALL, "steps": 10**9},
        {**SMALL, "depth": 1},
        {**SMALL, "ndim": 4},
        {**SMALL, "channels": "4"},
    ],
    ids=str,
)
def test_description_of_no_model_is_refused(description, little_memory):
    with pytest.raises(ModelError):
        build(description)
