"""kaosctl(1) and kaosd(1), made from the same texts as the help. `python -m kaosd.ctl.man_pages DIR` writes them.

The wheel is built with them (see .ci/build_hook.py), so that `man kaosctl` works wherever the program is installed.
"""

from __future__ import annotations

import argparse
import os
import sys

from kaosd import __version__
from kaosd.ctl import manual
from kaosd.ctl.commands import Commands, ManualPage
from kaosd.ctl.daemon_usage import daemon_commands
from kaosd.ctl.usage import all_commands

VARIABLES = {
    "KAOSD_CONFIG": "the configuration file",
    "KAOSD_STATE_DIR": "the state directory",
    "KAOSD_SOCKET": "the daemon's socket",
    "KAOSD_<KEY>": "any other key of the configuration file; `kaosctl help settings` lists them",
    "NO_COLOR": "set to anything: no colours",
    "COLUMNS": "the width of the output",
}


def pages() -> dict[str, str]:
    """The text of each man page by the name of its file."""
    return {
        "kaosctl.1": page(all_commands(), "kaosd(1), `kaosctl help` lists topics"),
        "kaosd.1": page(daemon_commands(), "kaosctl(1), `kaosctl help configuration`"),
    }


def page(commands: Commands, see: str) -> str:
    """The man page of one program."""
    program, about = commands.parser.prog, (commands.parser.description or "").split("\n\n")
    lines = [
        f'.TH {program.upper()} 1 "" "kaosd {__version__}" "User Commands"',
        ".nh",  # words are not hyphenated, and lines not stretched: commands are copied from here
        ".ad l",
        *_section("NAME", [f"{program} \\- {_text(about[0][0].lower() + about[0][1:].rstrip('.'))}"]),
        *_section("SYNOPSIS", [f"\\fB{program}\\fR \\fICOMMAND\\fR [\\fIARGUMENT\\fR ...]"]),
        *_section("DESCRIPTION", _paragraphs(about[1:])),
        *_section("COMMANDS", [line for name, one in commands.pages() for line in _command(f"{program} {name}", one)]),
        *_section("EXIT STATUS", [line for code, text in commands.codes.items() for line in _item(str(code), text)]),
        *_section("ENVIRONMENT", [line for name, text in VARIABLES.items() for line in _item(name, text)]),
        *_section("FILES", [line for text in manual.FILES.values() for line in _item(*text.split(": ", 1))]),
        *_section("SEE ALSO", [_text(see)]),
    ]
    return "\n".join(lines) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _command(line: str, one: ManualPage) -> list[str]:
    """One command: how it is called, what it does, its arguments and examples."""
    usage = " ".join(one.parser.format_usage().removeprefix("usage: ").split())
    arguments = [action for action in one.parser._actions if action.dest not in ("help", "as_json")]
    return [
        f".SS {_text(line)}",
        f"\\fB{_text(usage)}\\fR",
        *([".PP"] if one.parser.description else []),
        *_paragraphs((one.parser.description or "").split("\n\n")),
        *(text for action in arguments for text in _argument(action)),
        *(
            [".PP", "Example:" if len(one.examples) == 1 else "Examples:", ".PP", ".nf", ".RS 4"]
            if one.examples
            else []
        ),
        *map(_text, one.examples),
        *([".RE", ".fi"] if one.examples else []),
    ]


def _argument(action: argparse.Action) -> list[str]:
    """One argument with its help."""
    value = str(action.metavar or action.dest) if action.nargs != 0 else ""
    names = ", ".join(f"\\fB{_text(name)}\\fR" for name in action.option_strings)
    shown = f"\\fI{_text(value)}\\fR" if value else ""
    return [".TP", " ".join(filter(None, (names, shown))), _text(" ".join((action.help or "").split()))]


def _paragraphs(texts: list[str]) -> list[str]:
    """Paragraphs of running text, with .PP between them."""
    lines: list[str] = []
    for text in texts:
        lines += [".PP"] * bool(lines)
        lines.append(_text(" ".join(text.split())))
    return lines


def _item(name: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_text(name)}\\fR", _text(text)]


def _text(text: str) -> str:
    """*text* as a line of a man page: nothing in it is taken for a request or an escape."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def write(directory: str) -> list[str]:
    """Write the pages into *directory*, which is made; their paths."""
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name, text in pages().items():
        paths.append(os.path.join(directory, name))
        with open(paths[-1], "w", encoding="utf-8") as file:
            file.write(text)
    return paths


if __name__ == "__main__":
    print("\n".join(write(sys.argv[1])))
