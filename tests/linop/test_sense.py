import copy
import io
import pickle
import re

import numpy as np
import pytest
import torch

from problems import (
    DYNAMIC,
    ODD,
    ONE_COIL,
    PLANE,
    SETTINGS,
    TWO_SETS,
    TWO_SETS_DYNAMIC,
    VOLUME,
    Setting,
    dense,
    random,
    random_mask,
    unit_maps,
)
from resolvent._errors import DataError, ShapeError
from resolvent.linop import SENSE, LinearOperator, Sampling, fft
from resolvent.testing import check_adjoint, check_linear, check_norm_bound, check_normal

VARIANTS = [
    *((s, 1, {}) for s in (*SETTINGS, TWO_SETS_DYNAMIC)),
    *((s, 3, {}) for s in (PLANE, VOLUME, DYNAMIC, TWO_SETS)),
    *((s, 2, {"coil_chunk": 2}) for s in (PLANE, ODD, TWO_SETS)),
    (VOLUME, 2, {"coil_chunk": 1}),
]
variants = pytest.mark.parametrize(
    ("setting", "batch", "options"), VARIANTS, ids=[f"{s.name}-batch{b}{'-chunk' * bool(o)}" for s, b, o in VARIANTS]
)
MASKS_1D = [(1, 5), (6, 1), (1, 1)]


def naive(maps, mask, x, ndim, sets):
    """SENSE as it stands in the textbook: one coil and one set at a time."""
    coils = []
    for c in range(maps.shape[1]):
        if sets == 1:
            coils.append(mask * fft(maps[:, c] * x, ndim))
        else:
            coils.append(sum(mask[:, 0] * fft(maps[:, c, s] * x[:, s], ndim) for s in range(sets)))
    return torch.stack(coils, 1)


@variants
def test_adjoint_linearity_normal_and_norm_for_any_k_space(setting, batch, options):
    A = setting.operator(batch, **options)
    x, y = random(batch, *setting.image), setting.kspace(batch)  # y is not masked
    check_adjoint(A, x, y, tol=1e-13)
    check_linear(A, x, tol=1e-13)
    check_normal(A, x, tol=1e-13)
    check_norm_bound(A, x)


