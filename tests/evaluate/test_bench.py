from collections import Counter

import pytest

from resolvent.evaluate.bench import Bench, Pace, Task
from resolvent.evaluate.methods import ZERO_FILLED
from resolvent.evaluate.scans import Files, Spec
from resolvent.evaluate.store import Store


@pytest.fixture
def specs(data, acquisition):
    return Files((str(data),), slices=1).specs(acquisition)


def test_a_task_is_done_once_and_its_row_says_what_it_depends_on(tmp_path, specs):
    done = []

    def work(case):
        done.append(case)
        return [{"value": 1.0}]

    task = Task("trial", ZERO_FILLED, specs[0], work, {"epsilon": 0.01})
    (row,) = Bench(Store(tmp_path / "rows"), {"seed": 0, "version": "1"}, lambda text: None).do([task])
    again = Bench(Store(tmp_path / "rows"), {"seed": 0, "version": "1"}, lambda text: None).do([task])
    assert len(done) == 1
    assert again == [row]
    named = {"experiment": "trial", "method": "zero-filled", "data": "val.h5", "subject": "ada", "epsilon": 0.01}
    assert named.items() <= row.items()
    assert {"data_sha256", "scan_seed", "slice", "acceleration", "mask", "snr", "coils", "size", "seed"} <= row.keys()
    Bench(Store(tmp_path / "rows"), {"seed": 0, "version": "2"}, lambda text: None).do([task])
    assert len(done) == 2  # another version's results are not its own


def test_a_scan_is_made_once_for_all_methods(tmp_path, specs, monkeypatch):
    made = []
    make = Spec.make
    monkeypatch.setattr(Spec, "make", lambda spec: made.append(spec) or make(spec))
    tasks = [Task(str(n), ZERO_FILLED, spec, lambda case: [{}]) for spec in specs for n in range(3)]
    Bench(Store(tmp_path / "rows"), {}, lambda text: None).do(tasks)
    assert len(made) == len(specs)


def test_an_image_is_computed_once_and_kept(tmp_path, specs, monkeypatch):
    bench = Bench(Store(tmp_path / "rows"), {}, lambda text: None)
    image = bench.image(ZERO_FILLED, specs[0])
    monkeypatch.setattr(Spec, "make", lambda spec: 1 / 0)
    assert (Bench(Store(tmp_path / "rows"), {}, lambda text: None).image(ZERO_FILLED, specs[0]) == image).all()


def test_the_time_left_is_that_of_each_kind():
    pace = Pace(Counter({("fast", "a"): 3, ("slow", "a"): 2}))
    assert pace.remaining is None
    assert pace.text == "0 of 5 · "
    pace.took(("fast", "a"), 1.0)
    assert pace.remaining == pytest.approx(2 + 2)  # nothing is known of the slow ones yet
    pace.took(("slow", "a"), 100.0)
    assert pace.remaining == pytest.approx(2 + 100)
    assert pace.text == "2 of 5 · 1.19 a minute · 2 min left · "


def test_progress_is_said_before_each_task(tmp_path, specs):
    said = []
    tasks = [Task("trial", ZERO_FILLED, spec, lambda case: [{}]) for spec in specs]
    Bench(Store(tmp_path / "rows"), {}, said.append).do(tasks)
    assert said[0] == "0 of 2 · trial: zero-filled on ada/1, gaussian2d R = 3"
    assert said[1].startswith("1 of 2 · ")
