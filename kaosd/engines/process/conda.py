"""The packages of conda that an environment.yml asks for, solved and installed by py-rattler, an extra of kaosd."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from kaosd import encodings, proc
from kaosd.declared.contents import Conda, Malformed, conda_name, read_conda
from kaosd.engines.base import Log
from kaosd.engines.process.conda_child import RESULT
from kaosd.errors import BuildFailed, EngineUnavailable

CHILD = Path(__file__).with_name("conda_child.py")
_USUAL = "conda-forge"
_SHOWN = 400  # characters of a solver's answer


def read(path: Path, shown: str) -> Conda:
    """Read an environment.yml. BuildFailed says what is wrong with it, or that nothing here can install it."""
    if find_spec("rattler") is None:
        raise BuildFailed(
            f"{shown} asks for packages of conda, for which kaosd needs py-rattler",
            hint="install it beside kaosd: pip install 'kaosd[conda]'",
        )
    try:
        return read_conda(encodings.text(path.read_bytes()))
    except (Malformed, encodings.NotTextError) as error:
        raise BuildFailed(f"{shown} {error}", hint="conda's documentation says how it is written") from error


def channels(wanted: Conda) -> tuple[list[str], str]:
    """The channels to take, and what a person must know of that, or "".

    "defaults" is a list of Anaconda's own channels, which asks most organisations for a licence.
    """
    named = [one for one in wanted.channels if one != "nodefaults"]
    others = [one for one in named if one != "defaults"]
    if len(others) == len(named):
        return others or [_USUAL], ""
    taken = others or [_USUAL]
    return taken, f"the channel defaults is not asked: packages come from {', '.join(taken)}"


async def install(wanted: Conda, target: Path, own: Path, variables: Mapping[str, str], log: Log, shown: str) -> str:
    """Make *target* an environment of conda with Python; what a person must know of it, or "".

    own: a directory for what is written here. shown: the name of the file. Raises BuildFailed or EngineUnavailable.
    """
    taken, note = channels(wanted)
    specs = list(wanted.specs)
    if all(conda_name(spec)[0] != "python" for spec in specs):
        specs.append("python")
    order = {"channels": taken, "specs": specs, "target": str(target), "cache": str(_cache(variables))}
    path = own / "conda.json"
    path.write_text(json.dumps(order))
    lines: list[str] = []

    def line(text: str) -> None:
        (lines.append if text.startswith(RESULT) else log.line)(text)

    finished = await proc.run([sys.executable, "-I", str(CHILD), str(path)], cwd=own, env=variables, line=line)
    if not lines:
        raise EngineUnavailable(f"py-rattler ended with exit code {finished.code} and told nothing")
    result = json.loads(lines[-1].removeprefix(RESULT))
    if result["failed"] is not None:
        raise await asyncio.to_thread(_failure, result, shown, target / "inputs")
    await asyncio.to_thread(_complete, target)
    return note


def _cache(variables: Mapping[str, str]) -> Path:
    base = variables.get("XDG_CACHE_HOME") or f"{variables.get('HOME', '/tmp')}/.cache"  # noqa: S108
    return Path(base) / "kaosd/conda"


def _failure(result: dict[str, str], shown: str, inputs: Path) -> BuildFailed | EngineUnavailable:
    """What a failed child means: the line of the file whose package is named, and the solver's reason."""
    words = " ".join(re.sub(r"[│├└─╰┬]+", " ", result["failed"]).split())[:_SHOWN]
    if result["part"] != "solve":
        return EngineUnavailable(f"{shown}: packages of conda cannot be fetched: {words}", hint="check the channels")
    text = (inputs / shown).read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.split("\n"), 1):
        match = re.match(r"\s*-\s*[\"']?([A-Za-z0-9_.:/-]+)", line)
        name = conda_name(match[1])[0] if match else ""
        if name and re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w.-])", words):
            return BuildFailed(
                f"{shown}:{number}: conda has no solution: {words}", hint="loosen it, or add its channel"
            )
    return BuildFailed(f"{shown}: conda has no solution: {words}", hint="check names, versions and channels")


def _complete(target: Path) -> None:
    """Let the environment look like a virtual one, which is what hosts start from."""
    config = target / "pyvenv.cfg"
    if not config.exists():
        version = next(iter(sorted(path.name for path in (target / "conda-meta").glob("python-[0-9]*.json"))), "")
        number = version.removeprefix("python-").partition("-")[0]
        text = f"home = {target}/bin\ninclude-system-site-packages = false\nversion_info = {number}\n"
        config.write_text(text)


def unactivated(target: Path) -> str:
    """That packages bring scripts of activation, which nothing runs; or ""."""
    names = sorted(path.stem for path in (target / "etc/conda/activate.d").glob("*.sh"))
    return f"activation scripts of conda are not run: {', '.join(names)}" if names else ""
