"""`status --watch` on a real terminal: what a person sees, through changes, new sizes, an outage and ^C."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from tests.ctl.standin import Daemon, listening, notebook, until

NAME = "notebook-mnist-ada"


class Tmux:
    """One shell on a terminal of tmux, with a server of its own."""

    def __init__(self, daemon: Daemon) -> None:
        self._socket = str(daemon.root / "tmux")
        self._environment = {**daemon.environment, "TERM": "xterm-256color", "PS1": "prompt> "}
        self.tmux("new-session", "-d", "-x", "80", "-y", "24", "bash --norc --noprofile")
        self.tmux("set-option", "-g", "window-size", "manual")

    def tmux(self, *arguments: str) -> str:
        """Run a command of tmux; what it prints."""
        command = ["tmux", "-S", self._socket, "-f", "/dev/null", *arguments]
        return subprocess.run(command, env=self._environment, check=True, capture_output=True, text=True).stdout

    def types(self, text: str) -> None:
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def lines(self) -> list[str]:
        """What is to be seen, without the empty lines at the end."""
        return self.tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def expect(self, *texts: str) -> list[str]:
        """Return what is to be seen once it holds all of *texts*."""
        until(lambda: all(text in "\n".join(self.lines()) for text in texts))
        return self.lines()

    def flags(self) -> str:
        """Wrapping, the cursor, the other screen."""
        return self.tmux("display-message", "-p", "#{wrap_flag}#{cursor_flag}#{alternate_on}").strip()


def count(lines: list[str], text: str) -> int:
    return sum(text in line for line in lines)


@pytest.mark.not_quick
def test_the_picture_stays_in_place_and_the_terminal_as_it_was(stopped: Daemon) -> None:
    daemon = stopped
    daemon.answers["GET /v1/events"] = {"events": [], "last": 1, "gap": False}
    daemon.serves(notebook())
    terminal = Tmux(daemon)
    try:
        with listening(daemon):
            before = terminal.flags()
            terminal.types("echo earlier work")
            terminal.types(f"{shlex.quote(sys.executable)} -m kaosd.ctl status --watch")
            terminal.expect("kaosd 0.1.0", f"● {NAME}")
            daemon.serves(notebook(state="failed", reason="no such package"), notebook("other"))
            lines = terminal.expect("no such package", "● other")
            assert (count(lines, "kaosd 0.1.0"), count(lines, f"✗ {NAME}"), count(lines, "● notebook")) == (1, 1, 0)
            daemon.serves(notebook())
            until(lambda: count(terminal.lines(), "other") == 0)
            assert "earlier work" in terminal.lines()
            terminal.tmux("resize-window", "-x", "50")
            terminal.expect("http://127.0.0.1:8890/NAME/lab", "\n  notebook ")
            until(lambda: count(terminal.lines(), "kaosd 0.1.0") == 1 and count(terminal.lines(), "●") == 1)
            terminal.tmux("resize-window", "-x", "100", "-y", "5")
            until(lambda: len(terminal.lines()) <= 5 and count(terminal.lines(), "●") == 1)
            terminal.tmux("resize-window", "-y", "24")
            until(lambda: count(terminal.lines(), "/notebook-mnist-ada/lab") == 1)
        terminal.expect("waiting for it", f"● {NAME}")
        with listening(daemon):
            until(lambda: count(terminal.lines(), "waiting for it") == 0)
            terminal.expect(f"● {NAME}")
            terminal.tmux("send-keys", "C-c")
            terminal.types("echo the end $?")
            lines = terminal.expect("the end 130")
        assert count(lines, f"● {NAME}") == 1
        assert terminal.flags() == before == "110"
    finally:
        terminal.tmux("kill-server")
