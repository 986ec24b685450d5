"""The benchmarks run, on a tiny scan: that they measure what they say, and that they do not rot."""

from collections import Counter

import torch
from benchmarks import accuracy, published, scaling, training
from benchmarks.problem import PUBLISHED, make_case, model

CPU = torch.device("cpu")


def rows(text):
    """The cells of all tables, by the first one of a row."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines if not set(cells[0]) <= {"-"}}


def test_published_iteration_reaches_the_solution_with_many_times_the_work():
    table = accuracy.measure(CPU, (16,), 2, (3e-2,))
    solvers = {line.split(" | ")[1]: line.split(" | ") for line in table.splitlines() if "published arch" in line}
    ours, theirs = (int(solvers[name][3]) for name in ("resolvent", "published iteration"))
    assert 0 < 5 * ours < theirs


def test_published_step_has_one_image_on_both_operators_and_with_enough_steps_nearly_the_gradient():
    case, mol = make_case(16, 2, CPU), model(PUBLISHED, CPU)
    exact, images = training.exact_gradient(mol, case), []
    for form in accuracy.FORMS.values():
        images.append(training.published_image(mol, case, 400, form))
        found = training.gradient(mol, lambda: images[-1], case)
        assert float((found - exact).norm() / exact.norm()) < 0.2
    one, other = (image.detach() for image in images)
    assert float((one - other).norm() / other.norm()) < 1e-5


def test_training_step_keeps_the_same_after_two_steps_as_after_eight():
    case, mol = make_case(8, 2, CPU), model(PUBLISHED, CPU)
    kept = []
    for steps in (2, 8):
        long = training.with_steps(mol, steps)
        kept.append(training.saved_bytes(long, lambda long=long: long(case.y, case.A, case.noise)))
    assert kept[0] == kept[1] > 0


def test_all_training_steps_are_timed_alike(monkeypatch):
    gradient, taken = training.gradient, Counter()
    monkeypatch.setattr(training, "gradient", lambda w, image, case: taken.update([image]) or gradient(w, image, case))
    monkeypatch.setattr(published, "TRAINING_STEPS", (2, 3))
    monkeypatch.setattr(training, "TIMES", 1)
    table = rows(training.measure(CPU, 8, 2))
    # the exact one; MoDL-10 three times, others once more for their error; before each of these three the first
    assert len(table) == 1 + 6 and sorted(taken.values()) == [1, 3, 4, 4, 4, 4, 16]


def test_hard_neighbour_changes_nothing_of_the_image_beside_it():
    text = scaling.measure(CPU, (16,), (1, 2), 16, 2)
    table = rows(text)
    assert table["alone"][0] == table["both in a batch"][0].split(", ")[0]
    assert float(text.split()[-1].rstrip(".")) <= 1e-6
