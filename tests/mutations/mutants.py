"""Faults put into a copy of the source, one at a time: for each, at least one test must fail.

``python tests/mutations/mutants.py [NAME ...]`` runs all of them, or those named, and exits with 1 if one survives.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 300


@dataclass(frozen=True)
class Mutant:
    """A fault: in `file`, each text of `changes` becomes another; and the tests that should notice.

    Attributes:
        name: what is broken.
        file: relative to the package.
        changes: pairs of old and new text; the old one must occur exactly once.
        tests: arguments of pytest, files below tests/ and -k.
    """

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


SENSE_TESTS = ("linop/test_sense.py",)
CG_TESTS = ("solve/test_cg.py",)
FIXED_POINT_TESTS = ("solve/test_fixed_point.py",)
CERTIFICATE_TESTS = ("theory/test_certificates.py",)
GRADIENT_TESTS = ("theory/test_gradients.py",)
SCORE_TESTS = ("monotone",)

FIVE = (
    Mutant(
        "adjoint without the mask",
        "linop/sense.py",
        (
            (
                "decode = self.encode.conj()",
                "p, c = centring_phase(self.spatial, like=self.encode); decode = p.conj() * c.conjugate()",
            ),
        ),
        ("linop/test_sense.py", "-k", "adjoint"),
    ),
    Mutant(
        "coils combined without conjugation",
        "linop/sense.py",
        (
            ("coil_images(coils).conj_physical_()", "coil_images(coils)"),
            ("return total.conj_physical()", "return total"),
        ),
        ("linop/test_sense.py", "-k", "adjoint"),
    ),
    Mutant(
        "k-space not centred",
        "linop/sense.py",
        (('"encode", constant * phase * mask', '"encode", constant * phase / phase * mask'),),
        ("linop/test_sense.py", "-k", "textbook"),
    ),
    Mutant(
        "ridge forgotten",
        "monotone/operator.py",
        (("(1 + self.ridge) * x - self.H(x)", "x - self.H(x)"),),
        ("theory/test_identities.py", "-k", "ridge_adds"),
    ),
    Mutant(
        "adjoint equation with the wrong sign",
        "solve/implicit.py",
        (("return -ctx.solve(v), None, None", "return ctx.solve(v), None, None"),),
        ("solve/test_implicit.py",),
    ),
)

MUTANTS = (
    *FIVE,
    # ---- physics
    Mutant(
        "image not centred",
        "linop/sense.py",
        (('"weighted_maps", maps * phase', '"weighted_maps", maps * 1.0'),),
        SENSE_TESTS,
    ),
    Mutant("mask not squared in normal", "linop/sense.py", (('"power", mask * mask', '"power", mask'),), SENSE_TESTS),
    Mutant(
        "transforms skipped along the wrong axes",
        "linop/fourier.py",
        (("if bool((mask != mask.narrow", "if not bool((mask != mask.narrow"),),
        SENSE_TESTS,
    ),
    Mutant(
        "transforms skipped for a mask that is learned",
        "linop/sense.py",
        (("every if mask.requires_grad else varying(mask, ndim)", "varying(mask, ndim)"),),
        SENSE_TESTS,
    ),
    Mutant(
        "norm bound from the smallest eigenvalue",
        "linop/sense.py",
        (("(gram)[..., -1]", "(gram)[..., 0]"),),
        SENSE_TESTS,
    ),
    Mutant(
        "first chunk of coils only",
        "linop/sense.py",
        (("range(0, self.n_coils, self.coil_chunk)", "range(0, self.coil_chunk, self.coil_chunk)"),),
        SENSE_TESTS,
    ),
    Mutant(
        "selection ignored", "linop/base.py", (("t if t.shape[0] == 1 else t[index]", "t[: len(index)]"),), SENSE_TESTS
    ),
    Mutant("centre at (N - 1) // 2", "linop/fourier.py", (("h = size // 2", "h = (size - 1) // 2"),), ("linop",)),
    # ---- numerics
    Mutant(
        "inner product without conjugation",
        "solve/vectors.py",
        (("a, b = as_real(a), as_real(b)", "a, b = as_real(a.conj()), as_real(b)"),),
        CG_TESTS,
    ),
    Mutant(
        "absolute tolerance",
        "solve/cg.py",
        (("torch.where(solvable, scale, torch.ones_like(scale))", "torch.ones_like(scale)"),),
        CG_TESTS,
    ),
    Mutant("tolerance not squared", "solve/cg.py", (("error <= tol**2 *", "error <= tol *"),), CG_TESTS),
    Mutant(
        "samples stop together",
        "solve/cg.py",
        (("running = sound & ~done()", "running = sound & ~done().all()"),),
        CG_TESTS,
    ),
    Mutant(
        "zero data keep the start",
        "solve/cg.py",
        (
            (
                "torch.where(along(scale == 0, b), torch.zeros_like(result), (result / unit).mul_(per))",
                "result / unit * per",
            ),
        ),
        CG_TESTS,
    ),
    Mutant("estimate not taken", "solve/cg.py", (("taken = torch.cat(", "torch.cat("),), CG_TESTS),
    Mutant(
        "estimate of one window only",
        "solve/cg.py",
        (("later * earlier / (earlier - later)", "later * later / earlier"),),
        CG_TESTS,
    ),
    Mutant("no conjugate directions", "solve/cg.py", (("p = p.mul_(along(d, b)).add_(z)", "p = z.clone()"),), CG_TESTS),
    Mutant(
        "breakdown unnoticed",
        "solve/cg.py",
        (("sound = (curvature > 0)", "sound = (curvature != 12345.0)"),),
        CG_TESTS,
    ),
    Mutant("blow-up unnoticed", "solve/cg.py", ((" & (rz <= limit)", ""),), CG_TESTS),
    Mutant(
        "units of the matrix not removed",
        "solve/cg.py",
        (("per = 2.0 ** round(math.log2(smallest)) if smallest else 1.0", "per = 1.0"),),
        CG_TESTS,
    ),
    Mutant(
        "safeguard off",
        "solve/fixed_point.py",
        (("good = finite & (must_accept | (length <= demand * accepted))", "good = finite"),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "length of the step taken for the distance",
        "solve/fixed_point.py",
        (("return q * (1 + d) / (1 - q) + d", "return 1.0"),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "error of the step forgotten",
        "solve/fixed_point.py",
        (("return q * (1 + d) / (1 - q) + d", "return q / (1 - q)"),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "finished samples go on",
        "solve/fixed_point.py",
        (("running = ~(finished | hopeless)", "running = ~(finished | hopeless).all().expand_as(finished)"),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "divergence beyond all numbers called convergence",
        "solve/fixed_point.py",
        ((" & torch.isfinite(norm(image))", ""),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "divergence unnoticed",
        "solve/fixed_point.py",
        (("hopeless = ~finite & must_accept", "hopeless = finite & ~finite"),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "Anderson without the points",
        "solve/anderson.py",
        (("((x - old) / scale.unsqueeze(1) + d)", "d"),),
        FIXED_POINT_TESTS,
    ),
    Mutant(
        "Anderson with units",
        "solve/anderson.py",
        (("d.div_(scale.unsqueeze(1))", "d"), ("(x - old) / scale.unsqueeze(1)", "(x - old)")),
        FIXED_POINT_TESTS,
    ),
    # ---- networks
    Mutant(
        "kernel not normalised",
        "monotone/layers.py",
        (("self.weight / (bound * _ROUNDING)", "self.weight / (0 * bound + 1)"),),
        SCORE_TESTS,
    ),
    Mutant(
        "stale kernel",
        "monotone/layers.py",
        (("not _same(self._cached[0], self.weight)", "self._cached[0].dtype != self.weight.dtype"),),
        SCORE_TESTS,
    ),
    Mutant(
        "bound without Riesz's factor",
        "monotone/convnorm.py",
        (("return (s[0] * above)", "return (s[0] * 1.0)"),),
        SCORE_TESTS,
    ),
    Mutant(
        "symbol's gradient with the wrong phase",
        "monotone/convnorm.py",
        (("torch.exp(-2j * math.pi * turns", "torch.exp(2j * math.pi * turns"),),
        SCORE_TESTS,
    ),
    Mutant(
        "kernel not flipped", "monotone/convolution.py", ((".flip(tuple(range(2, weight.ndim)))", ""),), SCORE_TESTS
    ),
    Mutant(
        "strips without the rows above",
        "monotone/convolution.py",
        (("_window(x[some], 2, first - half, end + half)", "_window(x[some], 2, first, end + 2 * half)"),),
        ("monotone/test_convolution.py",),
    ),
    Mutant(
        "gates beyond one", "monotone/conditioned.py", (("torch.sigmoid(conv(", "torch.exp(1 + conv("),), SCORE_TESTS
    ),
    Mutant(
        "margin forgotten",
        "monotone/conditioned.py",
        (("(1 - self.margin) * from_channels(residual_layers(d, layers)", "from_channels(residual_layers(d, layers)"),),
        SCORE_TESTS,
    ),
    Mutant(
        "anchor forgotten",
        "monotone/conditioned.py",
        (
            (
                "d = to_channels(x - anchor, self.ndim)\n        return",
                "d = to_channels(x, self.ndim)\n        return",
            ),
        ),
        SCORE_TESTS,
    ),
    Mutant(
        "residual layer overshoots",
        "monotone/strict.py",
        (("-2 * kernel", "-2.5 * kernel"),),
        SCORE_TESTS,
    ),
    Mutant(
        "estimate called a proof",
        "monotone/approximate.py",
        (('Bound(self.margin, "estimated")', 'Bound(self.margin, "proved")'),),
        SCORE_TESTS,
    ),
    Mutant(
        "ridge without 1 - m",
        "monotone/ridge.py",
        (("gain * from_channels(residual_layers", "from_channels(residual_layers"),),
        ("monotone/test_scores.py", "-k", "ConvexRidge or convex_ridge"),
    ),
    Mutant(
        "gates of the ridge forgotten",
        "monotone/conditioned.py",
        (("gate * spline(z", "spline(z"),),
        ("monotone/test_scores.py", "-k", "conditioned_ridge_is_its_formula"),
    ),
    Mutant(
        "slopes of a spline beyond one",
        "monotone/splines.py",
        (("self.logits.sigmoid().T", "self.logits.exp().T"),),
        ("monotone/test_splines.py",),
    ),
    Mutant(
        "spline not zero at zero",
        "monotone/splines.py",
        (("t.clamp(below, above) - at_zero", "t.clamp(below, above)"),),
        ("monotone/test_splines.py",),
    ),
    Mutant(
        "certified stack without 1 - m",
        "monotone/certified.py",
        (("(1 - self.margin) * from_channels", "from_channels"),),
        ("monotone/test_scores.py", "-k", "CertifiedStack or certified_stack"),
    ),
    Mutant(
        "emphasis not in the bound of the conditioning",
        "monotone/certified.py",
        (("if inside else 1 + a", "if not k else 1 + a"),),
        ("theory/test_conditioning.py", "-k", "moves_by_at_most_k and sharp"),
    ),
    Mutant(
        "earlier passes not in the bound of the conditioning",
        "monotone/certified.py",
        (("(moved + math.sqrt(moved**2 + lam)) / 2", "math.sqrt(lam) / 2"),),
        ("theory/test_conditioning.py", "-k", "moves_by_at_most_k and sharp"),
    ),
    Mutant(
        "one trunk where each pass has its own",
        "monotone/certified.py",
        (("trunks[done % self.trunks]", "trunks[0]"),),
        ("monotone/test_scores.py", "-k", "certified_stack_is_its_formula"),
    ),
    Mutant(
        "holes of the kernels not in the radius",
        "monotone/layers.py",
        (("dilation(i, dilations) * (kernel", "(kernel"),),
        ("monotone/test_scores.py", "-k", "as_far_as_its_radius"),
    ),
    Mutant(
        "factor of the powers left out of the norm",
        "monotone/convnorm.py",
        (("above = short / math", "above = 1 / math"),),
        ("monotone/test_convnorm.py", "-k", "norm_by_powers"),
    ),
    Mutant(
        "frequencies eliminated that are almost the worst",
        "monotone/convnorm.py",
        (("(top * torch.eye", "(1.01 * top * torch.eye"),),
        ("monotone/test_convnorm.py", "-k", "elimination"),
    ),
    # ---- the equation, its gradient and its certificate
    Mutant(
        "lam forgotten",
        "mol/equation.py",
        (("return along(self.lam, x) * self.A.gradient(x, self.y)", "return self.A.gradient(x, self.y)"),),
        ("theory/test_identities.py",),
    ),
    Mutant(
        "smallest eigenvalue of the linear solve overstated",
        "mol/equation.py",
        (("smallest=shift,", "smallest=1e4 * shift,"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "ridge not in the constants",
        "mol/model.py",
        (("Bound(self.score.c.value + self.ridge", "Bound(self.score.c.value"),),
        ("theory",),
    ),
    Mutant(
        "adjoint equation's data with the wrong sign",
        "mol/equation.py",
        (("vector_jacobian(w) - v", "vector_jacobian(w) + v"),),
        GRADIENT_TESTS,
    ),
    Mutant(
        "no gradient through the linear solve",
        "mol/equation.py",
        (("    return implicit(x, lambda x: matrix(A, lam)(x) - rhs, lambda _, v: solve(v))", "    return x"),),
        GRADIENT_TESTS,
    ),
    Mutant(
        "scale without its gradient",
        "mol/units.py",
        (("scale = intensity(sense)", "scale = intensity(sense).detach()"),),
        GRADIENT_TESTS,
    ),
    Mutant(
        "energy bound divided by m",
        "mol/certificate.py",
        (("(weighted.clamp_min(0) / m).sqrt()", "weighted.clamp_min(0).sqrt() / m"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "energy bound without m",
        "mol/certificate.py",
        (("(weighted.clamp_min(0) / m).sqrt()", "weighted.clamp_min(0).sqrt()"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "step bound without 1 - q",
        "mol/certificate.py",
        (("(norm(p) + norm(e) / c) / (1 - exact.contraction)", "(norm(p) + norm(e) / c)"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "data gain halved",
        "mol/certificate.py",
        (("(conditioning**2 + m * lam).sqrt()) / (2 * m)", "(conditioning**2 + m * lam).sqrt()) / (4 * m)"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "data gain without the norm of A",
        "mol/certificate.py",
        (("(lam * norm_bound + conditioning) / m", "(lam * norm_bound + conditioning)"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "conditioning not in the data gain",
        "mol/certificate.py",
        (("(conditioning + (conditioning**2 + m * lam).sqrt())", "(m * lam).sqrt()"),),
        ("theory/test_conditioning.py", "-k", "attained"),
    ),
    Mutant(
        "proved gain with the conditioning held",
        "mol/model.py",
        (('if self.tier == "all-data" else 0.0', "if not self.tier else 0.0"),),
        ("theory/test_conditioning.py", "-k", "solution_moves and sharp"),
    ),
    Mutant(
        "length of the adjoint step taken for its error",
        "mol/equation.py",
        (("distance = reach(q, INNER) *", "distance = INNER *"),),
        ("theory/test_gradients.py", "-k", "adjoint_error"),
    ),
    Mutant(
        "NaN certified",
        "mol/certificate.py",
        (("torch.where(norm(g) == 0, 0.0, torch.inf)", "torch.where(norm(g) > 0, torch.inf, 0.0)"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "proof of an equation that is not monotone",
        "mol/certificate.py",
        (("torch.isfinite(distances) & (m > 0)", "torch.isfinite(distances) & (m == m)"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "what an image loses below its range left out",
        "mol/certificate.py",
        (("torch.where(lost > 0, lost / norm(image), 0.0)", "torch.zeros_like(lost)"),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "frames of a series told from each other by nobody",
        "linop/sense.py",
        (("return y.movedim(1, -1 - self.ndim).flatten(-1 - self.ndim)", "return y.flatten(1)"),),
        ("mol/test_fit.py",),
    ),
    Mutant(
        "frame without samples taken for an explained one",
        "mol/fit.py",
        (("if bool((self.size == 0).any()):", "if bool((self.size < 0).any()):"),),
        ("mol/test_fit.py",),
    ),
    Mutant(
        "operators within others double by their buffers alone",
        "linop/base.py",
        (("lambda part: part.to_double()", "lambda part: part._map(doubled, lambda one: one)"),),
        ("linop/test_noncartesian.py",),
    ),
    Mutant(
        "training with the maps of the full scan",
        "train/draws.py",
        (("drawn = [scan.entry(", "drawn = [scan.replace(coil_maps=scan.maps).entry("),),
        ("train/test_datamodule.py",),
    ),
    Mutant(
        "averages that cancel not told",
        "data/io/lines.py",
        (("if agreed < AGREED:", "if agreed < 0:"),),
        ("data/io/test_mrd.py", "-k", "average"),
    ),
    Mutant(
        "conditioned gain called proved",
        "mol/certificate.py",
        (('"per-scan": "conditioning held"', '"per-scan": "proved"'),),
        CERTIFICATE_TESTS,
    ),
    Mutant(
        "what was not measured counts as unexplained",
        "linop/sense.py",
        (("return (self.power != 0) * y", "return y"),),
        ("mol/test_fit.py",),
    ),
    Mutant(
        "planes of a volume across one axis only",
        "monotone/planes.py",
        (("return x.movedim(axis - 3, -3)", "return x"),),
        ("monotone/test_certified_planes.py",),
    ),
    Mutant(
        "an anchor for the planes across each axis",
        "monotone/planes.py",
        (("_planes(anchor, axis), features[axis]", "_planes(x, axis), features[axis]"),),
        ("monotone/test_certified_planes.py",),
    ),
    Mutant(
        "the common image of a series not in the bound of the conditioning",
        "monotone/planes.py",
        (("stack.bound(lam, stack.passes + 1)", "stack.bound(lam, stack.passes)"),),
        ("monotone/test_certified_planes.py",),
    ),
    Mutant(
        "one image for all frames that is theirs summed",
        "linop/imaging.py",
        (("y.sum(-3, keepdim=True) / math.sqrt(self.frames)", "y.sum(-3, keepdim=True)"),),
        ("linop/test_imaging.py",),
    ),
    Mutant(
        "unrolled network that forgets the pixels that nothing sees",
        "mol/baselines/unrolled.py",
        (("scan.seen(H(x)) + scan.data", "H(x) + scan.data"),),
        ("mol/test_baselines.py", "-k", "strict"),
    ),
    Mutant(
        "noise level of the data in a gain for all data",
        "mol/model.py",
        (('noise if self.tier == "all-data" else level', "level"),),
        ("theory/test_conditioning.py", "-k", "same_equation and Planes"),
    ),
    Mutant(
        "image in the units of the network",
        "mol/model.py",
        (("image = along(scale, solution.x) * solution.x", "image = solution.x"),),
        ("mol/test_model.py",),
    ),
    Mutant(
        "misfit that takes no part in lam",
        "mol/units.py",
        (("torch.hypot(along(sigma, level), level)", "along(sigma, level).expand_as(level)"),),
        ("mol/test_evidence.py",),
    ),
    Mutant(
        "samples that are worth the same in all of k-space",
        "mol/units.py",
        (("worth = (each / along(lam, each)).sqrt()", "worth = torch.ones_like(each)"),),
        ("mol/test_evidence.py", "-k", "weighted"),
    ),
    Mutant(
        "preconditioner of a weighted operator that has the density of all samples",
        "linop/sense.py",
        (('        new._buffers["diagonal"] = density', "        density"),),
        ("linop/test_sense.py", "-k", "weighted"),
    ),
    Mutant(
        "attack that holds the equation and forgets the weights of its samples",
        "mol/equation.py",
        (("y=y if self.worth is None else self.worth * y", "y=y"),),
        ("mol/test_evidence.py", "-k", "other_measurements"),
    ),
    Mutant(
        "misfit that is small where few samples are, whatever is wrong",
        "mol/evidence.py",
        (
            (
                "level = level / left(white, A.adjoint(white)).masked_fill(samples == 0, 1)",
                "level = level + 0 * white.abs().sum()",
            ),
        ),
        ("mol/test_evidence.py", "-k", "white_noise"),
    ),
    Mutant(
        "misfit whose squares leave single precision",
        "mol/evidence.py",
        (("((A(x) - y).abs() / size)", "(A(x) - y).abs()"), ("size * level.sqrt()", "level.sqrt()")),
        ("mol/test_evidence.py", "-k", "scales"),
    ),
    Mutant(
        "what stands beside the samples of another library's operator",
        "interop/foreign.py",
        (("        return self.reached[rows].to(y.device) * y\n", "        return y + 0 * there\n"),),
        ("interop/test_linops.py",),
    ),
    Mutant(
        "the scan of the example reconstructed again",
        "evaluate/study.py",
        (("if spec.about == shown else None", "if not shown else None"),),
        ("evaluate/test_study.py", "-k", "again"),
    ),
    Mutant(
        "noise in the units of the data",
        "mol/units.py",
        (("level = sigma / magnitude / scale", "level = sigma / magnitude"),),
        ("mol/test_model.py",),
    ),
    # ---- baselines
    Mutant(
        "dual image with the wrong sign",
        "mol/baselines/unrolled.py",
        (("u = u + rate * (x - z)", "u = u + rate * (z - x)"),),
        ("mol/test_baselines.py", "-k", "formula"),
    ),
    Mutant(
        "adjoint of a deep equilibrium that is none",
        "mol/baselines/equilibrium.py",
        (("w - step * (vector_jacobian(w) - v)", "w - step * (w - v)"),),
        ("mol/test_baselines.py", "-k", "finite"),
    ),
    Mutant(
        "dual step of total variation too long",
        "mol/baselines/variational.py",
        (("(4 * ndim * t)", "t"),),
        ("mol/test_variational.py", "-k", "minimum"),
    ),
    Mutant(
        "shift of a wavelet step not undone",
        "mol/baselines/variational.py",
        ((".roll([-n for n in shift], axes)", ""),),
        ("mol/test_variational.py", "-k", "threshold"),
    ),
    # ---- files
    Mutant(
        "hash not compared",
        "mol/weights.py",
        (('if digest != description.get("sha256"):', "if not digest:"),),
        ("mol/test_weights.py",),
    ),
    Mutant(
        "claims believed", "mol/weights.py", (("if claimed != actual:", "if not actual:"),), ("mol/test_weights.py",)
    ),
    Mutant(
        "weights that are not finite",
        "mol/weights.py",
        (("if not all(bool(torch.isfinite(t).all())", "if not all(True or bool(torch.isfinite(t).all())"),),
        ("mol/test_weights.py",),
    ),
    Mutant(
        "pickles trusted",
        "mol/checkpoint.py",
        (("weights_only=True", "weights_only=False"),),
        ("mol/test_checkpoint.py",),
    ),
    Mutant(
        "negative lam converted",
        "mol/checkpoint.py",
        (("    if not lam > 0:", "    if lam == 0:"),),
        ("mol/test_checkpoint.py",),
    ),
    Mutant(
        "Lanczos without reorthogonalisation",
        "solve/spectrum.py",
        (("for _ in range(2):", "for _ in range(0):"),),
        ("solve/test_spectrum.py",),
    ),
    Mutant(
        "slope of the Jacobian, not of its symmetric part",
        "mol/monotonicity.py",
        (("return (forward + transposed) / 2", "return transposed"),),
        ("mol/test_monotonicity.py",),
    ),
    Mutant(
        "tangent of the barrier with another slope",
        "monotone/estimates.py",
        (("(e - slack) / e)", "(e - slack))"),),
        ("monotone/test_estimates.py",),
    ),
    Mutant(
        "last point of a search for the worst",
        "monotone/estimates.py",
        (("best = torch.where(better, quotient, best)", "best = quotient"),),
        ("monotone/test_estimates.py",),
    ),
    Mutant(
        "ascent off the sphere",
        "mol/ascent.py",
        (("        gradient = gradient - along(inner(gradient, u), u) * u\n", ""),),
        ("mol/test_attack.py", "-k", "singular"),
    ),
    Mutant(
        "attack of samples that were not measured",
        "mol/worst_case.py",
        (("noise = noise.to(sampled.device, dtype) * sampled", "noise = noise.to(sampled.device, dtype)"),),
        ("mol/test_attack.py", "-k", "lives_on"),
    ),
    Mutant(
        "gain measured with the loose solves of the search",
        "mol/worst_case.py",
        (("_Target(reconstruct, measure or reconstruct, y", "_Target(reconstruct, reconstruct, y"),),
        ("mol/test_attack.py", "-k", "accurately"),
    ),
    Mutant(
        "held attack of the clean data",
        "mol/targets.py",
        (("equation = equation.of(y / along(scale, y))", "equation = replace(equation)"),),
        ("mol/test_attack.py", "-k", "held"),
    ),
    Mutant(
        "lam that depends on the scale of the coil maps",
        "mol/units.py",
        (("return lam.exp() / along(magnitude**2, noise)", "return lam.exp()"),),
        ("mol/test_model.py", "-k", "any_scale"),
    ),
    Mutant(
        "record of another image on a page",
        "cli/view.py",
        (('if found.get("output_sha256") == sha256(image) else None', "if found else None"),),
        ("cli/test_report_command.py", "-k", "another_image"),
    ),
    Mutant(
        "gradient of a batch with a sample of zeros",
        "mol/model.py",
        (("        check_signal(y)\n        equation, scale", "        equation, scale"),),
        ("mol/test_model.py", "-k", "zeros"),
    ),
    Mutant(
        "operator cast to real numbers in place",
        "linop/base.py",
        (("dtype != t.dtype", "dtype == t"),),
        ("linop/test_sense.py", "-k", "precision"),
    ),
    Mutant(
        "norm bound that forgets how phases were rounded",
        "linop/sense.py",
        (("torch.maximum(encode.square(), self.power.detach())", "self.power.detach().double()"),),
        ("linop/test_sense.py", "-k", "rounded"),
    ),
    Mutant(
        "volume and series of maps taken for one another",
        "linop/sense.py",
        (("if any(length > 1 for length in maps.shape[first:-2]):", "if False:"),),
        ("linop/test_sense.py", "-k", "read_off"),
    ),
)


def survives(mutant: Mutant) -> str:
    """Why the mutant lives, or nothing: a test failed, as it should."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "resolvent"
        shutil.copytree(ROOT / "src" / "resolvent", package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / mutant.file
        source = path.read_text(encoding="utf-8")
        for old, new in mutant.changes:
            if source.count(old) != 1:
                return f"{mutant.file} holds {source.count(old)} times: {old!r}; bring the mutant up to date"
            source = source.replace(old, new)
        path.write_text(source, encoding="utf-8")
        tests = [f"tests/{a}" if (ROOT / "tests" / a).exists() else a for a in mutant.tests]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return ""  # it hangs: noticed
        if done.returncode == 1 and " failed" in done.stdout:
            return ""
        return " ".join(done.stdout.split())[-200:] or f"pytest ended with {done.returncode}"


def main(names: list[str]) -> int:
    """Run the mutants named, or all; the number of survivors decides the exit code."""
    chosen = [m for m in MUTANTS if not names or m.name in names]
    alive = 0
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for mutant, reason in zip(chosen, pool.map(survives, chosen), strict=True):
            alive += bool(reason)
            print(f"{'SURVIVED' if reason else 'killed  '}  {mutant.name}{': ' + reason if reason else ''}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} mutants killed")
    return int(alive > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
