"""Completion in a shell: `kaosctl completion SHELL` prints a script that asks `kaosctl __complete WORDS` at each TAB.

For `kaosd` it asks `kaosctl __complete-kaosd WORDS`: kaosd itself takes too long to start.

The answer is made out of the command table itself, so it is never out of date. Its first line says what follows:
"words" (then a line each: the word, a tab, what it means), or that the shell shall complete "files" or "dirs".
Whatever goes wrong, nothing is said and nothing is offered.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kaosd.ctl import command_output
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.commands import Commands
from kaosd.ctl.failure import Failure

TAB = "\t"
QUICK = 0.5  # seconds that the daemon may take; a person waits at the prompt
Words = list[tuple[str, str]]  # each with what it means


class Completions(NamedTuple):
    """kind: "words", or "files" or "dirs", which the shell knows better."""

    kind: str
    words: Words


class Names:
    """The names that only the daemon, or its files, know."""

    def notebooks(self) -> Words:
        """The notebooks with their states; without a daemon those that have files."""
        from kaosd.ctl import files, places

        client = Client()
        try:
            found = client.get("/v1/status", timeout=QUICK)
        except Failure:
            return [(name, "") for name in files.notebook_names(places.state_dir())]
        return [(one["name"], one["state"]) for one in found["notebooks"]]

    def templates(self) -> Words:
        """The templates that are shipped."""
        from kaosd.ctl import templates

        return [(name, "") for name in templates.names()]

    def deployments(self, name: str, *, past: bool = False) -> Words:
        """The deployments that a notebook can be rolled back to; with *past* all that it had."""
        found = Client().get(notebook_path(name, "history"), timeout=QUICK)
        return [
            (str(one["number"]), ", ".join([one["outcome"], *map(str, one["cause"][:3])]))
            for one in found["deployments"]
            if past or one.get("can_roll_back")
        ]

    def edits(self, name: str) -> Words:
        """The files that were edited in a notebook."""
        found = Client().get(notebook_path(name, "edits"), timeout=QUICK)
        return [(one["path"], one["kind"]) for one in found["files"]]

    def copies(self, name: str) -> Words:
        """The paths of a notebook's recovered copies."""
        found = Client().get(notebook_path(name, "recovered"), timeout=QUICK)
        return [(one["path"], one["saved_at"]) for one in found["recovered"]]


def complete(words: list[str], commands: Commands, names: Names) -> Completions:
    """What the last of *words* (those after "kaosctl") can become."""
    *given, word = [each for each in words if each != "="] or [""]  # bash makes three words of --name=x
    group, given = commands, commands.expand(given)
    while given and given[0] in group.groups:
        group, given = group.groups[given[0]], given[1:]
    if not given:
        flags = [("--help", "tells all about it")] if word.startswith("-") else []
        if flags and group is commands:
            flags.append(("--version", _one_line(group.parser._option_string_actions["--version"].help)))
        short = [(alias, f"the same as {' '.join(words)}") for alias, words in group.aliases.items()]
        return _beginning(word, [*flags, *group.summaries().items(), *short])
    parser = group.find(given[:1])
    if parser is None:
        return Completions("words", [])
    return _arguments(parser, given[1:], word, names)


def _arguments(parser: argparse.ArgumentParser, given: list[str], word: str, names: Names) -> Completions:
    """What *word* can become, after the arguments *given* to the command of *parser*."""
    options = {text: action for action in parser._actions for text in action.option_strings}
    places = [action for action in parser._actions if not action.option_strings]
    used: set[argparse.Action] = set()
    seen: list[str] = []  # values without an option
    waiting: argparse.Action | None = None
    for each in given:
        if waiting is not None:
            waiting = None
        elif each in options:
            used.add(options[each])
            waiting = options[each] if options[each].nargs != 0 else None
        elif not each.startswith("-"):
            seen.append(each)
    if waiting is not None:
        return _values(waiting, word, seen, names)
    option, assigned, value = word.partition("=")
    if assigned and option in options:
        found = _values(options[option], value, seen, names)
        return Completions(found.kind, [(f"{option}={one}", text) for one, text in found.words])
    if word.startswith("-"):
        fresh = {text: action for text, action in options.items() if action not in used}
        return _beginning(word, [(text, _one_line(action.help)) for text, action in fresh.items() if len(text) > 2])
    place = places[min(len(seen), len(places) - 1)] if places else None
    if place is None or (len(seen) >= len(places) and place.nargs != "*"):
        return Completions("words", [])
    return _values(place, word, seen, names)


