"""Completion: what is offered, as a table, and that bash, zsh and fish themselves complete with it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from typing import ClassVar

import pytest

from kaosd.ctl.completing import SCRIPTS, Completions, Names, Words, complete
from kaosd.ctl.daemon_usage import daemon_commands
from kaosd.ctl.failure import Failure
from kaosd.ctl.usage import all_commands
from tests.ctl.standin import Daemon, notebook, until

NAME = "notebook-mnist-ada"


class Known(Names):
    """Names without a daemon."""

    def notebooks(self) -> Words:
        return [(NAME, "live"), ("other", "failed")]

    def templates(self) -> Words:
        return [("mnist", ""), ("notebook", "")]

    def deployments(self, name: str, *, past: bool = False) -> Words:
        if name != NAME:
            raise Failure("there is no such notebook")
        return [("8", "failed, a.txt")] * past + [("7", "live, b.py")]

    def edits(self, name: str) -> Words:
        if name != NAME:
            raise Failure("there is no such notebook")
        return [("train.ipynb", "edited")]

    def copies(self, name: str) -> Words:
        if name != NAME:
            raise Failure("there is no such notebook")
        return [("train.ipynb", "2026-11-18T10:14:39.000Z")]


# What is typed after "kaosctl ", the last word being completed; what is offered.
TABLE = {
    "sta": ["status", "start"],
    "notebook ": ["deploy", "list", "build-logs", "kill"],
    "notebook b": ["build-logs"],
    "--": ["--help", "--version"],
    "notebook --": ["--help"],
    "status ": [NAME, "other"],
    "status no": [NAME],
    "status other ": [],
    "status --w": ["--watch"],
    "status --watch --": ["--help", "--json", "--verbose"],
    "status --watch ": [NAME, "other"],
    "logs -": [
        "--help",
        "--json",
        "--stage",
        "--deploy",
        "--job",
        "--follow",
        "--lines",
        "--since",
        "--grep",
        "--verbose",
    ],
    "logs --stage ": ["watch", "build", "host", "daemon"],
    "logs --stage=h": ["--stage=host"],
    "logs --stage = h": ["host"],
    "logs --deploy f": ["failed"],
    f"logs {NAME} --deploy ": ["last", "failed", "8", "7"],
    "logs other --deploy ": ["last", "failed"],
    f"logs {NAME} --lines ": [],
    "logs -n 5 o": ["other"],
    "logs -n ": [],
    "notebook kill -n o": ["other"],
    "rm o": ["other"],
    "deploy --name no": [NAME],
    "notebook kill o": ["other"],
    "notebook kill other --k": ["--keep-data"],
    "notebook deploy --name no": [NAME],
    "rollback other ": [],
    "dep": ["deploy"],
    f"diff {NAME} ": ["train.ipynb", "8", "7"],
    f"diff {NAME} 7 8": ["8"],
    f"pull {NAME} ": ["train.ipynb"],
    "reset other ": [],
    f"rollback {NAME} ": ["7"],
    f"recovered {NAME} --restore ": ["train.ipynb"],
    "recovered unheard --restore ": [],
    "recovered --restore ": [],
    "template get ": ["mnist", "notebook"],
    "completion ": ["bash", "zsh", "fish"],
    "help noteb": ["notebook"],
    "help notebook k": ["kill"],
    "help getting": ["getting-started"],
    "help notebook kill ": [],
    "frobnicate ": [],
    "wait --timeout ": [],
}


@pytest.mark.parametrize("typed", TABLE)
def test_what_is_offered(typed: str) -> None:
    found = complete(typed.split(" "), all_commands(), Known())
    assert (found.kind, [word for word, _ in found.words]) == ("words", TABLE[typed])


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        ("notebook deploy -s ", "dirs"),
        ("notebook deploy --source=e", "dirs"),
        ("template get mnist ", "dirs"),
        ("why mod", "files"),
        ("doctor --bundle ", "files"),
    ],
)
def test_files_are_left_to_the_shell(typed: str, kind: str) -> None:
    assert complete(typed.split(" "), all_commands(), Known()) == Completions(kind, [])


@pytest.mark.parametrize(
    ("typed", "kind", "offered"),
    [
        ("", "words", ["run", "check", "demo", "backup", "restore", "install-service", "uninstall-service"]),
        ("--", "words", ["--help", "--version"]),
        ("run --", "words", ["--help", "--config"]),
        ("run --config ", "files", []),
        ("demo --directory ", "dirs", []),
        ("install-service --n", "words", ["--now"]),
    ],
)
def test_what_is_offered_of_the_daemon(typed: str, kind: str, offered: list[str]) -> None:
    found = complete(typed.split(" "), daemon_commands(), Known())
    assert (found.kind, [word for word, _ in found.words]) == (kind, offered)


def test_every_command_and_every_option_is_offered() -> None:
    groups = [("", all_commands())]
    while groups:
        before, group = groups.pop()
        offered = [word for word, _ in complete([*before.split(), ""], all_commands(), Known()).words]
        assert offered == [*group.summaries(), *group.aliases]
        groups += [(f"{before} {name}", inner) for name, inner in group.groups.items()]
        for name in group.summaries().keys() - group.groups.keys():
            parser = group.find([name])
            assert parser is not None
            words = complete([*before.split(), name, "-"], all_commands(), Known()).words
            long = {text for text in parser._option_string_actions if text.startswith("--")}
            assert {word for word, _ in words} == long


def test_names_come_from_the_daemon_with_their_states(daemon: Daemon) -> None:
    daemon.serves(notebook(), notebook("other", state="failed"))
    assert daemon.run("__complete", "status", "").stdout == f"words\n{NAME}\tlive\nother\tfailed\n"


def test_without_a_daemon_names_come_from_the_files_in_silence(stopped: Daemon) -> None:
    stopped.token(NAME)
    done = stopped.run("__complete", "logs", "n")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"words\n{NAME}\t\n", "")
    done = stopped.run("__complete", "recovered", NAME, "--restore", "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "words\n", "")


def test_names_cannot_bring_lines_of_their_own(daemon: Daemon) -> None:
    daemon.serves(notebook("a\nb\tc\x1b"))
    assert daemon.run("__complete", "status", "").stdout == "words\na\\x0ab c\\x1b\tlive\n"


class Shell:
    """An interactive shell that has read the script; the kaosctl on its path writes down what it is run with."""

    START: ClassVar = {
        "bash": (["bash", "--norc", "--noprofile", "-i"], "source <(kaosctl completion bash)"),
        "zsh": (["zsh", "-f", "-i"], "autoload -Uz compinit; compinit -u -D; source <(kaosctl completion zsh)"),
        "fish": (["fish", "--no-config", "-i"], "kaosctl completion fish | source"),
    }

    def __init__(self, name: str, daemon: Daemon) -> None:
        command, self.setup = self.START[name]
        self.ran = daemon.root / "ran"
        programs = daemon.root / "bin"
        programs.mkdir()
        for program in ("kaosctl", "kaosd"):
            (programs / program).write_text(
                "#!/bin/sh\n"
                f'case $1 in __complete*|completion) exec {sys.executable} -m kaosd.ctl "$@" ;; esac\n'
                f'printf "<%s>" "$@" >>{self.ran}; echo >>{self.ran}\n'
            )
            (programs / program).chmod(0o755)
        environ = {**daemon.environment, "PATH": f"{programs}:{os.environ['PATH']}", "TERM": "xterm"}
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=daemon.root
        )
        os.close(slave)

    def types(self, text: str) -> None:
        os.write(self.master, text.encode())

    def has_run(self, line: str) -> bool:
        """Whether kaosctl was run so; what the shell writes meanwhile is read, or it would stop."""
        while select.select([self.master], [], [], 0)[0]:
            os.read(self.master, 65536)
        ran = self.ran.read_text() if self.ran.exists() else ""
        return line in ran.replace("/>", ">").splitlines()  # zsh takes the slash off again

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.mark.not_quick
@pytest.mark.parametrize("name", Shell.START)
def test_the_shell_itself_completes(name: str, daemon: Daemon) -> None:
    assert set(SCRIPTS) == set(Shell.START)
    daemon.serves(notebook())
    (daemon.root / "example directory").mkdir()
    (daemon.root / "exact").write_text("")
    shell = Shell(name, daemon)
    try:
        shell.types(f"{shell.setup}\rkaosctl ready\r")
        until(lambda: shell.has_run("<ready>"))
        shell.types("kaosctl stat\t --wat\t noteb\t\r")
        until(lambda: shell.has_run(f"<status><--watch><{NAME}>"))
        shell.types("kaosctl notebook dep\t-s exam\t\r")
        until(lambda: shell.has_run("<notebook><deploy><-s><example directory>"))
        shell.types("kaosctl why exac\t\r")
        until(lambda: shell.has_run("<why><exact>"))
        shell.types("kaosd demo --dir\texam\t\r")
        until(lambda: shell.has_run("<demo><--directory><example directory>"))
    finally:
        shell.close()
