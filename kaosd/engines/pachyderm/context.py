"""What Build gets: the bundle, its Dockerfile with what makes the image a host, and kaosd's own code for it; blocking.

context/     the build context: the notebook's root (model/ in the shape of kaos), as on docker
Dockerfile   the bundle's own, or one that is made, and the steps that add the next directory
kaosd/       becomes /kaosd in the image: hosted/ (JupyterLab's side of kaosd), add.py, manifest.json with the digest
             of the environment, by which a pod says what it runs, and context (what lies in the build context)
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from kaosd import encodings
from kaosd.engines.base import Inputs
from kaosd.errors import BuildFailed

CONTEXT = "context"
_HERE = Path(__file__).parent
_HOSTED = _HERE.parents[1] / "hosted"
_USUAL = _HERE.parents[1] / "templates" / "notebook" / "Dockerfile"  # for a source that has none
_HOST = """
# Added by kaosd: what makes the image a host.
COPY --from=kaosd . /kaosd/
RUN python=$(command -v python3 || command -v python) || { \\
    echo "ERROR: the image has no Python; start with FROM python:3.11, or install python3 in the Dockerfile"; \\
    exit 2; }; "$python" /kaosd/add.py
"""
# A frontend before 1.4 knows no further contexts; the daemon's own is newer and does as well.
_OLD_SYNTAX = re.compile(r"^#\s*syntax\s*=\s*docker/dockerfile:1\.[0-3](\.\d+)?(-\S+)?\s*$", re.MULTILINE)
# Requirements that name files of the bundle can be installed only when these are in the image.
_NAMES_FILES = re.compile(
    r"^\s*(-[ercf]\b|--(editable|requirement|constraint|find-links)\b|\.|/|file:|\S+\s*@\s*file:)", re.M
)


def lay_out(inputs: Inputs, top: Path) -> None:
    """Write it all below *top*. Raises OSError; BuildFailed for a bundle that no image can be made of here."""
    declared = inputs.declared
    if declared.dockerfile is None and declared.kind not in ("requirements", "none"):
        raise BuildFailed(
            f"the pachyderm engine makes no image out of {declared.file}",
            hint="write a Dockerfile that installs it, or use --engine process",
        )
    bundle, host = top / "bundle", top / "host"
    inputs.export(bundle)
    root = bundle / declared.root
    root.mkdir(parents=True, exist_ok=True)
    if declared.dockerfile is not None:
        text = _text(bundle / declared.dockerfile, declared.dockerfile)
    else:
        (root / "requirements.txt").touch()
        text = usual(root, declared.beside or "requirements.txt")
    ignored = bundle / ".dockerignore"
    if ignored.exists() and not (root / ".dockerignore").exists():
        shutil.copyfile(ignored, root / ".dockerignore")
    if (root / ".dockerignore").exists():
        _text(root / ".dockerignore", ".dockerignore")
    root.rename(top / CONTEXT)
    (top / "Dockerfile").write_text(hosting(text), encoding="utf-8")
    host.mkdir()
    shutil.copytree(_HOSTED, host / "hosted", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(_HERE / "add.py", host / "add.py")
    (host / "manifest.json").write_text(json.dumps({"environment": inputs.digest}) + "\n")
    (host / "context").write_bytes(b"\0".join(sorted(_files(os.fsencode(top / CONTEXT)))))


def _text(path: Path, shown: str) -> str:
    """The text of a file of the bundle, which is UTF-8 afterwards. BuildFailed names it when it is not text."""
    try:
        return encodings.rewrite(path)
    except encodings.NotTextError as error:
        raise BuildFailed(f"{shown} {error}") from error


def usual(root: Path, requirements: str) -> str:
    """The Dockerfile of a bundle that has none: that of the template, with the code first where it is needed first.

    requirements: the file that is in use, below *root*.
    """
    text, code = _USUAL.read_text(), "ADD . /opt/program/\n"
    if requirements != "requirements.txt" or _NAMES_FILES.search(_text(root / requirements, requirements)):
        text = text.replace(code, "").replace("COPY requirements.txt /opt/program/\n", code)
    return text.replace("-r requirements.txt", f"-r {requirements}")


def hosting(dockerfile: str) -> str:
    """A Dockerfile with the steps that make its image a host."""
    return _OLD_SYNTAX.sub("", dockerfile, count=1).rstrip("\n") + "\n" + _HOST


def _files(top: bytes) -> Iterator[bytes]:
    """Paths of everything below *top* that is not a directory, relative to it."""
    for directory, folders, names in os.walk(top):
        links = [name for name in folders if os.path.islink(os.path.join(directory, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(directory, name), top)
