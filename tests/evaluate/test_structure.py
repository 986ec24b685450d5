import pytest
import torch

from resolvent.evaluate.methods import ZERO_FILLED, Method
from resolvent.evaluate.scans import Acquisition, Files
from resolvent.evaluate.structure import APART, SHAPES, inserted, structures, summarise


@pytest.mark.parametrize("shape", SHAPES)
def test_structures_lie_inside_the_object_apart_from_each_other_with_their_contrast(shape):
    phase = torch.exp(1j * torch.linspace(0, 3, 64))
    reference = torch.zeros(1, 64, 64, dtype=torch.complex64)
    reference[0, 8:56, 8:56] = 2 * phase[8:56]
    parts = inserted(reference, shape, 0.5, seed=3)
    size = 5 if shape == "text" else int(shape)
    assert len(parts) >= 4
    boxes = []
    for part in parts:
        rows, columns = (part[0] != 0).nonzero().T
        assert int(rows.max() - rows.min()) < size and int(columns.max() - columns.min()) < size
        on = part[part != 0]
        torch.testing.assert_close(on.abs(), torch.ones_like(on.abs()))
        torch.testing.assert_close(part / 1.0, part.abs() * torch.sgn(reference))
        boxes.append((int(rows.min()), int(columns.min())))
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert max(abs(a[0] - b[0]), abs(a[1] - b[1])) >= APART
    assert [bool((a == b).all()) for a, b in zip(parts, inserted(reference, shape, 0.5, seed=3), strict=True)]


def _filtered(case, response):
    """A method that adds `response` of the true change to the image of the scan."""
    base = case.A.adjoint(case.y)

    def call(y, A, noise):
        return base + response(A.adjoint(y) - base)

    return Method("probe", call)


def test_recovery_is_the_share_that_is_shown_and_false_is_what_appears_elsewhere(case, monkeypatch):
    monkeypatch.setattr(type(case.A), "forward", lambda self, x: x.unsqueeze(1).expand(-1, self.n_coils, -1, -1))
    monkeypatch.setattr(type(case.A), "adjoint", lambda self, y: y[:, 0])
    half = structures(_filtered(case, lambda d: 0.5 * d), case, shape="2", contrast=0.5, draws=2)[0]
    assert half["recovery"] == pytest.approx(0.5, abs=1e-5) and half["recovery_least"] == pytest.approx(0.5, abs=1e-5)
    assert half["false"] == pytest.approx(0, abs=1e-6) and half["places"] >= 2
    ghost = structures(
        _filtered(case, lambda d: d + 0.1 * (d.abs().max() > 1e-3)), case, shape="1", contrast=1, draws=1
    )[0]
    assert ghost["false"] == pytest.approx(0.1 / float(case.reference.abs().max()), rel=1e-4)


def test_in_a_volume_the_next_planes_are_near_and_in_a_series_the_next_frames_are_not(others, monkeypatch):
    """The change runs over by one plane, as that of a volume does."""
    for layout, leaked in (("volumes", 0.0), ("series", 0.25)):
        case = Files((str(others),), layout=layout).specs(Acquisition(1.0, coils=3, snr=60.0))[0].make()
        monkeypatch.setattr(type(case.A), "forward", lambda self, x: torch.stack([x] * self.n_coils, 1))
        monkeypatch.setattr(type(case.A), "adjoint", lambda self, y: y[:, 0])
        method = _filtered(case, lambda d: d + 0.5 * d.roll(1, 1))
        (row,) = structures(method, case, shape="4", contrast=0.5, draws=1)
        d = sum(inserted(case.reference, "4", 0.5, seed=0))
        biggest = float(d.abs().max() / case.reference.abs().max())
        assert row["false"] == pytest.approx(leaked * 2 * biggest, abs=1e-5)


def test_a_linear_method_shows_what_its_point_spread_says(case):
    """The zero-filled image of an undersampled scan shows less than all of a point."""
    (row,) = structures(ZERO_FILLED, case, shape="1", contrast=1.0, draws=2)
    assert 0.1 < row["recovery"] < 0.9 and row["false"] > 0
    about = {
        "method": "zero-filled",
        "acceleration": 3.0,
        "shape": "1",
        "contrast": 1.0,
        "data": "x",
        "data_sha256": "0",
    }
    (mean,) = summarise([{**about, **row}, {**about, **row, "recovery": 0.0, "recovery_least": -1.0}])
    assert mean["recovery"] == pytest.approx(row["recovery"] / 2, rel=1e-5) and mean["recovery_least"] == -1
    assert mean["places"] == 2 * row["places"]
