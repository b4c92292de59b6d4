"""`kaosctl help`: the page of a command or a topic, or the list of all of them."""

from __future__ import annotations

import difflib

from kaosd.ctl import command_output, failure, pager, topics
from kaosd.ctl.failure import Failure
from kaosd.ctl.usage import all_commands


def show(command: list[str], *, as_json: bool = False) -> int:
    """`kaosctl help COMMAND`: the same page as `kaosctl COMMAND --help`; or `kaosctl help TOPIC`."""
    commands = all_commands()
    found = commands.find(command)
    if found is None and len(command) == 1 and command[0] in topics.names():
        return topics.show(command[0], as_json=as_json)
    if found is None:
        raise _unknown(command, [*commands.summaries(), *topics.names()])
    page = found.format_help()
    if not command:
        page += "\n" + _list_of_topics(topics.titles())
    if as_json:
        command_output.tell({"help": page}, (), as_json=True)
    else:
        pager.show(page.splitlines())
    return 0


def _unknown(command: list[str], known: list[str]) -> Failure:
    close = difflib.get_close_matches(command[0], known, n=1) if len(command) == 1 else []
    return Failure(
        f"there is no command or topic {' '.join(command)!r}",
        hint=f"did you mean `kaosctl help {close[0]}`?" if close else "`kaosctl help` lists commands and topics",
        exit_code=failure.USAGE,
        code="usage",
    )


def _list_of_topics(titles: dict[str, str]) -> str:
    longest = max(map(len, titles))
    return "\n".join(
        ["topics (kaosctl help TOPIC):", *(f"  {name:{longest}}  {title}" for name, title in titles.items())]
    )
