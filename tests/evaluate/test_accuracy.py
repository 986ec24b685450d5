import pytest
from scipy.stats import wilcoxon

from resolvent.data import metrics
from resolvent.evaluate import accuracy
from resolvent.evaluate.methods import ZERO_FILLED

SCAN = {"data": "a.h5", "data_sha256": "a", "acceleration": 4.0, "mask": "gaussian2d", "snr": 30.0, "coils": 8}
SCAN |= {"size": None, "tier": "none", "seed": 0, "version": "1", "commit": None, "weight": None}


def row(method, subject, psnr, ssim=0.9, **more):
    return {
        **SCAN,
        "method": method,
        "subject": subject,
        "psnr": psnr,
        "ssim": ssim,
        "nmse": 0.1,
        "seconds": 1.0,
        **more,
    }


def test_scores_are_those_of_the_package(case):
    (found,) = accuracy.measure(ZERO_FILLED, case)
    assert {**found, **metrics(case.reference, case.A.adjoint(case.y))} == found
    assert found["seconds"] > 0


def test_means_and_tests_are_over_subjects_and_not_over_their_slices():
    better = [31.0, 33.0, 35.0, 30.0, 32.0, 36.0]
    worse = [30.0, 31.0, 34.5, 29.9, 30.0, 33.0]
    rows = []
    for subject, (a, b) in enumerate(zip(better, worse, strict=True)):
        for shift in (-1.0, 1.0):  # two slices
            rows += [row("a", f"s{subject}", a + shift), row("b", f"s{subject}", b + shift)]
    first, second = accuracy.summarise(rows)
    assert (first["method"], first["subjects"], first["scans"]) == ("a", 6, 12)
    assert first["psnr"] == pytest.approx(sum(better) / 6, rel=1e-5)
    assert first["psnr_std"] == pytest.approx(2.31661, rel=1e-4)  # of the six means
    assert (first["best"], second["best"]) == (True, False)
    assert second["p"] == pytest.approx(wilcoxon(better, worse).pvalue, rel=1e-5) == pytest.approx(2 / 2**6)
    assert first["p"] is None


def test_the_best_may_differ_between_measures():
    rows = [row("a", s, 30.0 + k, 0.8) for k, s in enumerate("xyz")] + [
        row("b", s, 20.0 + k) for k, s in enumerate("xyz")
    ]
    a, b = accuracy.summarise(rows)
    assert (a["best"], a["best_ssim"]) == (True, False)
    assert (b["best"], b["best_ssim"]) == (False, True)
    assert a["p_ssim"] == pytest.approx(0.25)


def test_each_sampling_and_each_file_has_its_rows_and_all_files_have_theirs():
    other = {"data": "b.h5", "data_sha256": "b"}
    rows = [row("a", "s", 30.0), row("a", "s", 20.0, **other), row("a", "s", 28.0, acceleration=6.0)]
    found = [(r["data"], r["acceleration"], r["subjects"], r["psnr"]) for r in accuracy.summarise(rows)]
    assert found == [("a.h5", 4, 1, 30), ("a.h5", 6, 1, 28), ("b.h5", 4, 1, 20), ("all", 4, 2, 25), ("all", 6, 1, 28)]


def test_one_subject_has_neither_deviation_nor_test():
    a, b = accuracy.summarise([row("a", "s", 30.0), row("b", "s", 29.0)])
    assert a["psnr_std"] is None
    assert b["p"] is None


def test_solves_are_counted_and_the_worst_distance_is_reported():
    solve = {"converged": True, "evaluations": 6, "distance": 1e-4}
    rows = [row("a", "s", 30.0, **solve), row("a", "t", 30.0, **solve | {"converged": False, "distance": None})]
    (found,) = accuracy.summarise(rows)
    assert (found["converged"], found["evaluations"], found["distance"]) == (1, 6, None)
