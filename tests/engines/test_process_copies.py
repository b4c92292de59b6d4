"""An environment that begins as a copy of the last one is, file for file, what a fresh build would have made."""

from __future__ import annotations

import asyncio
import csv
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uv
from blake3 import blake3
from conftest import SPEC, Files, Lines

from kaosd import proc
from kaosd.engines.process import ProcessEngine
from kaosd.engines.process.additions import RequirementsChange, compare
from kaosd.engines.process.copying import NotAsBuiltError, copy_bytecode, copy_tree
from kaosd.engines.process.spares import Spares
from kaosd.errors import BuildFailed
from kaosd.model import NotebookSpec

# A small environment, so that the table is quick: what serves JupyterLab is asked for by names of tiny packages.
SERVER = {"six": "six", "iniconfig": "iniconfig", "jupyter-collaboration": "attrs==23.2.0"}
LOCAL = "import setuptools\nsetuptools.setup(name='own', version='1.0', py_modules=[])\n"


@pytest.fixture(autouse=True)
def small_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaosd.engines.process.recipe._SERVER", SERVER)


@pytest.fixture
async def own(short: Path) -> AsyncIterator[ProcessEngine]:
    engine = ProcessEngine(short / "e")
    yield engine
    await engine.close()


def picture(environment: Path) -> dict[str, str]:
    """Every file by its path with its mode and content, the path of the environment and RECORD's hashes left out.

    What was asked for by name (REQUESTED) differs: a lock asks for everything.
    """
    found = {}
    for directory, _, names in os.walk(environment):
        for name in names:
            path = Path(directory, name)
            if (
                path.suffix in (".pyc", ".log")
                or {"inputs", "kaosd"} & {*path.parts}
                or name in ("REQUESTED", "uv_cache.json")
            ):
                continue
            place = str(path.relative_to(environment))
            if path.is_symlink():
                found[place] = os.readlink(path)
            elif name == "RECORD":
                rows = {row[0] for row in csv.reader(path.read_text().splitlines())}
                found[place] = str(sorted(row for row in rows if not row.endswith("REQUESTED")))
            elif name not in ("kaosd-environment.json", "kaosd-unlike.json"):
                content = path.read_bytes().replace(os.fsencode(environment), b"<environment>")
                found[place] = f"{path.stat().st_mode:o} {blake3(content).hexdigest()}"
    return found


async def changed(
    own: ProcessEngine, short: Path, log: Lines, before: dict[str, str], after: dict[str, str]
) -> tuple[dict[str, str], dict[str, str], Files]:
    """Pictures of the environment of *after*, built as the one that follows *before*, and built from nothing.

    Both know the lock of *before*: only it keeps versions that still fit.
    """
    inputs = Files(after)
    past = await own.build(SPEC, Files(before), log)
    fresh = ProcessEngine(short / "f")
    (short / "f" / "last" / f"{SPEC.name}.txt").write_bytes(Path(past.handle, "kaosd-lock.txt").read_bytes())
    del log.lines[:]
    following = await own.build(SPEC, inputs, log)
    alone = await fresh.build(SPEC, inputs, Lines(short / "x"))
    await fresh.close()
    assert following.server == alone.server
    return picture(Path(following.handle)), picture(Path(alone.handle)), inputs


