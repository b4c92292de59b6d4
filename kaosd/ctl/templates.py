"""`kaosctl template`: notebooks and data to start from, as they are shipped with the package."""

from __future__ import annotations

import os
import shutil

import kaosd
from kaosd.ctl import command_output, failure, places
from kaosd.ctl.failure import Failure

ROOT = os.path.join(os.path.dirname(kaosd.__file__), "templates")


def names() -> list[str]:
    """The templates that are shipped."""
    if not os.path.isdir(ROOT):
        return []
    return sorted(entry.name for entry in os.scandir(ROOT) if entry.is_dir() and not entry.name.startswith(("_", ".")))


def show_list(*, as_json: bool = False) -> int:
    """Print the names of the templates, and what is in each."""
    contents = {name: _files(os.path.join(ROOT, name)) for name in names()}
    rows = [(name, f"{len(found)} files", ", ".join(found[:3])) for name, found in contents.items()]
    lines = command_output.here().table(("template", "size", "holds"), rows)
    command_output.tell(
        {"templates": [{"name": name, "files": found} for name, found in contents.items()]}, lines, as_json=as_json
    )
    return 0


def get(name: str, directory: str | None = None, *, as_json: bool = False) -> int:
    """Copy a template; when any of its files is there already, nothing is copied."""
    if name not in names():
        hint = f"there are: {', '.join(names())}"
        raise Failure(f"there is no template {name!r}", hint=hint, exit_code=failure.NOT_FOUND, code="not_found")
    source, target = os.path.join(ROOT, name), places.absolute(directory or name)
    found = _files(source)
    taken = [path for path in found if os.path.lexists(os.path.join(target, path))]
    if taken:
        text = f"{os.path.join(target, taken[0])} is there already; nothing was copied"
        raise Failure(text, hint="name another directory", code="conflict")
    try:
        for path in found:
            os.makedirs(os.path.dirname(os.path.join(target, path)), exist_ok=True)
            shutil.copyfile(os.path.join(source, path), os.path.join(target, path))
    except OSError as error:
        raise Failure(f"the template cannot be copied to {target}: {error.strerror}") from None
    command_output.tell({"path": target, "files": found}, [command_output.here().paint("", target)], as_json=as_json)
    return 0


def _files(root: str) -> list[str]:
    """The files below *root*, relative to it."""
    found = []
    for directory, below, names_here in os.walk(root):
        below[:] = [name for name in below if name != "__pycache__"]
        found += [os.path.relpath(os.path.join(directory, name), root) for name in names_here]
    return sorted(found)
