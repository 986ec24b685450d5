import csv
import json

from resolvent.evaluate import tables

ROW = {"data": "a.h5", "acceleration": 4.0, "mask": "gaussian2d", "snr": 30.0, "coils": 8, "size": None, "tier": "none"}
ROW |= {"psnr": 31.234, "psnr_std": 1.5, "ssim": 0.9, "ssim_std": None, "nmse": 0.01, "p": 0.03125, "best_ssim": True}
ROW |= {"method": "sense", "best": False, "seconds": 0.25, "subjects": 6, "scans": 12}


def test_csv_has_the_columns_of_all_rows():
    rows = list(csv.DictReader(tables.as_csv([{"a": 1}, {"a": 2, "b": None}, {"b": "x, y"}]).splitlines()))
    assert rows == [{"a": "1", "b": ""}, {"a": "2", "b": ""}, {"a": "", "b": "x, y"}]


def test_tables_are_written_whole_with_what_they_are_of(tmp_path):
    found = {"accuracy": [ROW], "scans": [ROW], "honesty": []}
    paths = tables.write(tmp_path, found, {"command": "resolvent evaluate"})
    assert sorted(path.name for path in paths) == ["accuracy.csv", "accuracy.inc", "results.json", "scans.csv"]
    content = json.loads((tmp_path / "results.json").read_text())
    assert content == {"command": "resolvent evaluate", **found}
    assert len(list(tmp_path.iterdir())) == 4


def test_the_accuracy_table_says_what_of_and_marks_the_best():
    page = tables.PAGES["accuracy"]([ROW, {**ROW, "method": "tv", "best": True, "p": None, "snr": None}])
    assert "a.h5 · gaussian2d, R = 4 · 30 dB · 8 coils · subjects: 6, scans: 12\n" in page
    assert "| sense | none | 31.23 ± 1.50 | **0.9000** | 0.0100 | 0.031 | 0.25 |" in page
    assert "as measured" in page
    assert "| best | 150 |" in tables.PAGES["accuracy"]([{**ROW, "best": True, "seconds": 147.3}])
    assert "| tv | none | **31.23 ± 1.50** | **0.9000** | 0.0100 | best | 0.25 |" in page


def test_bounds_say_how_they_are_known_and_missing_numbers_are_left_out():
    row = {"method": "a", "epsilon": 0.0025, "psnr": 30.0, "gain": 2.0, "gain_max": 3.0}
    page = tables.PAGES["worst"]([{**row, "gain_bound": 5.25, "gain_bound_kind": "proved"}, {**row, "gain": None}])
    assert "| a | 0.25 % | 30.00 | 2 | 3 | 5.25 (proved) |" in page
    assert "| a | 0.25 % | 30.00 |  | 3 |  |" in page


def test_a_mean_over_a_part_of_the_scans_says_so():
    row = {"method": "a", "epsilon": 0.01, "psnr": 30.0, "gain": 2.0, "gain_max": 3.0, "scans": 3, "failed": 1}
    page = tables.PAGES["worst"]([row, {**row, "psnr": None, "gain": None, "gain_max": None, "scans": 0, "failed": 4}])
    assert "| a | 1 % | 30.00 | 2 (3 of 4 scans) | 3 |  |" in page
    assert "| a | 1 % |  | (0 of 4 scans) |  |  |" in page


def test_a_local_search_and_empty_data_have_their_tables():
    row = {"method": "a", "subject": "ada", "epsilon": 0.01, "side": 15, "largest_error": 0.125, "gain": 2.0}
    assert "| a | ada | 1 % | 15 | 12 % | 2 |" in tables.PAGES["local"]([row])
    noise = {"method": "a", "subject": "ada", "what": "noise", "refused": False, "size": 0.02, "gain": 0.5}
    page = tables.PAGES["empty"]([{**noise, "correlation": 0.1}, {"method": "a", "what": "zeros", "refused": True}])
    assert "| a | ada | noise | 0.02 | 0.5 | 0.10 |" in page
    assert "| a |  | zeros | refused |  |  |" in page


def test_accelerations_are_columns():
    rows = [{"method": "a", "acceleration": R, "psnr": 40 - R, "rises": True} for R in (2.0, 8.0)]
    assert tables.PAGES["samples"](rows).splitlines()[0::2] == [
        "| method | R = 2 | R = 8 | more samples, better image |",
        "| a | 38.00 | 32.00 | yes |",
    ]
