"""The command `kaosd`: run, check, demo, install-service, uninstall-service."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import structlog

from kaosd import __version__, demo, install, proc, sd, streams
from kaosd.daemon import serve
from kaosd.errors import ConfigError, KaosError
from kaosd.log import configure
from kaosd.settings import load, prepare
from kaosd.settings.places import expand
from kaosd.text import printable

EX_CONFIG = 78  # sysexits.h: systemd does not restart after it


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    streams.repair()
    os.umask(os.umask(0) & ~0o700)  # what it makes is at least its owner's to use
    try:
        code = _attempt(argv)
    except OSError:  # the streams take nothing any more
        code = 1
    streams.flush()
    return code


def _attempt(argv: list[str] | None) -> int:
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.do(arguments))
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
    return EX_CONFIG if isinstance(error, ConfigError) and not error.retryable else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kaosd", description="Source bundle + data = hosted notebook, on every save.")
    parser.add_argument("--version", action="version", version=f"kaosd {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, do, text in (
        ("run", _run, "run in the foreground (what systemd starts)"),
        ("check", _check, "check the configuration and say what it means"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", type=Path, metavar="FILE", help="the configuration file")
        command.set_defaults(do=do)
    text = "host the shipped example with the shipped data; ends with its URL"
    command = commands.add_parser("demo", help=text, description=text)
    command.add_argument("--directory", default="~/kaosd-demo", help="where the example is put")
    command.set_defaults(do=lambda chosen: demo.run(expand(chosen.directory, None, os.environ)))
    text = "make kaosd a service of your own systemd: starts at login, and when kaosctl asks"
    command = commands.add_parser("install-service", help=text, description=text)
    command.add_argument("--now", action="store_true", help="start it at once, or again when it runs")
    command.set_defaults(do=lambda chosen: install.install(now=chosen.now))
    text = "undo install-service; running notebooks, state and configuration stay"
    command = commands.add_parser("uninstall-service", help=text, description=text)
    command.set_defaults(do=lambda _: install.remove())
    return parser


def _run(arguments: argparse.Namespace) -> int:
    proc.unmarked()
    sd.notify(sd.status("starting"))
    activated = sd.listening()
    settings = load(arguments.config)
    prepare(settings)
    end_logging = configure(settings.log, settings.state_dir)
    try:
        return asyncio.run(serve(settings, arguments.config, activated))
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
    settings = load(arguments.config)
    found = "fine" if settings.config.exists() else "absent, the defaults apply"
    lines = [f"{settings.config}: {found}", *(f"warning: {text}" for text in settings.warnings)]
    for spec in settings.notebooks:
        source, data = spec.source or "the empty notebook", spec.data or "none"
        lines.append(f"{spec.name}: engine {spec.engine}, source {source}, data {data}")
    print("\n".join(lines))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