VERSION = ".".join(map(str, sys.version_info[:3]))
MAIN = "model/requirements.txt"
ADDED = "step 2/4 resolve and install what was added"
AGAIN = "step 3/4 exchange what differs"
NEW = "step 4/4 install"
TABLE = {
    "one is added": ({MAIN: "idna==3.6\n"}, {MAIN: "idna==3.6\npytz==2024.1\n"}, ADDED),
    "one with needs and scripts of its own is added": ({MAIN: ""}, {MAIN: "# x\nmarkdown-it-py==3.0.0\n"}, ADDED),
    "one that is there already is added": ({MAIN: ""}, {MAIN: "six>=1\n"}, ADDED),
    "one that counts on no machine is added": ({MAIN: ""}, {MAIN: "pytz; python_version < '3'\n"}, ADDED),
    "an extra is added": ({MAIN: "idna==3.6\n"}, {MAIN: "idna==3.6\nattrs[tests-mypy]\n"}, ADDED),
    "a comment is added": ({MAIN: "idna==3.6\n"}, {MAIN: "idna==3.6\n\n# why\n"}, ADDED),
    "an added one moves one that is there": ({MAIN: "mdurl==0.1.1\n"}, {MAIN: "mdurl==0.1.1\niniconfig<2\n"}, AGAIN),
    "one is removed, and what only it needed": ({MAIN: "markdown-it-py==3.0.0\nidna\n"}, {MAIN: "idna\n"}, AGAIN),
    "one is set higher": ({MAIN: "idna==3.6\n"}, {MAIN: "idna==3.7\n"}, AGAIN),
    "one is set lower": ({MAIN: "pygments==2.18.0\n"}, {MAIN: "pygments==2.17.2\n"}, AGAIN),
    "a limit is loosened": ({MAIN: "idna==3.6\n"}, {MAIN: "idna\n"}, AGAIN),
    "one of the host's own is named": ({MAIN: ""}, {MAIN: "iniconfig>=1\n"}, ADDED),
    "one is added in a file of its own": (
        {MAIN: "-r more.txt\n", "model/more.txt": "idna==3.6\n"},
        {MAIN: "-r more.txt\n", "model/more.txt": "idna==3.6\npytz==2024.1\n"},
        AGAIN,
    ),
    "a package of the bundle is added": ({MAIN: ""}, {MAIN: "./own\n", "model/own/setup.py": LOCAL}, NEW),
    "an editable one is removed": ({MAIN: "-e ./own\n", "model/own/setup.py": LOCAL}, {MAIN: "idna==3.6\n"}, NEW),
    "the same Python is asked for": ({MAIN: ""}, {MAIN: "", "model/runtime.txt": f"{VERSION}\n"}, ADDED),
    "the index is named": ({MAIN: "idna==3.6\n"}, {MAIN: "--pre\nidna==3.6\n"}, NEW),
}


@pytest.mark.parametrize(("before", "after", "step"), TABLE.values(), ids=TABLE)
async def test_a_copy_that_was_changed_is_what_a_fresh_build_makes(
    own: ProcessEngine, short: Path, log: Lines, before: dict[str, str], after: dict[str, str], step: str
) -> None:
    copied, fresh, _ = await changed(own, short, log, before, after)
    assert step in log.lines
    assert copied == fresh


async def test_what_is_added_tells_how_far_it_is_though_its_lines_are_not_logged(
    own: ProcessEngine, log: Lines
) -> None:
    await own.build(SPEC, Files.of("idna==3.6\n"), log)
    del log.lines[:], log.far[:]
    await own.build(SPEC, Files.of("idna==3.6\npytz==2024.1\n"), log)
    assert ADDED in log.lines
    assert not any(line.startswith("Resolved") for line in log.lines)
    assert [text.partition(";")[0] for text in (log.far[0], log.far[-1])] == ["1 package", "1 package installed"]


@pytest.mark.parametrize(
    ("requirements", "sentence"),
    [
        ("idna==3.6\nidna==3.7\n", "model/requirements.txt:2: idna==3.7 contradicts idna==3.6 of line 1"),
        ("idna==3.6\npytz==1.0\n", "model/requirements.txt:2: no version satisfies pytz==1.0"),
        (
            "idna==3.6\nno-such-kaosd\n",
            "model/requirements.txt:2: there is no package no-such-kaosd",
        ),
        ("idna==3.6\nnumpy=>1\n", "model/requirements.txt:2: 'numpy=>1' cannot be read"),
    ],
)
async def test_what_cannot_be_added_is_the_same_sentence_and_leaves_the_last_one_alone(
    own: ProcessEngine, log: Lines, requirements: str, sentence: str
) -> None:
    past = await own.build(SPEC, Files.of("idna==3.6\n"), log)
    before = picture(Path(past.handle))
    inputs = Files.of(requirements)
    with pytest.raises(BuildFailed) as failed:
        await own.build(SPEC, inputs, log)
    assert failed.value.text.startswith(sentence)
    assert await own.built(inputs.digest) is None
    assert picture(Path(past.handle)) == before


