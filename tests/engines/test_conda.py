"""environment.yml on the process engine: solved and installed from a channel that the tests make on disk."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from conftest import SPEC, Files, Lines
from lab import lab

from kaosd.declared import warnings
from kaosd.engines.base import Order
from kaosd.engines.process import ProcessEngine, conda
from kaosd.errors import BuildFailed

VERSION = platform.python_version()
MINOR = ".".join(VERSION.split(".")[:2])
BASE = Path(sys.base_prefix)


class Channel:
    """A channel of conda in a directory. Its Python is a link to ours, to which the environment is a virtual one."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.packages: dict[str, dict[str, dict[str, object]]] = {"noarch": {}, "linux-64": {}}
        config = f"home = {BASE}/bin\ninclude-system-site-packages = false\nversion_info = {VERSION}\n"
        links = {f"bin/{name}": f"{BASE}/bin/python{MINOR}" for name in ("python", f"python{MINOR}", "python3")}
        self.add("python", VERSION, {"pyvenv.cfg": config}, links=links, subdir="linux-64")

    def add(
        self,
        name: str,
        version: str,
        files: dict[str, str],
        *,
        depends: tuple[str, ...] = (),
        links: dict[str, str] | None = None,
        subdir: str = "noarch",
    ) -> None:
        """Add a package; one in noarch is of Python, with its files below site-packages/."""
        noarch = {"noarch": "python"} if subdir == "noarch" else {}
        needs = ["python", *depends] if noarch else list(depends)
        index = {"name": name, "version": version, "build": "0", "build_number": 0, "subdir": subdir, "depends": needs}
        paths = [{"_path": path, "path_type": "hardlink", **told(text)} for path, text in files.items()]
        paths += [{"_path": path, "path_type": "softlink", **told("")} for path in links or {}]
        info = {
            "info/index.json": json.dumps(index | noarch),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}),
            "info/link.json": json.dumps({"noarch": {"type": "python"}, "package_metadata_version": 1}),
        }
        if not noarch:
            del info["info/link.json"]
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            for path, text in (info | files).items():
                member = tarfile.TarInfo(path)
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
            for path, target in (links or {}).items():
                member = tarfile.TarInfo(path)
                member.type, member.linkname = tarfile.SYMTYPE, target
                archive.addfile(member)
        content = bz2.compress(plain.getvalue())
        file = f"{name}-{version}-0.tar.bz2"
        sums = {"md5": hashlib.md5(content).hexdigest(), "sha256": hashlib.sha256(content).hexdigest()}
        self.packages[subdir][file] = index | noarch | sums | {"size": len(content), "timestamp": 1}
        (self.top / subdir).mkdir(parents=True, exist_ok=True)
        (self.top / subdir / file).write_bytes(content)
        for one, packages in self.packages.items():
            data = {"info": {"subdir": one}, "packages": packages, "packages.conda": {}, "repodata_version": 1}
            (self.top / one).mkdir(parents=True, exist_ok=True)
            (self.top / one / "repodata.json").write_text(json.dumps(data))

    def module(self, name: str, version: str, *depends: str) -> None:
        """Add a package with one module that knows its version."""
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        inside = f"site-packages/{name}-{version}.dist-info"
        files = {f"site-packages/{name}.py": f"VERSION = {version!r}\n", f"{inside}/METADATA": metadata}
        record = f"{name}.py,,\n{name}-{version}.dist-info/METADATA,,\n{name}-{version}.dist-info/RECORD,,\n"
        self.add(name, version, files | {f"{inside}/RECORD": record, f"{inside}/INSTALLER": "conda"}, depends=depends)


def told(text: str) -> dict[str, object]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size_in_bytes": len(text.encode())}


@pytest.fixture
def channel(short: Path) -> Channel:
    made = Channel(short / "channel")
    made.module("tinyone", "1.0")
    made.module("tinyone", "2.0")
    made.module("tinyneeds", "1.0", "tinyone <2")
    return made


@pytest.fixture
async def engine(short: Path) -> AsyncIterator[ProcessEngine]:
    made = ProcessEngine(short / "e", variables={**os.environ, "XDG_CACHE_HOME": str(short / "cache")})
    yield made
    await made.close()


