"""kaosctl: the client. Standard library only; `status` takes a path of its own that loads next to nothing."""

from __future__ import annotations

import os
import sys

from kaosd.ctl import failure
from kaosd.errors import KaosError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and return the exit code of design section 4."""
    given = sys.argv[1:] if arguments is None else arguments
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(given)
        sys.stdout.flush()
    except KaosError as error:
        return _tell(error, as_json="--json" in given)
    except KeyboardInterrupt:
        return failure.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        return failure.BROKEN_PIPE
    return code


def _run(given: list[str]) -> int:
    if given[:1] == ["status"]:
        from kaosd.ctl.status import plain, show

        if (simple := plain(given[1:])) is not None:
            return show(**simple)
    if given[:1] == ["__complete"]:
        from kaosd.ctl.completing import answer

        return answer(given[1:])
    from kaosd.ctl.usage import run

    return run(given)


def _tell(error: KaosError, *, as_json: bool) -> int:
    """The sentence on stderr; with --json also as an object on stdout, so that a reader always gets JSON."""
    from kaosd.text import printable

    print(f"kaosctl: {printable(error.text)}", file=sys.stderr)
    if error.hint:
        print(f"  {printable(error.hint)}", file=sys.stderr)
    if as_json:
        import json

        print(json.dumps({"error": {"code": error.code, "text": error.text, "hint": error.hint}}), flush=True)
    return getattr(error, "exit_code", failure.FAILED)
