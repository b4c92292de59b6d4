"""The standard streams of kaosd and kaosctl, made fit for use. Standard library only, and cheap to import.

A program can be started without them (a service, `>&-`), in a locale that knows few characters, and with a disk or a
pipe behind them that takes no more.
"""

from __future__ import annotations

import os
import sys


def repair() -> None:
    """Put /dev/null in the place of each stream that is closed, and have the others write any text.

    Without that the first file or socket that the program opens becomes its standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(_nothing(), mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def flush() -> OSError | None:
    """Write what is left; the first error, after which nothing more is written to that stream."""
    failed = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failed = failed or error
            os.dup2(_nothing(), stream.fileno())  # or Python tries again at its end, and complains
    return failed


def _nothing() -> int:
    """A descriptor of /dev/null: the lowest free one, which is that of the stream that is closed."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(descriptor, True)
    return descriptor
