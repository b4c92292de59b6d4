"""kaosctl: the client. Standard library only; `status` takes a path of its own that loads next to nothing."""

from __future__ import annotations

import os
import sys

from kaosd import standard_streams
from kaosd.ctl import failure
from kaosd.errors import KaosError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command, and return its exit code; manual.EXIT_CODES says what each means."""
    standard_streams.repair()
    given = sys.argv[1:] if arguments is None else arguments
    code, unwritten = failure.FAILED, None
    try:
        code = _attempt(given)
    except OSError as error:  # not even the sentence about an error can be written
        unwritten = error
    left = standard_streams.flush()
    if (failed := unwritten or left) is not None:
        code = _unwritten(failed)
        standard_streams.flush()
    return code


def _attempt(given: list[str]) -> int:
    try:
        return _run(given)
    except SystemExit as ended:  # argparse has said why
        return ended.code if isinstance(ended.code, int) else failure.USAGE
    except KaosError as error:
        return _tell(error, as_json="--json" in given)
    except KeyboardInterrupt:
        return failure.INTERRUPTED
    except BrokenPipeError:
        return failure.BROKEN_PIPE
    except OSError as error:
        if error.filename is None:
            raise
        return _tell(KaosError(f"{os.fsdecode(error.filename)}: {error.strerror}"), as_json="--json" in given)


def _unwritten(error: OSError) -> int:
    """The exit code for output that cannot be written; that its reader has left is not a mistake."""
    if isinstance(error, BrokenPipeError):
        return failure.BROKEN_PIPE
    try:
        sys.stderr.write(f"kaosctl: the output cannot be written: {error.strerror}\n")
    except OSError:
        standard_streams.flush()  # drops what is left
    return failure.FAILED


def _run(given: list[str]) -> int:
    if given[:1] == ["status"]:
        from kaosd.ctl.status import plain, show

        if (simple := plain(given[1:])) is not None:
            return show(**simple)
    if not given:
        from kaosd.ctl import welcome

        return welcome.show()
    if given[0] in ("__complete", "__complete-kaosd"):
        from kaosd.ctl.completing import answer

        return answer(given[1:], of_daemon=given[0] == "__complete-kaosd")
    from kaosd.ctl.usage import run

    return run(given)


def _tell(error: KaosError, *, as_json: bool) -> int:
    """The sentence on stderr; with --json also as an object on stdout, so that a reader always gets JSON."""
    from kaosd.display import printable

    print(f"kaosctl: {printable(error.text)}", file=sys.stderr)
    if error.hint:
        print(f"  {printable(error.hint)}", file=sys.stderr)
    if as_json:
        import json

        print(json.dumps({"error": {"code": error.code, "text": error.text, "hint": error.hint}}), flush=True)
    return getattr(error, "exit_code", failure.FAILED)
