"""The command `kaosd`: run, check, demo, install-service, uninstall-service. Each loads what it needs itself."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kaosd import sd, standard_streams
from kaosd.ctl.daemon_usage import daemon_commands
from kaosd.ctl.failure import USAGE, Failure
from kaosd.display import printable
from kaosd.errors import ConfigError, KaosError

EX_CONFIG = 78  # sysexits.h: systemd does not restart after it


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    standard_streams.repair()
    os.umask(os.umask(0) & ~0o700)  # what it makes is at least its owner's to use
    try:
        code = _attempt(argv)
    except OSError:  # the streams take nothing any more
        code = 1
    standard_streams.flush()
    return code


def _attempt(argv: list[str] | None) -> int:
    try:
        commands = daemon_commands()
        given = sys.argv[1:] if argv is None else argv
        commands.check(given)
        arguments = commands.parser.parse_args(given)
        if "run" not in arguments:
            commands.parser.print_help(sys.stderr)
            return USAGE
        return DO[arguments.run](arguments)
    except SystemExit as ended:  # argparse has said why
        return ended.code if isinstance(ended.code, int) else 2
    except KaosError as error:
        return _tell(error)
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # a full disk, a file that is not ours: nothing that a traceback would explain
        return _tell(KaosError(f"{error.filename or 'the system'}: {error.strerror or error}"))


def _tell(error: KaosError) -> int:
    print(f"kaosd: {printable(str(error))}", file=sys.stderr)  # noqa: T201
    if isinstance(error, Failure):  # wrong usage
        return error.exit_code
    return EX_CONFIG if isinstance(error, ConfigError) and not error.retryable else 1


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _run(arguments: argparse.Namespace) -> int:
    from kaosd import proc

    proc.unmarked()
    sd.notify(sd.status("starting"))
    gc.disable()  # what is loaded stays: to go through it again and again takes a tenth of the start
    import structlog

    from kaosd.daemon import serve
    from kaosd.logging_setup import configure
    from kaosd.settings import load, prepare

    gc.freeze()
    gc.enable()
    activated = sd.listening()
    config = _path(arguments.config)
    settings = load(config)
    prepare(settings)
    end_logging = configure(settings.log, settings.state_dir)
    try:
        return asyncio.run(serve(settings, config, activated))
    except BaseExceptionGroup as group:
        mistake = _mistake(group)
        # its file is all that is left where nothing reads the standard error
        structlog.get_logger().error("daemon_broke", error=str(mistake or group), exc_info=None if mistake else group)
        if mistake is not None:
            raise mistake from None
        raise
    finally:
        end_logging()


def _mistake(group: BaseExceptionGroup[BaseException]) -> KaosError | OSError | None:
    """The first error of a group that has nothing but errors of ours, and of the system, in it."""
    while isinstance(group.exceptions[0], BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    found = [one for one in group.exceptions if isinstance(one, KaosError | OSError)]
    return found[0] if len(found) == len(group.exceptions) else None


def _check(arguments: argparse.Namespace) -> int:
    from kaosd import config_check
    from kaosd.settings import load

    settings = load(_path(arguments.config))
    found = config_check.examine(settings)
    errors = sum(one.severity == "error" for one in found)
    there = "" if settings.config.exists() else "absent, the defaults apply; "
    counts = ((errors, "error"), (len(found) - errors, "warning"))
    told = ", ".join(f"{number} {what}{'' if number == 1 else 's'}" for number, what in counts if number)
    lines = [f"{settings.config}: {there}{told or 'fine'}", *map(str, found)]
    for spec in settings.notebooks:
        source, data = spec.source or "the empty notebook", spec.data or "none"
        lines.append(f"{spec.name}: engine {spec.engine}, source {source}, data {data}")
    print("\n".join(printable(line) for line in lines))  # noqa: T201
    return 1 if errors else 0


def _backup(arguments: argparse.Namespace) -> int:
    """Write a backup while no daemon runs; with one, `kaosctl backup` has it do that."""
    from kaosd.bundle import Store
    from kaosd.daemon import lock_state
    from kaosd.journal import Journal
    from kaosd.notebook.backup_writing import write_backup
    from kaosd.settings import load, prepare

    settings = load()
    prepare(settings)
    with contextlib.ExitStack() as stack:
        lock_state(settings, stack)
        now = time.time()
        journal = stack.enter_context(Journal(settings.state_dir / "journal.sqlite", now))
        store = stack.enter_context(contextlib.closing(Store(settings.state_dir / "store")))
        told = write_backup(journal, store, settings.state_dir, Path(arguments.file).absolute(), now)
    print(json.dumps(told))  # noqa: T201
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from kaosd.daemon import lock_state
    from kaosd.notebook.backup_reading import read_backup
    from kaosd.settings import load, prepare

    settings = load()
    prepare(settings)
    with contextlib.ExitStack() as stack:
        lock_state(settings, stack)
        told = read_backup(Path(arguments.file).absolute(), settings.state_dir, force=arguments.force)
    print(json.dumps(told))  # noqa: T201
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from kaosd import demo
    from kaosd.settings.locations import expand

    return demo.run(expand(arguments.directory, None, os.environ))


def _install(arguments: argparse.Namespace) -> int:
    from kaosd import install

    return install.install(now=arguments.now)


def _uninstall(_: argparse.Namespace) -> int:
    from kaosd import install

    return install.remove()


DO: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "check": _check,
    "demo": _demo,
    "backup": _backup,
    "restore": _restore,
    "install-service": _install,
    "uninstall-service": _uninstall,
}


if __name__ == "__main__":
    sys.exit(main())