@variants
def test_operator_equals_the_textbook(setting, batch, options):
    maps, mask = setting.random_maps(batch), random_mask(batch, *setting.mask)
    x = random(batch, *setting.image)
    A = setting.operator(batch, maps=maps, mask=mask, **options)
    expected = naive(maps, mask, x, setting.ndim, setting.sets)
    torch.testing.assert_close(A(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_norm_bound_is_at_least_the_largest_singular_value(setting):
    A = setting.operator(mask=random_mask(1, *setting.mask, density=0.7))
    largest = torch.linalg.matrix_norm(dense(A, setting.image), 2)
    assert largest <= A.norm_bound[0]
    assert largest >= 0.5 * A.norm_bound[0]


@pytest.mark.parametrize("setting", [PLANE, VOLUME, TWO_SETS], ids=lambda s: s.name)
def test_norm_bound_is_exact_when_everything_is_measured(setting):
    maps = random(1, setting.coils, *setting.maps, seed=9)  # not normalised
    A = setting.operator(maps=maps, mask=0.5 * torch.ones(1, *setting.mask))
    largest = torch.linalg.matrix_norm(dense(A, setting.image), 2)
    torch.testing.assert_close(A.norm_bound[0], largest, rtol=1e-12, atol=0)
    assert A.norm_bound[0] >= largest * (1 - 1e-14)


def test_norm_bound_is_one_number_a_sample():
    maps = unit_maps(2, 3, 4, 5) * torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    bound = SENSE(maps, torch.ones(4, 5)).norm_bound
    torch.testing.assert_close(bound, torch.tensor([1.0, 2.0], dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", MASKS_1D)
@pytest.mark.parametrize("batch", [1, 2])
def test_normal_skips_the_axes_on_which_the_mask_is_constant(shape, batch):
    pattern = random_mask(1, 6, 5)[:, : shape[0], : shape[1]].expand(1, 6, 5)
    if shape == (1, 1):
        pattern = torch.full((1, 6, 5), 0.5)
    else:
        pattern = pattern.clone()
        pattern[:, 0, 0] = 1.0
        pattern = pattern[:, :1].expand(1, 6, 5) if shape[0] == 1 else pattern[:, :, :1].expand(1, 6, 5)
    A = PLANE.operator(batch, mask=pattern)
    assert len(A._normal_axes) == (shape != (1, 1))
    x = random(batch, 6, 5)
    torch.testing.assert_close(A.normal(x), A.adjoint(A(x)), rtol=0, atol=1e-13)


def test_adjoint_ignores_what_was_not_measured():
    mask = random_mask(1, *PLANE.mask)
    A, y = PLANE.operator(mask=mask), PLANE.kspace()
    torch.testing.assert_close(A.adjoint(y), A.adjoint(mask * y), rtol=0, atol=1e-14)
    assert (A.adjoint(y) - A.adjoint(y * 2 + 1)).abs().max() > 0.1  # but not what was


def test_noise_is_that_of_the_measured_samples_alone():
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(1, 4, 48, 40, dtype=torch.complex64, generator=generator)
    mask = (torch.rand(48, 40, generator=generator) < 0.5).float()
    A = SENSE(torch.ones(1, 4, 48, 40, dtype=torch.complex64) / 2, mask)
    full = torch.where(mask > 0, y, 30 * y)
    assert A.noise(full).item() == A.noise(mask * y).item() == pytest.approx(1, rel=0.15)


@pytest.mark.parametrize("mask_shape", [(6, 5), (1, 6, 5), (2, 6, 5), (2, 1, 6, 5)])
def test_mask_may_be_shared_or_hold_a_coil_axis(mask_shape):
    mask = random_mask(*mask_shape)
    maps, x = unit_maps(2, 3, 6, 5), random(2, 6, 5)
    full = mask.reshape(-1, 6, 5).expand(2, 6, 5)
    torch.testing.assert_close(SENSE(maps, mask)(x), SENSE(maps, full)(x), rtol=0, atol=0)


def test_mask_may_be_boolean_or_integer():
    mask = random_mask(6, 5)
    for kind in (torch.bool, torch.uint8, torch.float32):
        A, x = SENSE(unit_maps(1, 2, 6, 5), mask.to(kind)), random(1, 6, 5)
        torch.testing.assert_close(A(x), SENSE(unit_maps(1, 2, 6, 5), mask)(x), rtol=0, atol=0)


def test_shared_maps_serve_a_batch_of_masks():
    maps, mask, x = unit_maps(1, 3, 6, 5), random_mask(2, 6, 5), random(2, 6, 5)
    assert SENSE(maps, mask).batch == 2
    torch.testing.assert_close(SENSE(maps, mask)(x), SENSE(maps.expand(2, -1, -1, -1), mask)(x), rtol=0, atol=0)


def test_number_of_spatial_axes_is_read_off_the_maps_where_they_tell_it():
    assert SENSE(unit_maps(1, 2, 4, 5), torch.ones(4, 5)).ndim == 2
    dynamic = SENSE(unit_maps(1, 2, 1, 4, 5), torch.ones(1, 3, 4, 5))
    assert (dynamic.ndim, dynamic.lead) == (2, (3,))
    changing = SENSE(unit_maps(1, 2, 3, 4, 5), torch.ones(1, 3, 4, 5), ndim=2)
    assert (changing.ndim, changing.lead) == (2, (3,))
    x = random(1, 3, 4, 5)
    torch.testing.assert_close(changing.normal(x), changing.adjoint(changing(x)), rtol=0, atol=1e-13)
    with pytest.raises(ShapeError, match=r"those of a volume or of slices over time.*ndim=3.*ndim=2.*Scan.operator"):
        SENSE(unit_maps(1, 2, 3, 4, 5), torch.ones(3, 4, 5))


@pytest.mark.parametrize("setting", [PLANE, VOLUME], ids=lambda s: s.name)
def test_operator_equals_sigpy(setting: Setting):
    linop = pytest.importorskip("sigpy.mri.linop")
    maps, mask = setting.random_maps(), random_mask(1, *setting.mask)
    A = setting.operator(maps=maps, mask=mask)
    theirs = linop.Sense(maps[0].numpy(), weights=mask[0].numpy())  # multiplies by sqrt(weights): zeros and ones here
    x, y = random(1, *setting.image), setting.kspace()
    np.testing.assert_allclose(A(x)[0].numpy(), theirs * x[0].numpy(), atol=1e-12)
    np.testing.assert_allclose(A.adjoint(y)[0].numpy(), theirs.H * y[0].numpy(), atol=1e-12)
    np.testing.assert_allclose(A.normal(x)[0].numpy(), theirs.N * x[0].numpy(), atol=1e-12)


def test_adjoint_of_the_adjoint_is_the_operator_itself():
    A = PLANE.operator()
    assert A.H.H is A
    y = PLANE.kspace()
    torch.testing.assert_close(A.H(y), A.adjoint(y), rtol=0, atol=0)
    torch.testing.assert_close(A.H.adjoint(random(1, 6, 5)), A(random(1, 6, 5)), rtol=0, atol=0)
    torch.testing.assert_close(A.H.normal(y), A(A.adjoint(y)), rtol=0, atol=0)
    assert A.H.norm_bound.equal(A.norm_bound)


def test_operators_are_immutable():
    A = PLANE.operator()
    for name in ("weighted_maps", "encode", "power"):
        with pytest.raises(AttributeError, match=rf"SENSE.{name} cannot be rebound.*Build a new one"):
            setattr(A, name, torch.zeros(1))


@pytest.mark.filterwarnings("ignore:Complex modules", "ignore:Casting complex")
@pytest.mark.parametrize("change", [torch.float64, torch.complex128, torch.float16, "double", "float"], ids=str)
def test_precision_is_not_changed_in_place(change):
    A = PLANE.operator() if change == "float" else SENSE(PLANE.random_maps().to(torch.complex64), torch.ones(6, 5))
    with pytest.raises(DataError, match=r"precision of SENSE cannot be changed in place.*A.to_double\(\).*Scan.single"):
        getattr(A, change)() if isinstance(change, str) else A.to(change)
    assert A.weighted_maps.is_complex() and A.to("cpu") is A


@pytest.mark.parametrize("sets", [1, 2])
def test_magnitude_is_the_power_of_two_next_to_the_largest_root_of_the_sum_of_squares(sets):
    shape = (2, 4, *((sets,) if sets > 1 else ()), 6, 5)
    maps = torch.full(shape, 0.5 + 0j, dtype=torch.complex128)
    maps[1] *= 3  # whose root is 3: nearer to 4 than to 2, as factors
    for factor in (1.0, 2.0**-100, 2.0**60):
        A = SENSE(factor * maps, torch.ones(6, 5), sets=sets)
        assert A.magnitude.tolist() == [factor, 4 * factor]
        assert A.select(torch.tensor([1])).magnitude.tolist() == [4 * factor] == A.to_double().magnitude[1:].tolist()
    assert (A @ A).magnitude.tolist() == [2.0**120, 2.0**124]
    maps[1] = 0
    assert SENSE(maps, torch.ones(6, 5), sets=sets).magnitude.tolist() == [1, 1]


def test_operator_says_what_it_is_made_of():
    assert "weighted_maps=(1, 3, 6, 5)" in repr(PLANE.operator()) and "complex128" in repr(PLANE.operator())


class Picked(LinearOperator):
    """Some pixels by their index: an integer tensor beside others."""

    def __init__(self, index):
        super().__init__()
        self.register_buffer("index", index)

    def forward(self, x):
        return x.flatten(1).gather(1, self.index.expand(len(x), -1))

    def adjoint(self, y):
        return y.new_zeros(len(y), 30).scatter(1, self.index.expand(len(y), -1), y).unflatten(1, (6, 5))

    @property
    def norm_bound(self):
        return torch.ones(1, dtype=torch.float64)


def test_integers_stay_integers_in_double_precision():
    A, x = Picked(torch.tensor([[3, 7, 11]])), random(2, 6, 5)
    assert A.to_double()(x).equal(A(x)) and A.to_double().index.dtype == torch.int64


def test_operator_does_not_follow_later_changes_of_maps_and_mask():
    maps, mask, x = unit_maps(1, 2, 6, 5), random_mask(1, 6, 5), random(1, 6, 5)
    A = SENSE(maps, mask)
    before = A(x)
    maps.zero_()
    mask.zero_()
    torch.testing.assert_close(A(x), before, rtol=0, atol=0)


@pytest.mark.parametrize("setting", [PLANE, TWO_SETS_DYNAMIC], ids=lambda s: s.name)
def test_operator_survives_pickle_copy_and_torch_save(setting):
    A, x, y = setting.operator(), random(1, *setting.image), setting.kspace()
    file = io.BytesIO()
    torch.save(A, file)
    file.seek(0)
    for twin in (
        pickle.loads(pickle.dumps(A)),
        copy.deepcopy(A),
        copy.copy(A),
        torch.load(file, weights_only=False),
    ):
        assert twin.normal(x).equal(A.normal(x))
        assert twin.adjoint(y).equal(A.adjoint(y))
        assert twin.norm_bound.equal(A.norm_bound)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: s.name)
def test_double_precision_is_the_same_operator(setting):
    single = SENSE(
        setting.random_maps().to(torch.complex64),
        random_mask(1, *setting.mask).float(),
        ndim=setting.ndim,
        sets=setting.sets,
    )
    double, x = single.to_double(), random(1, *setting.image)
    assert double(x).dtype == double.normal(x).dtype == torch.complex128
    assert single.weighted_maps.dtype == torch.complex64  # the original is left alone
    error = (single.normal(x.to(torch.complex64)) - double.normal(x)).norm() / double.normal(x).norm()
    assert 0 < error < 20 * torch.finfo(torch.float32).eps
    check_adjoint(double, x, setting.kspace(), tol=1e-13)
    assert dense(double, setting.image).norm(p=2) > 0
    assert torch.linalg.matrix_norm(dense(double, setting.image), 2) <= double.norm_bound[0]


def test_norm_bound_of_rounded_phases_is_one_in_double_precision_too():
    for n in (5, 7, 9, 11, 13):  # where no phase is a number of single precision
        maps = unit_maps(1, 2, n, n).to(torch.complex64)
        double = SENSE(maps, torch.ones(n, n)).to_double()
        assert torch.linalg.matrix_norm(dense(double, (n, n)), 2) <= double.norm_bound[0]


@pytest.mark.parametrize("shared", [True, False])
def test_select_takes_the_operators_of_some_samples(shared):
    maps, mask = unit_maps(4, 3, 6, 5), random_mask(1 if shared else 4, 6, 5)
    A, x = SENSE(maps, mask), random(4, 6, 5)
    index = torch.tensor([3, 1])
    torch.testing.assert_close(A.select(index)(x[index]), A(x)[index], rtol=0, atol=0)
    torch.testing.assert_close(A.select(index).normal(x[index]), A.normal(x)[index], rtol=0, atol=0)
    torch.testing.assert_close(A.select(index).norm_bound, A.norm_bound[index], rtol=0, atol=0)
    assert A.batch == 4


def test_coil_chunks_change_memory_and_nothing_else():
    A, B = ONE_COIL.operator(), ONE_COIL.operator(coil_chunk=5)
    x = random(1, 4, 5)
    assert A.normal(x).equal(B.normal(x))
    maps, mask, x = unit_maps(2, 5, 6, 5), random_mask(1, 6, 5), random(2, 6, 5)
    whole, parts = SENSE(maps, mask), SENSE(maps, mask, coil_chunk=2)
    torch.testing.assert_close(parts.normal(x), whole.normal(x), rtol=0, atol=1e-14)


@pytest.mark.parametrize("setting", [PLANE, DYNAMIC, TWO_SETS], ids=lambda s: s.name)
def test_maps_and_image_receive_gradients(setting):
    mask, x = random_mask(1, *setting.mask), random(1, *setting.image).requires_grad_()
    maps, y = setting.random_maps().requires_grad_(), setting.kspace()

    def loss(maps, x):
        A = setting.operator(maps=maps, mask=mask)
        return (
            torch.view_as_real(A.normal(x)).sum() + torch.view_as_real(A.adjoint(y)).square().sum() + A(x).abs().sum()
        )

    assert torch.autograd.gradcheck(loss, (maps, x), atol=1e-6, fast_mode=True)


def test_abstract_operator_gives_normal_from_its_two_halves():
    class Double(LinearOperator):
        def forward(self, x):
            return 2j * x

        def adjoint(self, y):
            return -2j * y

        @property
        def norm_bound(self):
            return torch.full((1,), 2.0)

    x = random(1, 3)
    torch.testing.assert_close(Double().normal(x), 4 * x)
    check_adjoint(Double(), x, random(1, 3, seed=5))
    with pytest.raises(TypeError, match="abstract"):
        LinearOperator()


# ---- messages ------------------------------------------------------------------------------------------------

ONES = torch.ones(6, 5)
BAD = {
    "no spatial axes": (lambda: SENSE(unit_maps(1, 2, 5), torch.ones(5)), ShapeError, "maps have 3 axes"),
    "too few axes for ndim": (
        lambda: SENSE(unit_maps(1, 2, 6, 5), ONES, ndim=3),
        ShapeError,
        "leaves no 2 or 3 spatial",
    ),
    "two axes": (lambda: SENSE(unit_maps(1, 1, 6, 5)[0], ONES), ShapeError, "Pass (batch, coil"),
    "sets": (
        lambda: SENSE(unit_maps(1, 2, 3, 6, 5), ONES, sets=2),
        ShapeError,
        "maps have 3 sets (axis 2) but sets=2. Pass sets=3",
    ),
    "mask axes": (lambda: SENSE(unit_maps(1, 2, 6, 5), torch.ones(2, 3, 6, 5)), ShapeError, "mask has 4 axes"),
    "mask matrix": (lambda: SENSE(unit_maps(1, 2, 6, 5), torch.ones(5, 6)), ShapeError, "mask has the matrix (5, 6)"),
    "mask batch": (
        lambda: SENSE(unit_maps(2, 2, 6, 5), torch.ones(3, 6, 5)),
        ShapeError,
        "mask has length 3 but the maps 2 on the batch axis",
    ),
    "mask lead": (
        lambda: SENSE(unit_maps(1, 2, 3, 6, 5), torch.ones(1, 2, 6, 5), ndim=2),
        ShapeError,
        "mask has length 2 but the maps 3 on lead axis 1",
    ),
    "NaN maps": (lambda: SENSE(unit_maps(1, 2, 6, 5) * torch.nan, ONES), DataError, "maps hold NaN or infinite"),
    "zero maps": (lambda: SENSE(unit_maps(1, 2, 6, 5) * 0, ONES), DataError, "maps are zero everywhere"),
    "negative mask": (lambda: SENSE(unit_maps(1, 2, 6, 5), -ONES), DataError, "mask has values outside [0, 1]"),
    "NaN mask": (lambda: SENSE(unit_maps(1, 2, 6, 5), ONES * torch.nan), DataError, "mask has values outside [0, 1]"),
    "complex mask": (lambda: SENSE(unit_maps(1, 2, 6, 5), ONES * 1j), DataError, "mask has values outside [0, 1]"),
    "empty mask": (
        lambda: SENSE(unit_maps(2, 2, 6, 5), torch.stack([ONES, 0 * ONES])),
        DataError,
        "mask of sample 1 is empty: nothing was measured",
    ),
    "coils": (
        lambda: SENSE(unit_maps(1, 2, 6, 5), ONES).adjoint(random(1, 3, 6, 5)),
        ShapeError,
        "k-space has 3 coils (axis 1) but the maps have 2",
    ),
    "k-space axes": (
        lambda: SENSE(unit_maps(1, 2, 6, 5), ONES).adjoint(random(1, 2, 5, 6)),
        ShapeError,
        "k-space has axes (5, 6) after batch and coil but the operator has (6, 5)",
    ),
    "k-space batch": (
        lambda: SENSE(unit_maps(2, 2, 6, 5), ONES).adjoint(random(3, 2, 6, 5)),
        ShapeError,
        "k-space has 3 samples (axis 0) but the operator has 2",
    ),
    "one k-space for many maps": (
        lambda: SENSE(unit_maps(2, 2, 6, 5), ONES).adjoint(random(1, 2, 6, 5)),
        ShapeError,
        "k-space has 1 samples (axis 0) but the operator has 2",
    ),
    "image axes": (
        lambda: SENSE(unit_maps(1, 2, 6, 5), ONES)(random(1, 5, 5)),
        ShapeError,
        "image has axes (5, 5) after the batch but the operator maps (6, 5) (lead, spatial)",
    ),
    "image batch": (
        lambda: SENSE(unit_maps(2, 2, 6, 5), ONES).normal(random(3, 6, 5)),
        ShapeError,
        "image has 3 samples (axis 0) but the operator has 2",
    ),
    "image sets": (
        lambda: SENSE(unit_maps(1, 2, 2, 6, 5), ONES, sets=2).normal(random(1, 6, 5)),
        ShapeError,
        "operator maps (2, 6, 5) (set, lead, spatial)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_message_names_the_axis_and_the_remedy(case):
    build, error, message = BAD[case]
    with pytest.raises(error, match=re.escape(message)):
        build()


def test_maps_and_mask_without_frames_serve_any_number_of_them():
    maps, mask = unit_maps(1, 3, 1, 6, 5), random_mask(1, 1, 6, 5)
    shared, spelt_out = SENSE(maps, mask), SENSE(maps, mask.expand(1, 4, 6, 5))
    x, y = random(1, 4, 6, 5), random(1, 3, 4, 6, 5)
    torch.testing.assert_close(shared(x), spelt_out(x))
    torch.testing.assert_close(shared.adjoint(y), spelt_out.adjoint(y))
    torch.testing.assert_close(shared.normal(x), spelt_out.normal(x))


@variants
def test_gradient_is_that_of_the_data_term(setting, batch, options):
    A = setting.operator(batch, **options)
    x, y = random(batch, *setting.image), setting.kspace(batch)
    torch.testing.assert_close(A.gradient(x, y), A.normal(x) - A.adjoint(y), rtol=0, atol=1e-12)
    torch.testing.assert_close(A.gradient(x, y), LinearOperator.gradient(A, x, y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mask", [(6, 5), *MASKS_1D[:2]])
def test_preconditioner_is_the_diagonal_in_k_space_with_the_mean_of_the_ends_of_the_spectrum(mask):
    A, lam, shift = PLANE.operator(mask=random_mask(1, *mask).expand(1, 6, 5)), 50.0, 0.5
    axes = [axis for axis, size in zip((-2, -1), mask, strict=True) if size > 1]

    def transform(x):
        return torch.fft.fftn(x, dim=axes, norm="ortho")

    F = dense(transform, (6, 5))
    diagonal = (F @ dense(A.normal, (6, 5)) @ F.mH).diagonal().real
    expected = F.mH @ (1 / ((shift * (shift + lam)) ** 0.5 + lam * diagonal) * F.mT).mT
    found = dense(A.preconditioner(shift, torch.tensor([lam]).double()), (6, 5))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("setting", [*SETTINGS, TWO_SETS_DYNAMIC], ids=lambda s: s.name)
def test_preconditioner_is_hermitian_and_positive_for_every_geometry(setting):
    A, lam = setting.operator(2), torch.tensor([3.0, 300.0]).double()
    P = A.preconditioner(1.0, lam)
    for i in range(2):
        one = A.select(torch.tensor([i])).preconditioner(1.0, lam[i : i + 1])
        matrix = dense(one, setting.image)
        torch.testing.assert_close(matrix, matrix.mH, rtol=0, atol=1e-13)
        assert torch.linalg.eigvalsh(matrix)[0] > 0
        x = random(2, *setting.image)
        torch.testing.assert_close(P(x)[i : i + 1], one(x[i : i + 1]), rtol=0, atol=1e-13)


def test_preconditioner_takes_no_notice_of_the_scale_of_the_maps():
    A, lam, x = PLANE.operator(), torch.tensor([50.0]).double(), random(1, 6, 5)
    B = SENSE(64 * A.maps, A.mask)
    torch.testing.assert_close(B.preconditioner(1.0, lam / 64**2)(x), A.preconditioner(1.0, lam)(x))


@pytest.mark.parametrize("setting", [*SETTINGS, TWO_SETS_DYNAMIC], ids=lambda s: s.name)
def test_weighted_operator_is_that_of_weighted_measurements(setting):
    A = setting.operator(2)
    w = 0.1 + 0.9 * torch.rand(2, *A.frequency.shape[1:], dtype=torch.float64)
    B = A.weighted(w)
    x, y = random(2, *setting.image), setting.kspace(2)
    torch.testing.assert_close(B(x), w * A(x))
    torch.testing.assert_close(B.adjoint(y), A.adjoint(w * y))
    torch.testing.assert_close(B.normal(x), A.adjoint(w**2 * A(x)))
    torch.testing.assert_close(B.gradient(x, y), A.adjoint(w * (w * A(x) - y)))
    lead = [slice(None)] * (A.mask.ndim - A.ndim)
    mask = (A.mask * w)[tuple(lead)].squeeze(1)
    anew, lam = setting.operator(2, mask=mask), torch.tensor([3.0, 300.0]).double()
    torch.testing.assert_close(B.preconditioner(1.0, lam)(x), anew.preconditioner(1.0, lam)(x))
    torch.testing.assert_close(B.norm_bound, anew.norm_bound)
    assert A.mask.amax() == 1, "the operator itself is as it was"


@pytest.mark.parametrize("mask", [(6, 5), (6, 1), (1, 5)])
def test_frequency_counts_the_axes_along_which_samples_are_missing(mask):
    A = PLANE.operator(mask=random_mask(1, *mask).expand(1, 6, 5))
    y, x = torch.meshgrid((torch.arange(6) - 3) / 3, (torch.arange(5) - 2) / 2.5, indexing="ij")
    expected = ((mask[0] > 1) * y**2 + (mask[1] > 1) * x**2).sqrt()
    assert A.frequency.shape == (1, 1, *mask)
    torch.testing.assert_close(A.frequency.expand(1, 1, 6, 5)[0, 0], expected, check_dtype=False)


def test_operators_without_frequencies_weight_nothing():
    A = Sampling(random_mask(1, 6, 5)) @ PLANE.operator()
    assert A.frequency is None
    with pytest.raises(NotImplementedError, match="frequencies"):
        A.weighted(torch.ones(1, 1, 6, 5))


def test_full_sampling_needs_no_preconditioner():
    assert PLANE.operator(mask=torch.ones(1, 6, 5)).preconditioner(1.0, torch.ones(1)) is None


@pytest.mark.parametrize("shape", [(1, 1), (6, 1), (1, 5)])
def test_mask_that_is_learned_has_the_gradient_of_the_operator_where_its_values_are_constant(shape):
    maps, x = PLANE.random_maps().to(torch.complex128), random(1, 6, 5)
    values, slopes = 0.2 + 0.6 * torch.rand(shape, dtype=torch.float64), []
    for product in (lambda A: A.normal(x), lambda A: A.adjoint(A(x))):
        mask = values.expand(6, 5).clone().requires_grad_()
        slopes += torch.autograd.grad(product(SENSE(maps, mask)).abs().square().sum(), mask)
    torch.testing.assert_close(*slopes)


def test_adjoint_has_the_magnitude_of_the_operator_and_measures_what_an_elementwise_one_does():
    A = SENSE(1024 * PLANE.random_maps(), random_mask(1, 6, 5))
    assert float(A.H.magnitude) == float(A.magnitude)
    assert float((A.H @ A).magnitude) == float(A.magnitude) ** 2
    S, y = Sampling(random_mask(1, 6, 5)), random(1, 6, 5)
    assert S.H.measured(y).equal(S.measured(y)) and not S.measured(y).equal(y)
