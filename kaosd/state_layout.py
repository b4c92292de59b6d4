"""Which layout the state directory has: told in one small file, so that an older kaosd never touches a newer one's."""

from __future__ import annotations

import os
from pathlib import Path

from kaosd.aside import discard, is_file
from kaosd.errors import ConfigError

SCHEMA = 1
FILE = "schema"
_FIX = f"if no newer kaosd was here, `echo {SCHEMA} > {{}}` puts it right"


def check(state_dir: Path) -> None:
    """Take the state directory for this version; one without the file has the layout of the versions before it.

    The caller holds the directory's lock. Raises ConfigError, and has changed nothing, when it is of a newer kaosd.
    """
    path = state_dir / FILE
    try:
        if os.path.lexists(path) and not is_file(path):
            raise ConfigError(f"{path} is not a regular file", hint=f"remove it: `rm -r {path}`")
        text = path.read_text().strip("\0 \n") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint=_FIX.format(path)) from error
    if not text:  # made before there was such a file; or a power cut has emptied it
        _write(path)
        return
    if not (text.isascii() and text.isdecimal()):
        raise ConfigError(f"{path} holds no number: {text[:20]!a}", hint=_FIX.format(path))
    if int(text) > SCHEMA:
        raise ConfigError(
            f"{state_dir} belongs to a newer kaosd (layout {int(text)}, this one knows {SCHEMA})",
            hint="start that newer kaosd, or name another directory with KAOSD_STATE_DIR",
        )
    if int(text) < SCHEMA:  # before anything of the new layout is made: the older kaosd must not take it from now on
        _write(path)


def _write(path: Path) -> None:
    draft = path.with_name(f".{FILE}.new")
    try:
        discard(draft)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{SCHEMA}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="is the disk full?") from error
