"""A group of commands with their parsers: what `usage` fills, and `manual` and `completing` read."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator
from typing import NamedTuple

from kaosd.ctl import failure, manual
from kaosd.ctl.failure import Failure

ASKING = (0, 1, 2, 3, 130)  # exit codes of what only asks the daemon
NAMED = (0, 1, 2, 3, 4, 130)  # and of what names a notebook


# Words that people try, by the command that does it; what is spelled nearly like a command needs no line here.
_TRIED = {
    "rm": "delete remove destroy", "add": "install pip", "run": "exec execute", "stop": "end halt shutdown",
    "deploy": "register create push", "up": "init serve", "logs": "log tail", "status": "info show describe top",
    "rollback": "undo revert", "env": "packages freeze",
}  # fmt: skip
MEANT = {word: command for command, words in _TRIED.items() for word in words.split()}


class ManualPage(NamedTuple):
    """What a command's page of help is made from, beside its summary."""

    parser: argparse.ArgumentParser
    examples: tuple[str, ...]


class Commands:
    """A group of commands: all of a program, or `notebook` or `template`.

    codes: what the program's exit codes mean. json: whether every command takes --json.
    """

    def __init__(
        self, parser: argparse.ArgumentParser, *, codes: dict[int, str] = manual.EXIT_CODES, json: bool = True
    ) -> None:
        self.parser = parser
        self.codes = codes
        self._json = json
        self._choices = parser.add_subparsers(metavar="COMMAND", title="commands")
        self._pages: dict[str, ManualPage] = {}
        self.groups: dict[str, Commands] = {}
        self.aliases: dict[str, tuple[str, ...]] = {}

    def alias(self, word: str, *words: str) -> None:
        """Take *word* for the command of *words*: what people type who know another program."""
        self.aliases[word] = words

    def expand(self, given: list[str]) -> list[str]:
        """*given* with an alias at its start replaced."""
        return [*self.aliases.get(given[0], given[:1]), *given[1:]] if given else []

    def add(
        self,
        name: str,
        run: str,
        summary: str,
        about: str = "",
        *,
        examples: tuple[str, ...],
        exits: tuple[int, ...] = NAMED,
        files: tuple[str, ...] = ("socket",),
    ) -> argparse.ArgumentParser:
        """A command that *run* ("module:function" below kaosd.ctl) does; the rest is its page of help."""
        parser = self._choices.add_parser(
            name,
            help=summary,
            description=manual.description(summary, about),
            epilog=manual.epilog(examples, exits, files, self.codes),
            formatter_class=manual.Formatter,
            allow_abbrev=False,
        )
        if self._json:
            parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
        parser.set_defaults(run=run)
        self._pages[name] = ManualPage(parser, examples)
        return parser

    def group(self, name: str, summary: str) -> Commands:
        """A group of commands below this one."""
        text = manual.description(summary, "")
        parser = self._choices.add_parser(name, help=summary, description=text, formatter_class=manual.Formatter)
        self.groups[name] = Commands(parser)
        return self.groups[name]

    def summaries(self) -> dict[str, str]:
        """The names of the commands, each with what it does."""
        return {action.dest: str(action.help) for action in self._choices._choices_actions}

    def pages(self) -> Iterator[tuple[str, ManualPage]]:
        """Every command, those of groups too, by its words."""
        for name in self.summaries():
            if name in self.groups:
                yield from ((f"{name} {inner}", page) for inner, page in self.groups[name].pages())
            else:
                yield name, self._pages[name]

    def find(self, words: list[str]) -> argparse.ArgumentParser | None:
        """The parser of the command that *words* name, this group's own for none; None when there is no such."""
        if not words:
            return self.parser
        words = self.expand(words)
        if words[0] in self.groups:
            return self.groups[words[0]].find(words[1:])
        return self._choices.choices.get(words[0]) if len(words) == 1 else None

    def check(self, given: list[str]) -> None:
        """Failure, with the nearest name, when *given* starts with a command that does not exist."""
        if not given or given[0].startswith("-"):
            return
        if given[0] in self.groups:
            self.groups[given[0]].check(given[1:])
        elif given[0] not in self._choices.choices:
            known = [*self._choices.choices, *self.aliases]
            meant = [MEANT[given[0]]] if MEANT.get(given[0]) in known else []
            close = meant or difflib.get_close_matches(given[0], known, n=1)
            line = self.parser.prog
            raise Failure(
                f"there is no command {f'{line} {given[0]}'!r}",
                hint=f"did you mean `{line} {close[0]}`?" if close else f"`{line} --help` lists the commands",
                exit_code=failure.USAGE,
                code="usage",
            )
