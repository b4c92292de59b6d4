"""`--help` and `kaosctl help`: the page of each command, in the manner of a man page, as wide as the terminal."""

from __future__ import annotations

import argparse
import textwrap

EXIT_CODES = {
    0: "fine",
    1: "failed, or a notebook is failed or stale",
    2: "wrong usage",
    3: "the daemon is not running",
    4: "no such notebook, job or path",
    5: "timed out",
    130: "interrupted",
}
FILES = {
    "socket": "$XDG_RUNTIME_DIR/kaosd/kaosd.sock: where the daemon listens (KAOSD_SOCKET)",
    "state": "$XDG_STATE_HOME/kaosd: versions, environments, logs, history (KAOSD_STATE_DIR)",
    "logs": "<state>/notebooks/NAME/logs, <state>/logs/daemon.log: what `logs` reads",
    "recovered": "<state>/notebooks/NAME/recovered: the copies",
    "token": "<state>/notebooks/NAME/token, <state>/token: the tokens, private to you",
    "config": "$XDG_CONFIG_HOME/kaosd/kaosd.toml: the configuration (KAOSD_CONFIG)",
}


class Formatter(argparse.HelpFormatter):
    """Paragraphs are filled, lines that are set in stay as they are, columns stay narrow."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26)
        self._action_max_length = 14  # of the longest command, which argparse forgets that it sets in further

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for line in text.splitlines():
            inner = line.lstrip()
            before = indent + line[: len(line) - len(inner)]
            # Commands are copied whole, so a line with one is never broken.
            verbatim = inner.startswith(("kaosctl ", "kaosd ", "source <(", "$ "))
            lines += [before + inner] if verbatim or not inner else _filled(inner, width, before)
        return "\n".join(lines)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """-n, --lines N instead of -n N, --lines N."""
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {value}"


def _filled(text: str, width: int, before: str) -> list[str]:
    return textwrap.wrap(
        text,
        max(width, 20),
        initial_indent=before,
        subsequent_indent=before + ("    " if before else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )


def description(summary: str, about: str) -> str:
    """The first part of a page."""
    first = summary[0].upper() + summary[1:] + "."
    return "\n\n".join([first, *(" ".join(part.split()) for part in about.split("\n\n") if part.strip())])


def epilog(
    examples: tuple[str, ...], exits: tuple[int, ...], files: tuple[str, ...], codes: dict[int, str] = EXIT_CODES
) -> str:
    """The last part of a page: examples, exit codes (of *codes* those in *exits*), files."""
    parts = [_part("examples" if len(examples) > 1 else "example", examples)]
    parts.append(_part("exit codes", [f"{code:<4} {codes[code]}" for code in exits]))
    if files:
        parts.append(_part("files", [FILES[name] for name in files]))
    return "\n\n".join(parts)


def _part(title: str, lines: list[str] | tuple[str, ...]) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in lines)])