def _values(action: argparse.Action, word: str, seen: list[str], names: Names) -> Completions:
    """What a value of *action* can be; *seen*: the values before it that belong to no option."""
    if action.choices is not None:
        return _beginning(word, [(str(choice), "") for choice in action.choices])
    edits = action.dest == "edits"
    if action.metavar in ("DIR", "FILE") or (action.metavar == "PATH" and not action.option_strings and not edits):
        return Completions("dirs" if action.metavar == "DIR" else "files", [])
    asks: dict[object, Callable[[], Words]] = {
        "NAME": names.notebooks,
        "TEMPLATE": names.templates,
        "DEPLOYMENT": lambda: names.deployments(seen[0]) if seen else [],
        "PATH": lambda: (names.edits if edits else names.copies)(seen[0]) if seen else [],
        "PATH|N": lambda: [*names.edits(seen[0]), *_past(seen, names)] if seen else [],
        "N|last|failed": lambda: [("last", ""), ("failed", ""), *_past(seen, names)],
        "COMMAND|TOPIC": lambda: _commands(seen),
    }
    try:
        return _beginning(word, asks.get(action.metavar, list)())
    except Failure:
        return Completions("words", [])


def _past(seen: list[str], names: Names) -> Words:
    """The numbers of the deployments of the notebook that *seen* names; none without the daemon."""
    try:
        return names.deployments(seen[0], past=True) if seen else []
    except Failure:
        return []


def _commands(seen: list[str]) -> Words:
    """The commands of the group that *seen* names, and the topics; for `help`."""
    from kaosd.ctl import topics
    from kaosd.ctl.usage import all_commands

    group = all_commands()
    for each in seen:
        if each not in group.groups:
            return []
        group = group.groups[each]
    return [*group.summaries().items(), *(() if seen else topics.titles().items())]


def _beginning(word: str, offered: Iterable[tuple[str, str]]) -> Completions:
    return Completions("words", [(one, text) for one, text in offered if one.startswith(word)])


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def answer(words: list[str], *, of_daemon: bool = False) -> int:
    """`kaosctl __complete WORDS`: print what the last word can become. of_daemon: of a command line of kaosd."""
    from kaosd.display import printable

    if of_daemon:
        from kaosd.ctl.daemon_usage import daemon_commands as commands
    else:
        from kaosd.ctl.usage import all_commands as commands
    found = complete(words, commands(), Names())
    lines = [found.kind, *(f"{printable(word.replace(TAB, ' '))}{TAB}{printable(text)}" for word, text in found.words)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def show(shell: str, *, as_json: bool = False) -> int:
    """Print the script for *shell*."""
    script = SCRIPTS[shell]
    command_output.tell({"shell": shell, "script": script}, script.splitlines(), as_json=as_json)
    return 0


BASH = r"""# Completion of kaosctl and kaosd in bash. In ~/.bashrc: source <(kaosctl completion bash)
_kaosctl() {
    local kind='' line ask=__complete
    [[ ${1##*/} == kaosd ]] && ask=__complete-kaosd
    COMPREPLY=()
    {
        IFS= read -r kind
        while IFS= read -r line; do COMPREPLY+=("${line%%$'\t'*}"); done
    } < <(kaosctl "$ask" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case $kind in
        files) compopt -o default ;;
        dirs) compopt -o dirnames -o filenames ;;
    esac
}
complete -F _kaosctl kaosctl kaosd
"""

ZSH = r"""#compdef kaosctl kaosd
# Completion of kaosctl and kaosd in zsh. In ~/.zshrc, after compinit: source <(kaosctl completion zsh)
_kaosctl() {
    local line ask=__complete
    local -a lines values texts
    [[ ${words[1]:t} == kaosd ]] && ask=__complete-kaosd
    lines=("${(@f)$(kaosctl $ask "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    case $lines[1] in
        files) _files ;;
        dirs) _files -/ ;;
        *)
            for line in "${(@)lines[2,-1]}"; do
                values+=("${line%%$'\t'*}")
                texts+=("${line/$'\t'/   }")
            done
            compadd -l -d texts -a values
            ;;
    esac
}
if [[ $funcstack[1] == _kaosctl ]]; then
    _kaosctl "$@"
else
    compdef _kaosctl kaosctl kaosd
fi
"""

FISH = r"""# Completion of kaosctl and kaosd in fish. kaosctl completion fish > ~/.config/fish/conf.d/kaosctl.fish
function __kaosctl_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l ask __complete
    string match -qr '(^|/)kaosd$' -- $words[1]; and set ask __complete-kaosd
    set -l found (kaosctl $ask $words[2..-1] 2>/dev/null)
    switch "$found[1]"
        case files
            __fish_complete_path (commandline -ct)
        case dirs
            __fish_complete_directories (commandline -ct)
        case words
            test (count $found) -gt 1; and printf '%s\n' $found[2..-1]
    end
end
complete -c kaosctl -f -a '(__kaosctl_complete)'
complete -c kaosd -f -a '(__kaosctl_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