async def test_nothing_is_written_through_to_the_environment_that_was_copied(own: ProcessEngine, log: Lines) -> None:
    past = await own.build(SPEC, Files.of("pygments==2.18.0\n"), log)
    before = picture(Path(past.handle))
    following = await own.build(SPEC, Files.of("pygments==2.17.2\nidna==3.6\n"), log)
    script = [f"{following.handle}/bin/pygmentize", "-V"]
    assert subprocess.check_output(script, text=True).startswith("Pygments version 2.17.2")
    assert picture(Path(past.handle)) == before


@pytest.mark.parametrize("command", [["install", "-q", "pytz==2024.1"], ["uninstall", "-q", "idna"]])
async def test_an_environment_that_a_person_has_changed_is_not_copied(
    own: ProcessEngine, log: Lines, short: Path, command: list[str]
) -> None:
    past = await own.build(SPEC, Files.of("idna==3.6\n"), log)
    await own.close()
    for spare in (short / "e").glob("*.spare"):
        shutil.rmtree(spare)  # the copy is made when it is needed: after the person's command
    argv = [uv.find_uv_bin(), "pip", command[0], *command[1:], "--python", f"{past.handle}/bin/python"]
    subprocess.run(argv, check=True)
    following = await own.build(SPEC, Files.of("idna==3.6\nmdurl==0.1.1\n"), log)
    assert not any("starts as a copy" in line for line in log.lines)
    names = {path.name for path in Path(following.handle).glob("lib/python3*/site-packages/*.dist-info")}
    assert "idna-3.6.dist-info" in names
    assert "pytz-2024.1.dist-info" not in names


async def test_a_file_that_was_edited_is_not_copied(own: ProcessEngine, log: Lines, short: Path) -> None:
    past = Path((await own.build(SPEC, Files.of("idna==3.6\n"), log)).handle)
    edited = next(past.glob("lib/python3*/site-packages/idna/core.py"))
    text = edited.read_text()
    edited.unlink()
    edited.write_text(text + "# mine\n")
    (short / "copy").mkdir()
    with pytest.raises(NotAsBuiltError, match=r"idna/core\.py has changed since"):
        copy_tree(past, short / "copy")


async def test_what_a_person_put_beside_the_packages_is_left_out(own: ProcessEngine, log: Lines, short: Path) -> None:
    past = Path((await own.build(SPEC, Files.of("idna==3.6\n"), log)).handle)
    site_packages = next(past.glob("lib/python3*/site-packages"))
    (site_packages / "mine.py").write_text("x = 1\n")
    (site_packages / "idna" / "mine.py").write_text("x = 1\n")
    (short / "copy").mkdir()
    copy_tree(past, short / "copy")
    assert list((short / "copy").glob("lib/python3*/site-packages/idna/core.py"))
    assert not list((short / "copy").rglob("mine.py"))


async def test_bytecode_is_shared_and_valid(own: ProcessEngine, log: Lines, short: Path) -> None:
    past = Path((await own.build(SPEC, Files.of("idna==3.6\n"), log)).handle)
    sources = next(past.glob("lib/python3*/site-packages/idna"))
    subprocess.run([past / "bin/python", "-m", "compileall", "-q", sources], check=True)
    copy = short / "copy"
    copy.mkdir()
    copy_tree(past, copy)
    assert not list(copy.rglob("*.pyc"))
    copy_bytecode(past, copy)
    told = subprocess.run(
        [copy / "bin/python", "-v", "-c", "import idna.core"], check=True, capture_output=True, text=True
    )
    compiled = next(copy.glob("lib/python3*/site-packages/idna/__pycache__/core.*.pyc"))
    assert f"{compiled} matches {copy}" in told.stderr
    assert compiled.samefile(sources / "__pycache__" / compiled.name)


async def test_collect_keeps_copies_of_what_notebooks_had_last(own: ProcessEngine, log: Lines, short: Path) -> None:
    first = await own.build(SPEC, Files.of("idna==3.6\n"), log)
    other = NotebookSpec("notebook-other-ada", "other", "ada")
    second = await own.build(other, Files.of("idna==3.7\n"), log)
    async with asyncio.timeout(60):
        while len(list((short / "e").glob("*.spare"))) < 2:
            await asyncio.sleep(0.02)
    half = short / "e" / f"{first.digest}.spare-x"
    half.mkdir()
    await own.build(other, Files.of("idna==3.6\n"), log)
    await own.collect(frozenset({first.digest, second.digest}))
    await own.close()
    assert [path.name for path in (short / "e").glob("*.spare*")] == [f"{first.digest}.spare"]


