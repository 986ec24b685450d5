import math

import pytest

from resolvent.evaluate.tuning import FACTOR, REACH, climb


@pytest.mark.parametrize("top", [0.01, 0.9, 1.0, 40.0])
def test_the_best_weight_of_the_grid_is_found_from_either_side(top):
    tried = []

    def score(weight):
        tried.append(weight)
        return -abs(math.log(weight / top))

    found = climb(score, 1.0)
    assert abs(math.log2(found / top)) <= 0.5 + 1e-9
    assert len(tried) == len(set(tried))  # no weight is tried twice


def test_a_score_without_a_top_ends_the_climb():
    assert climb(lambda weight: weight, 1.0) == FACTOR**REACH
    assert climb(lambda weight: -weight, 1.0) == FACTOR**-REACH
    assert climb(lambda weight: 0.0, 5.0) == 5.0
