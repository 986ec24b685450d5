"""The record in plain words: proved and estimated never mixed up, and nothing read that is not named."""

import pytest

from resolvent.report.curve import curve, ticks
from resolvent.report.words import certificate, percent, provenance, warnings

PROVED = {"proved": True, "tier": "per-scan", "m": 0.1, "distance": 4.2e-4, "data_gain": 6.59}
HELD = {**PROVED, "data_gain_kind": "conditioning held"}
ALL = {**PROVED, "tier": "all-data", "data_gain_kind": "proved"}
ESTIMATED = {**PROVED, "proved": False, "tier": "estimated", "data_gain_kind": "estimated"}
REFUSED = {**HELD, "proved": False, "distance": None}
NOISY = "Almost no signal was measured"


@pytest.mark.parametrize(
    ("of", "states"),
    [
        (ALL, ["proved", "proved", "proved"]),
        (HELD, ["proved", "proved", "held"]),
        (ESTIMATED, ["estimated", "estimated", "estimated"]),
        (REFUSED, ["proved", "refused", "held"]),
        ({}, ["refused", "refused", "refused"]),
        ({"tier": ["all-data"], "proved": True, "distance": 0.1}, ["refused", "estimated", "refused"]),
    ],
)
def test_every_statement_has_its_kind(of, states):
    found = certificate({"certificate": of})
    assert [one.state for one in found] == states
    for one in found:
        if one.state == "estimated":
            assert "not proved" in one.text.lower()


def test_the_distance_is_said_in_percent():
    _, distance, gain = certificate({"certificate": HELD})
    assert "at most 0.042 % of the image" in distance.text
    assert "at most 6.59 times" in gain.text
    assert "held: coil maps, units" in gain.text
    assert "with coil maps and units held" in certificate({"certificate": ALL})[-1].text


@pytest.mark.parametrize(
    ("ratio", "said"), [(3.1e-4, "0.031 %"), (0.035, "3.5 %"), (1.5, "150 %"), (1e-9, "1e-07 %"), (2.4e-6, "0.00024 %")]
)
def test_percent(ratio, said):
    assert percent(ratio) == said


def test_without_a_record_nothing_is_claimed():
    (only,) = certificate({})
    assert only.state == "refused"
    assert [head for head, _ in warnings({})] == ["No certificate"]


@pytest.mark.parametrize(
    ("record", "heads"),
    [
        ({"converged": True, "certificate": HELD}, []),
        ({"converged": False, "status": "not converged: because", "certificate": HELD}, ["Not converged"]),
        ({"converged": True, "certificate": ESTIMATED}, ["Nothing is proved"]),
        ({"converged": False, "status": "stopped", "certificate": REFUSED}, ["Not converged", "Certificate refused"]),
        (
            {"certificate": HELD, "fit": {"doubtful": True, "unexplained": [0.01, None, 0.37]}},
            ["The image is doubtful"],
        ),
        ({"certificate": HELD, "fit": {"doubtful": False, "unexplained": [0.01]}}, []),
        ({"certificate": HELD, "fit": {"doubtful": True, "doubts": {"noise": "a", "x": "b", "nothing": 3}}}, [NOISY]),
        (
            {"certificate": HELD, "fit": {"doubtful": True, "doubts": {"nothing": "a", "unexplained": "b"}}},
            ["The image does not explain the samples", "A part was not measured at all"],
        ),
    ],
)
def test_warnings(record, heads):
    assert [head for head, _ in warnings(record)] == heads


def test_a_doubt_is_said_as_it_was_written_down():
    fit = {"doubtful": True, "doubts": {"unexplained": "slice 2 of 2, frame 3 of 3: |A x - b| = 30 % of |b|"}}
    ((_, text),) = warnings({"certificate": HELD, "fit": fit})
    assert text.startswith("Slice 2 of 2, frame 3 of 3: |A x - b| = 30 % of |b|. The certificate does not")
    assert dict(provenance({"fit": {"unexplained": [[0.01, None], [0.3, 0.02]]}})) == {
        "Samples left unexplained, beyond noise": "30 %"
    }


def test_provenance_reads_only_what_it_names():
    record = {"PatientName": "DOE^JANE", "input": "a.h5", "lam": [2.0, 8.0], "model": {"name": "n", "owner": "DOE"}}
    record |= {
        "retrospective": {"acceleration": 4.0, "kind": "radial", "seed": 3, "by": "DOE"},
        "tol": True,
        "steps": "x",
    }
    found = dict(provenance(record))
    assert found == {
        "Input": "a.h5",
        "Model": "n",
        "Weight of the data, lam": "2 to 8",
        "Samples left out": "4-fold, radial, seed 3",
    }


def test_a_curve_is_drawn_from_its_first_to_its_last_value():
    drawn = curve([([1.0, 2.0, 3.0], [1.0, 0.1, 0.01])], "step")
    points = drawn.partition('points="')[2].partition('"')[0].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert heights == pytest.approx([12, 92, 172], abs=0.06), "decades are equally far apart"
    assert "falling to 0.01 of the first" in drawn


@pytest.mark.parametrize("lines", [[], [([], [])], [([1.0], [])]])
def test_nothing_to_draw(lines):
    assert curve(lines, "step") == ""


@pytest.mark.parametrize("last", [0.0031, 0.37, 1, 6, 7, 23, 99.5, 100])
def test_ticks_are_few_and_reach_the_end(last):
    marks = ticks(last)
    assert 3 <= len(marks) <= 8
    assert marks[0] == 0
    assert marks[-2] < last <= marks[-1] * (1 + 1e-9)