def environment(channel: Channel, *lines: str, pip: tuple[str, ...] = ()) -> str:
    dependencies = [f"  - {line}\n" for line in lines]
    dependencies += ["  - pip:\n", *(f"    - {line}\n" for line in pip)] if pip else []
    return f"name: x\nchannels:\n  - file://{channel.top}\ndependencies:\n{''.join(dependencies)}"


async def test_packages_of_conda_and_of_its_pip_section_are_there(
    engine: ProcessEngine, channel: Channel, log: Lines, order_for: Callable[..., Order], short: Path
) -> None:
    text = environment(channel, f"python={MINOR}", "tinyneeds", pip=("idna==3.6", "-e ."))
    setup = "from setuptools import setup\nsetup(name='own', version='1', py_modules=['own'])\n"
    files = {"binder/environment.yml": text, "binder/setup.py": setup, "binder/own.py": "A = 1\n"}
    (short / "work/binder").mkdir(parents=True)
    (short / "work/binder/own.py").write_text("A = 2\n")
    built = await engine.build(SPEC, Files(files, work=short / "work"), log)
    code = "import tinyone, tinyneeds, idna, jupyterlab, own; print(tinyone.VERSION, idna.__version__, own.A)"
    order = order_for(built)
    async with lab(await engine.start(order, log), order) as there:
        assert await there.run(await there.new_kernel(), code) == "1.0 3.6 2"
    assert "environment file: binder/environment.yml" in log.lines
    assert " + tinyone==1.0 (conda)" in log.lines
    assert built.notes == ()
    assert await engine.built(built.digest) == built


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (("tinyone", "no-such-package"), "environment.yml:6: conda has no solution: "),
        (("tinyone=3",), "environment.yml:5: conda has no solution: "),
        (("tinyone=2.0", "tinyneeds"), "environment.yml:"),
    ],
)
async def test_what_has_no_solution_is_a_sentence_with_its_line(
    engine: ProcessEngine, channel: Channel, log: Lines, lines: tuple[str, ...], sentence: str
) -> None:
    inputs = Files({"environment.yml": environment(channel, *lines)})
    with pytest.raises(BuildFailed) as failed:
        await engine.build(SPEC, inputs, log)
    assert failed.value.text.startswith(sentence), failed.value.text
    assert "no solution" in failed.value.text
    assert await engine.built(inputs.digest) is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("dependencies: [a\n", "environment.yml is not YAML in line 2"),
        ("- a\n", "environment.yml is not a mapping with dependencies"),
        ("", "environment.yml holds no dependencies"),
        ("dependencies: a\n", "environment.yml has dependencies that are not a list"),
    ],
)
async def test_a_file_that_cannot_be_read_is_named(engine: ProcessEngine, log: Lines, text: str, sentence: str) -> None:
    with pytest.raises(BuildFailed) as failed:
        await engine.build(SPEC, Files({"environment.yml": text}), log)
    assert failed.value.text.startswith(sentence)


async def test_without_the_extra_it_is_refused_and_the_extra_is_named(
    engine: ProcessEngine, log: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conda, "find_spec", lambda _: None)
    with pytest.raises(
        BuildFailed, match=r"needs py-rattler \(install it beside kaosd: pip install 'kaosd\[conda\]'\)"
    ):
        await engine.build(SPEC, Files({"environment.yml": "dependencies: [python]\n"}), log)


@pytest.mark.parametrize(
    ("named", "taken", "note"),
    [
        ((), ["conda-forge"], ""),
        (("bioconda", "conda-forge", "nodefaults"), ["bioconda", "conda-forge"], ""),
        (("defaults",), ["conda-forge"], "the channel defaults is not asked: packages come from conda-forge"),
        (("defaults", "x"), ["x"], "the channel defaults is not asked: packages come from x"),
    ],
)
def test_which_channels_are_asked(named: tuple[str, ...], taken: list[str], note: str) -> None:
    assert conda.channels(conda.Conda(named, (), ())) == (taken, note)


def test_another_python_beside_an_environment_yml_is_warned_of() -> None:
    files = Files({"environment.yml": "dependencies: [python=3.12]\n", "runtime.txt": "python-3.9\n"})
    assert warnings(files.declared, "process")[0].startswith("runtime.txt is not used: environment.yml chooses")