async def test_a_copy_whose_program_has_just_ended_is_not_removed_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[Path] = []
    spares = Spares(tmp_path, {}, removed.append)

    async def ended(*_: object) -> proc.Finished:
        spares.collect(frozenset())
        return proc.Finished(0, "")

    monkeypatch.setattr(spares, "_run", ended)
    assert await spares._make("0" * 64, "0") == ""
    assert removed == []
    assert [path.name for path in tmp_path.iterdir()] == [f"{'0' * 64}.spare"]


def test_a_copy_that_is_being_removed_can_not_be_taken(tmp_path: Path) -> None:
    removed: list[Path] = []
    spares, spare = Spares(tmp_path, {}, removed.append), tmp_path / f"{'0' * 64}.spare"
    (spare / "lib").mkdir(parents=True)
    spares.collect(frozenset())
    assert not spare.exists()
    (trash,) = removed
    assert (trash / "lib").is_dir()
    spares.collect(frozenset())  # another daemon may have left it so
    assert len(removed) == 2


def test_what_a_change_asks_for() -> None:
    rows: list[tuple[dict[str, str], dict[str, str], RequirementsChange | None]] = [
        ({"requirements.txt": "a\n"}, {"requirements.txt": "a\nb>1\n"}, RequirementsChange(("b>1",))),
        ({"requirements.txt": "a\n"}, {"requirements.txt": "b\na # x\n"}, RequirementsChange(("b",))),
        ({"requirements.txt": "a\n"}, {"requirements.txt": "b\n"}, RequirementsChange(None)),
        ({"requirements.txt": "a<2\n"}, {"requirements.txt": "a\n"}, RequirementsChange(None)),
        ({"requirements.txt": ""}, {"requirements.txt": "a @ https://x.invalid/a.whl\n"}, None),
        ({"requirements.txt": ""}, {"requirements.txt": "a==1 --hash=sha256:00\n"}, None),
        ({"requirements.txt": ""}, {"requirements.txt": "a==1 \\\n  ; python_version > '3'\n"}, None),
        ({"requirements.txt": ""}, {"requirements.txt": "a-1.0-py3-none-any.whl\n"}, None),
        ({"requirements.txt": ""}, {"requirements.txt": "${A}\n"}, None),
        ({"requirements.txt": "-e .\n"}, {"requirements.txt": "a\n"}, None),
        ({"requirements.txt": ""}, {"requirements.txt": "-r elsewhere/a.txt\n"}, None),
        ({"requirements.txt": ""}, {"requirements.txt": "-i http://x.invalid\na\n"}, None),
        (
            {"requirements.txt": "-i http://x.invalid\n"},
            {"requirements.txt": "-i http://x.invalid\na\n"},
            RequirementsChange(("-i http://x.invalid", "a")),
        ),
        (
            {"requirements.txt": "-c c.txt\na\n", "c.txt": "b<2\n"},
            {"requirements.txt": "-c c.txt\na\nb\n", "c.txt": "b<2\n"},
            RequirementsChange(None),
        ),
        (
            {"requirements.txt": "", "notes.txt": "./x"},
            {"requirements.txt": "", "notes.txt": "./y"},
            RequirementsChange(None),
        ),
    ]
    for before, after, expected in rows:
        assert compare(before, after, ("s>=4\n", "s>=4\n")) == expected, after
    assert compare({"requirements.txt": ""}, {"requirements.txt": "s\n"}, ("s>=4\n", "")) == RequirementsChange(("s",))
    assert compare({"requirements.txt": ""}, {"requirements.txt": "a\n"}, ("", "s>=4\n")) == RequirementsChange(None)


@pytest.mark.parametrize("line", ["a" * 100_000 + "@", "a" + " " * 100_000 + "@", "-r" + "=" * 100_000 + "x y"])
def test_a_long_line_is_compared_at_once(line: str) -> None:
    assert compare({"requirements.txt": ""}, {"requirements.txt": line}, ("", "")) is None
