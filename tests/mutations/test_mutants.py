import pytest
from mutants import FIVE, MUTANTS, ROOT, survives


@pytest.mark.parametrize("mutant", FIVE, ids=lambda m: m.name)
def test_fault_turns_a_test_red(mutant):
    assert survives(mutant) == ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_fault_can_still_be_put_into_the_source(mutant):
    source = (ROOT / "src" / "resolvent" / mutant.file).read_text(encoding="utf-8")
    for old, new in mutant.changes:
        assert source.count(old) == 1
        compile(source.replace(old, new), mutant.file, "exec")


def test_names_are_distinct():
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
