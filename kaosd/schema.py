"""Which layout the state directory has: told in one small file, so that an older kaosd never touches a newer one's."""

from __future__ import annotations

import os
from pathlib import Path

from kaosd.errors import ConfigError

SCHEMA = 1
FILE = "schema"


def check(state_dir: Path) -> None:
    """Take the state directory for this version; one without the file has the layout of the versions before it.

    The caller holds the directory's lock. Raises ConfigError, and has changed nothing, when it is of a newer kaosd.
    """
    path = state_dir / FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        _write(path)
        return
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="see `ls -l` on it") from error
    if not text.strip().isdecimal():
        raise ConfigError(f"{path} holds no number", hint=f"this kaosd writes {SCHEMA} there; was it edited?")
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
        draft.write_text(f"{SCHEMA}\n")
        os.replace(draft, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", hint="is the disk full?") from error
