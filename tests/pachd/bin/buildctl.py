"""A stand-in for buildctl and its buildkitd: the same options; builds with the tools of this machine, "pushes" into a
directory ($FAKE_IMAGES).

As the real daemon it keeps each local context between builds, and takes a file over only when its size, its time or its
mode is another one. Of a Dockerfile it knows what the tests need: ADD and COPY of the whole context into the working
directory, COPY from another context, RUN false, RUN sleep, RUN await FILE (until it is there); what requirements.txt
names is always installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

IMAGES = Path(os.environ["FAKE_IMAGES"])
UV = os.environ["KAOSD_TEST_UV"]
BASE = ("jupyterlab>=4", "jupyter-collaboration>=4")  # as if the base image had them


def main(arguments: list[str]) -> None:
    assert arguments[0] == "build"
    pairs = list(pairwise(arguments))
    options = {key: value for key, value in pairs if key.startswith("--")}
    locals_ = dict(value.split("=", 1) for key, value in pairs if key == "--local")
    named = {value for key, value in pairs if key == "--opt"}
    name = re.search(r"name=([^,]*)", options["--output"])[1]  # type: ignore[index]
    print("#1 [internal] load build definition from Dockerfile")
    text = (Path(locals_["dockerfile"]) / "Dockerfile").read_text()
    instructions = [line.strip() for line in text.splitlines() if re.match(r"\s*[A-Z]+\s", line)]
    if not instructions or not any(line.startswith("FROM ") for line in instructions):
        fail("error: dockerfile parse error: no build stage")
    context = transferred("context", Path(locals_["context"]))
    others = {
        local: transferred(local, Path(place))
        for local, place in locals_.items()
        if f"context:{local}=local:{local}" in named
    }
    for line in instructions:
        if line == "RUN false":
            fail('error: failed to solve: process "/bin/sh -c false" did not complete successfully: exit code: 1')
        if line.startswith("RUN sleep "):
            print(f"#2 {line}", flush=True)
            time.sleep(float(line.split()[2]))
        if line.startswith("RUN await "):
            print(f"#2 {line}", flush=True)
            while not Path(line.split()[2]).exists():
                time.sleep(0.02)
    layer = installed(context)
    draft = made(instructions, layer, context, others)
    (draft / "venv").symlink_to(layer)
    digest = digest_of(draft, text)
    if (IMAGES / digest).exists():
        shutil.rmtree(draft)
    else:
        draft.rename(IMAGES / digest)
    print("#3 exporting to image")
    print(f"#3 pushing manifest for {name}@sha256:{digest}")
    if "--metadata-file" in options:
        told = {"containerimage.digest": f"sha256:{digest}", "image.name": name}
        Path(options["--metadata-file"]).write_text(json.dumps(told))


def made(instructions: list[str], layer: Path, context: Path, others: dict[str, Path]) -> Path:
    """The files of the image, as far as the tests look at them."""
    draft = IMAGES / f"draft-image-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    (draft / "app").mkdir(parents=True)
    broken = False
    for line in instructions:
        if re.match(r"(ADD|COPY) \. ", line):
            shutil.copytree(context, draft / "app", dirs_exist_ok=True, symlinks=True)
        if found := re.match(r"COPY --from=(\w+) \. /(\w+)", line):
            if found[1] not in others:
                fail(f"error: failed to solve: docker.io/library/{found[1]}:latest: pull access denied")
            shutil.copytree(others[found[1]], draft / found[2], dirs_exist_ok=True)
        if line == "RUN break jupyterlab":  # as an extension that does not go with it
            broken = True
        if line.startswith("RUN python=$("):
            added = subprocess.run([layer / "bin/python", draft / "kaosd" / "add.py"], check=False)
            if added.returncode:
                fail("error: failed to solve: process did not complete successfully")
    if broken:
        (draft / "kaosd" / "hosted" / "host.py").write_text("raise ImportError('no such package')\n")
    return draft


def fail(text: str) -> None:
    print(text, file=sys.stderr)
    raise SystemExit(1)


def transferred(name: str, source: Path) -> Path:
    """What the daemon has of a local context after this build has sent what looks different."""
    kept = IMAGES / f"local-{name}"
    kept.mkdir(exist_ok=True)
    sent = 0
    wanted = {path.relative_to(source) for path in source.rglob("*")}
    for path in sorted((path for path in kept.rglob("*") if path.relative_to(kept) not in wanted), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    for relative in sorted(wanted):
        if stamp(source / relative) == stamp(kept / relative):
            continue
        sent += copied(source / relative, kept / relative)
    print(f"#1 transferring {name}: {sent}B")
    return kept


def stamp(path: Path) -> object:
    if not os.path.lexists(path):
        return None
    status = path.lstat()
    if path.is_symlink():
        return os.readlink(path)
    return status.st_mode if path.is_dir() else (status.st_mode, status.st_size, int(status.st_mtime))


def copied(source: Path, target: Path) -> int:
    if os.path.lexists(target) and (not target.is_dir() or target.is_symlink()):
        target.unlink()
    if source.is_symlink():
        target.symlink_to(os.readlink(source))
    elif source.is_dir():
        target.mkdir(exist_ok=True)
        target.chmod(source.stat().st_mode)
    else:
        if target.is_dir():
            shutil.rmtree(target)
        shutil.copy2(source, target)
        return source.stat().st_size
    return 0


def installed(context: Path) -> Path:
    """The virtual environment with what requirements.txt of the context names."""
    file = context / "requirements.txt"
    requirements = file.read_text() if file.exists() else ""
    layer = IMAGES / f"layer-{hashlib.sha256(requirements.encode()).hexdigest()[:32]}"
    if layer.exists():
        print("#2 CACHED")
        return layer
    print("#2 RUN pip install -r requirements.txt", flush=True)
    draft = IMAGES / f"draft-layer-{os.getpid()}"
    subprocess.run([UV, "venv", "-q", "--relocatable", draft], check=True)
    wanted = draft / "requirements.txt"
    wanted.write_text("\n".join([*BASE, requirements]) + "\n")
    done = subprocess.run([UV, "pip", "install", "-q", "--python", draft / "bin/python", "-r", wanted], check=False)
    if done.returncode:
        raise SystemExit(1)
    draft.rename(layer)
    return layer


def digest_of(image: Path, text: str) -> str:
    hasher = hashlib.sha256(text.encode())
    for path in sorted(image.rglob("*")):
        hasher.update(f"{path.relative_to(image)} {path.lstat().st_mode}\n".encode(errors="surrogateescape"))
        if path.is_symlink():
            hasher.update(os.readlink(path).encode())
        elif path.is_file():
            hasher.update(path.read_bytes())
    return hasher.hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
