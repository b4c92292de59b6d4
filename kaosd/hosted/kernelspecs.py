"""How a kernel is reached and started, decided by the command of its kernelspec. No Jupyter import.

The kernels of a notebook are its own `python3`, those that packages of its environment bring, those of this system,
and where the setting says so the person's own (R, Julia, another Python). Only `python3` names `start.py` in its
command. The others are put behind it here, so that none of them finds programs of the shared environment on its PATH.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from string import Template

OUTSIDE = "--outside"  # for start.py: a program that is not of the notebook's environment
_PYTHON = re.compile(r"python[0-9.]*")


def takes_sockets(argv: Sequence[str], starter: Sequence[str]) -> bool:
    """Whether a kernel of this command can listen at Unix sockets; the others get ports of 127.0.0.1.

    Only ipykernel is known to, and only where Python starts it directly: behind another program it may run on another
    machine or in a container. starter: the command that the notebook's own kernel has in front.
    """
    words = list(argv[len(starter) :] if list(argv[: len(starter)]) == list(starter) else argv)
    if not words or not _PYTHON.fullmatch(os.path.basename(words[0])):
        return False
    rest = words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-m":
        rest.pop(0)
    return rest[:1] == ["-m"] and rest[1:2] in (["ipykernel_launcher"], ["ipykernel"])


def started(command: Sequence[str], spec: str, starter: Sequence[str], environments: Iterable[str]) -> list[str]:
    """The command that starts a kernel by `start.py`.

    spec: the directory of its kernelspec. environments: directories of the notebook's environment, the server's
    and of what was installed by hand; a kernel that lies there, or is run by their Python, is started in the notebook's
    environment as it is then.
    """
    if list(command[: len(starter)]) == list(starter):
        return list(command)
    real = [os.path.realpath(one) for one in environments]
    directory, name = os.path.split(command[0])
    if _PYTHON.fullmatch(name) and directory and _lies_in(directory, real):
        return [*starter, "python", *command[1:]]
    return [*starter, *([] if _lies_in(spec, real) else [OUTSIDE]), *command]


def is_missing(program: str, path: str) -> bool:
    """Whether a program is surely not there. path: PATH as a kernelspec writes it, with ${VARIABLE}s."""
    import shutil  # noqa: PLC0415 - start.py imports this module, and has no time for it

    if os.path.dirname(program) and not os.path.isabs(program):
        return False  # from the directory of the document, which only the kernel is started in
    return shutil.which(program, path=Template(path).safe_substitute(os.environ)) is None


def _lies_in(path: str, directories: Iterable[str]) -> bool:
    real = os.path.realpath(path)
    return any(os.path.commonpath((real, one)) == one for one in directories)
