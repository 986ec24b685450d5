"""What stands in two places says the same in both."""

import re
from importlib.metadata import metadata, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import resolvent

ROOT = Path(__file__).parents[1]


def test_parts_are_found_without_an_import_of_their_own():
    assert resolvent.linop.SENSE is resolvent.SENSE
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    assert set(re.findall(r"automodule:: resolvent\.([a-z]+)", pages)) == set(resolvent._PARTS) <= set(dir(resolvent))


def pins() -> set[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines if line and not line.startswith("#")}


def test_every_dependency_is_pinned():
    wanted = {canonicalize_name(Requirement(line).name) for line in requires("resolvent") or []}
    assert wanted - {"resolvent"} <= pins(), "run `make constraints`"


def test_make_and_the_constraints_install_the_same_torch():
    make = re.search(r"^TORCH := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert make
    assert f"\ntorch=={make[1]}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_the_citation_names_this_version():
    assert f"\nversion: {resolvent.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_pins_name_no_place():
    assert not re.search(r"@|file:|://|^-", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)


def test_the_wheel_carries_the_licences_of_what_is_bundled():
    assert metadata("resolvent").get_all("License-File") == ["LICENSE", "NOTICE"]
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "src").rglob("*.js.gz") if path.name not in notice] == []
    for licence in ("BSD 2-Clause License", "BSD 3-Clause License", "MIT License", "ISC License"):
        assert licence in notice


def test_every_public_name_is_in_the_reference():
    pages = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    described = dict(re.findall(r"automodule:: (\S+)\n   :members:(.*)", pages))
    for home, names in resolvent._HOMES.items():
        assert home in described
        assert described[home].strip() in ("", ", ".join(names))
