"""The house as a test: imports go down only, the index stays light, and nothing names the machine it was made on."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "resolvent"
FLOORS = {
    "_types": 0,
    "_errors": 0,
    "_titles": 0,
    "_version": 0,
    "linop": 1,
    "solve": 1,
    "monotone": 2,
    "mol": 3,
    "data": 3,
    "train": 4,
    "evaluate": 4,
    "figures": 4,
    "interop": 4,
    "report": 4,
    "testing": 4,
    "cli": 5,
    "__init__": 4,
    "__main__": 6,
}
STRANGERS = [{"linop", "solve", "monotone"}, {"mol", "data"}]  # rooms that do not know each other
HEAVY = {"h5py", "matplotlib", "nibabel", "ismrmrd", "skimage", "sigpy", "lightning", "PIL"}


def imported(path: Path) -> set[str]:
    """The rooms of the package that a file imports, inside functions too; `__init__` for the index itself."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.relative_to(ROOT)}:{node.lineno} is a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "resolvent":
                room = rest.split(".")[0]
                found.add(room if room in FLOORS or (SOURCE / room).is_dir() else "__init__")
    return found


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_go_down_only_and_strangers_stay_strangers(path):
    room = room_of(path)
    assert room in FLOORS, f"{room} has no floor: give it one here and in ARCHITECTURE.md"
    for other in imported(path) - {room}:
        assert FLOORS[other] < FLOORS[room], f"{room} (floor {FLOORS[room]}) imports {other} (floor {FLOORS[other]})"


def test_strangers_do_not_import_each_other():
    for path in FILES:
        for strangers in STRANGERS:
            if (room := room_of(path)) in strangers:
                assert not (strangers - {room}) & imported(path), f"{path.relative_to(SOURCE)}"


def test_commands_do_not_import_each_other():
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (SOURCE / "cli").glob("*.py")}
    commands = re.findall(r"^from resolvent\.cli\.(\w+) import \1$", sources.pop("__init__"), re.MULTILINE)
    assert {"recon", "certify", "view"} <= set(commands)
    for room, text in sources.items():
        found = re.search(rf"resolvent\.cli(?:\.| import )({'|'.join(commands)})\b", text)
        assert not found, f"cli/{room}.py has {found[0]!r}: what commands share lies in a file that is no command"


def test_importing_the_index_stays_light():
    code = "import sys, resolvent; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "resolvent" in loaded
    assert not HEAVY & set(loaded)


def committed() -> list[Path]:
    """The files under version control, or a skip where there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_committed_file_names_the_machine_it_was_made_on():
    absolute = r"(?<![\w.:/-])/(?:work|root|home|Users|opt|mnt|private/var)/"
    places = re.compile(absolute + r"|\.\./shared|shared/(?:data|design)")
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # weights, pictures, scans
        if path != Path(__file__):
            found = places.search(text)
            assert not found, f"{path.relative_to(ROOT)} names {found[0]!r}"


def test_the_architecture_page_stays_short():
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) <= 120
