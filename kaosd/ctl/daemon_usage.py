"""The commands of `kaosd`: what its own parser, its completion and its man page are made from."""

from __future__ import annotations

import argparse

from kaosd import __version__
from kaosd.ctl import manual
from kaosd.ctl.commands import Commands

EXIT_CODES = {
    0: "fine; `check`: at most warnings",
    1: "failed; `check`: an error was found",
    2: "wrong usage",
    78: "the configuration is wrong: systemd does not start kaosd again",
    130: "interrupted",
}


def daemon_commands() -> Commands:
    """Every command of kaosd."""
    commands = Commands(
        argparse.ArgumentParser(
            prog="kaosd",
            description=manual.description(
                "keeps hosted notebooks as they are on disk",
                """kaosd watches source and data directories and brings each save into a hosted JupyterLab. `kaosctl`
                talks to it; `kaosctl up` starts it where it does not run.""",
            ),
            epilog=manual.epilog(
                ("kaosd demo", "kaosd run"), tuple(EXIT_CODES), ("config", "state", "socket"), EXIT_CODES
            ),
            formatter_class=manual.Formatter,
            allow_abbrev=False,
        ),
        codes=EXIT_CODES,
        json=False,
    )
    commands.parser.add_argument("--version", action="version", version=f"kaosd {__version__}", help="the version")
    _running(commands)
    _state(commands)
    _service(commands)
    return commands


def _running(commands: Commands) -> None:
    for name, summary, about, exits in (
        (
            "run",
            "runs in the foreground (what systemd starts)",
            "SIGTERM and ^C stop it, the notebooks keep running; SIGHUP reads the configuration again.",
            (0, 1, 2, 78, 130),
        ),
        (
            "check",
            "checks the configuration, and whether this machine has what it asks for",
            """Errors: a source or data directory that does not exist, more cores, memory or GPUs than this machine has,
            an engine that a notebook needs and that does not answer. Warnings leave the exit code at 0.""",
            (0, 1, 2, 78),
        ),
    ):
        parser = commands.add(name, name, summary, about, examples=(f"kaosd {name}",), exits=exits, files=("config",))
        parser.add_argument("--config", metavar="FILE", help="the configuration file")
    parser = commands.add(
        "demo",
        "demo",
        "hosts the shipped example with the shipped data; ends with its address",
        examples=("kaosd demo",),
        exits=(0, 1, 2, 130),
    )
    parser.add_argument("--directory", metavar="DIR", default="~/kaosd-demo", help="where the example is put")


def _state(commands: Commands) -> None:
    for name, summary, about in (
        ("backup", "writes a backup of the state; no daemon may run", "`kaosctl backup` does it with and without one."),
        ("restore", "makes the state directory out of a backup", "`kaosctl restore` says what that means."),
    ):
        parser = commands.add(
            name, name, summary, about, examples=(f"kaosd {name} kaosd.backup",), exits=(0, 1, 2, 78), files=("state",)
        )
        parser.add_argument("file", metavar="FILE", help="the backup")
        if name == "restore":
            parser.add_argument("--force", action="store_true", help="set the present state aside first")


def _service(commands: Commands) -> None:
    parser = commands.add(
        "install-service",
        "install-service",
        "makes kaosd a service of your own systemd: starts at login, and when kaosctl asks",
        examples=("kaosd install-service --now",),
        exits=(0, 1, 2),
        files=(),
    )
    parser.add_argument("--now", action="store_true", help="start it at once, or again when it runs")
    commands.add(
        "uninstall-service",
        "uninstall-service",
        "undoes install-service; running notebooks, state and configuration stay",
        examples=("kaosd uninstall-service",),
        exits=(0, 1, 2),
        files=(),
    )
