import json

from resolvent.evaluate.store import Store, common, key


def test_a_reopened_store_holds_what_was_added(tmp_path):
    store = Store(tmp_path / "rows.jsonl")
    store.add({"method": "sense", "R": 4.0}, [{"psnr": 31.0}, {"psnr": 32.0}])
    again = Store(tmp_path / "rows.jsonl")
    assert {"R": 4.0, "method": "sense"} in again  # whatever the order of the columns
    assert again[{"method": "sense", "R": 4.0}] == [
        {"method": "sense", "R": 4.0, "psnr": 31.0},
        {"method": "sense", "R": 4.0, "psnr": 32.0},
    ]
    assert {"method": "sense", "R": 6.0} not in again


def test_a_line_that_was_cut_off_is_left_out_and_spoils_no_other(tmp_path):
    path = tmp_path / "rows.jsonl"
    store = Store(path)
    store.add({"n": 1}, [{}])
    store.add({"n": 2}, [{}])
    text = path.read_text()
    path.write_text(text[:-9])
    cut = Store(path)
    assert {"n": 1} in cut
    assert {"n": 2} not in cut
    cut.add({"n": 3}, [{}])
    after = Store(path)
    assert [{"n": n} in after for n in (1, 2, 3)] == [True, False, True]


def test_a_line_that_was_cut_off_within_a_letter_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    store = Store(path)
    store.add({"subject": "ada"}, [{}])
    store.add({"subject": "Zoë"}, [{}])
    path.write_bytes(path.read_bytes().partition("ë".encode())[0] + "ë".encode()[:1])
    cut = Store(path)
    assert {"subject": "ada"} in cut and {"subject": "Zoë"} not in cut


def test_numbers_have_six_digits_and_are_none_where_not_finite(tmp_path):
    store = Store(tmp_path / "rows.jsonl")
    store.add({"n": 1}, [{"a": 1 / 3, "b": float("inf"), "c": float("nan"), "d": True, "e": None}])
    assert store[{"n": 1}] == [{"n": 1, "a": 0.333333, "b": None, "c": None, "d": True, "e": None}]
    json.loads((tmp_path / "rows.jsonl").read_text(), parse_constant=lambda text: 1 / 0)


def test_another_content_has_another_key():
    assert key({"a": 1}) != key({"a": 2})
    assert len({key({"a": 1.0}), key({"b": 1.0}), key({"a": "1.0"})}) == 3


def test_a_summary_says_all_that_its_rows_depend_on():
    row = {"acceleration": 4.0, "weight": 0.003, "tuned": "a.h5: 1 scan", "data": "a.h5"}
    said = common([{**row, "coils": 8}, {**row, "coils": 16}])
    assert (said["acceleration"], said["coils"], said["snr"]) == (4.0, "8, 16", None)
    assert (said["weight"], said["tuned"], said["data"]) == (0.003, "a.h5: 1 scan", "a.h5")
