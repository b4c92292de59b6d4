"""What holds for the project as a whole: its import contracts, its documentation, what is not in it."""

import ast
import os
import pwd
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kaosd"


def run(*command: str) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_import_contracts_hold() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    said = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert f"Contracts: {len(contracts)} kept, 0 broken." in said


def loaded_from_outside(statement: str) -> set[str]:
    """Modules that are neither Python's own nor the project's and that are loaded once *statement* has run."""
    program = f"""
import sys
before = set(sys.modules)
try:
    {statement}
except SystemExit:
    pass
for name, module in list(sys.modules.items()):
    if name not in before:
        print("loaded", name, getattr(module, "__file__", None) or "")
"""
    lines = [line.split(" ", 2) for line in run(sys.executable, "-c", program).splitlines()]
    loaded = [(words[1], words[2]) for words in lines if words[0] == "loaded"]
    assert loaded
    return {name for name, file in loaded if "site-packages" in file or "dist-packages" in file}


@pytest.mark.parametrize("arguments", [["version"], ["status"], ["--help"], ["logs"], ["notebook", "list", "--json"]])
def test_the_client_loads_no_third_party_module(arguments: list[str]) -> None:
    assert loaded_from_outside(f"import kaosd.ctl; kaosd.ctl.main({arguments!r})") == set()


def test_no_module_of_the_client_needs_a_third_party_module() -> None:
    names = [f"kaosd.ctl.{path.stem}" for path in (PACKAGE / "ctl").glob("*.py") if not path.stem.startswith("__")]
    assert len(names) > 10
    assert loaded_from_outside(f"import {', '.join(names)}") == set()


def test_the_test_can_tell() -> None:
    assert "structlog" in loaded_from_outside("import kaosd.logging_setup")


def modules() -> list[Path]:
    """Every module of the package and of the tests."""
    return sorted(path for top in (PACKAGE, ROOT / "tests") for path in top.rglob("*.py") if path.read_text().strip())


def test_every_module_says_what_it_is() -> None:
    silent = [str(path.relative_to(ROOT)) for path in modules() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 40
    ]
    assert long == []


def committed_text() -> dict[str, str]:
    """The text files in git, by name."""
    names = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached").split("\0")
    texts = {}
    for name in filter(None, names):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            content = (ROOT / name).read_bytes()
            if b"\0" not in content:
                texts[name] = content.decode("utf-8", "replace")
    assert "pyproject.toml" in texts
    return texts


def test_no_file_names_a_package_registry_or_a_place_on_one_machine() -> None:
    """Locks work with any index, and nothing depends on where somebody's checkout is."""
    homes = {pwd.getpwuid(os.getuid()).pw_dir, "/" + "root"}
    places = {f"{place}/" for place in (*homes, str(ROOT)) if len(place) > 1}
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "ana" + "conda.org",
        "registry.np" + "mjs.org",
        "deb." + "debian.org",
    ]
    index = r"https?://(?!127\.|[^/ ]*\.example)[^ \"]*/(simple|packages)(/|\"|$)"
    found = re.compile("|".join([*map(re.escape, [*sorted(places), *hosts]), index]))
    named = [
        f"{name}:{number}: {match[0]}"
        for name, text in committed_text().items()
        for number, line in enumerate(text.splitlines(), 1)
        if (match := found.search(line))
    ]
    assert named == []


def test_no_text_names_a_document_that_is_not_in_the_repository() -> None:
    elsewhere = re.compile("design " + "section|design" + r"\.md|\bresear" + "ch/|section [0-9]+ of the " + "design")
    assert [name for name, text in committed_text().items() if elsewhere.search(text)] == []


LOCKS = ("requirements.lock", "tests/requirements.lock")


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_that_is_installed_is_locked_by_hash(lock: str) -> None:
    entries = re.split(r"(?m)^(?=[a-z0-9])", (ROOT / lock).read_text())[1:]
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[a-z0-9-]+==[^ ]+( ; [^\\]+)? \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+$", entry), entry


@pytest.mark.parametrize("lock", LOCKS)
def test_the_lock_holds_what_pyproject_asks_for(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = ["build", "test"] if lock.startswith("tests/") else ["build"]
    asked = project["project"]["dependencies"] + [
        text for group in groups for text in project["dependency-groups"][group]
    ]
    locked = set(re.findall(r"(?m)^([a-z0-9-]+)==", (ROOT / lock).read_text()))
    assert {re.match(r"[A-Za-z0-9-]+", text)[0].lower() for text in asked} - locked == set()  # type: ignore[index]


def test_both_locks_hold_the_same_versions() -> None:
    runtime, test = ((ROOT / lock).read_text() for lock in LOCKS)
    pins = re.compile(r"(?m)^[a-z0-9-]+==.*$")
    assert set(pins.findall(runtime)) <= set(pins.findall(test))


def test_a_skipped_test_fails_where_all_must_run(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_gone(): pytest.skip('no such tool')\n"
        "@pytest.mark.skip(reason='slow')\n"
        "def test_slow(): pass\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('no_such_module')\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.no_skips", "-p", "no:cacheprovider", "-c", os.devnull]
    command += ["--continue-on-collection-errors", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert "no such tool: a test that does not run shows nothing" in done.stdout.replace("Skipped: ", "")
    assert re.search(r"1 failed, 1 passed, 2 errors in", done.stdout)
