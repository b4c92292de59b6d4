"""The commands and their arguments, with help and an example for each; `run` finds and runs one.

Each command names the function that does it as "module:function" and is given its arguments by keyword, so that
only the module in use is loaded.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from importlib import import_module

from kaosd.ctl import failure, values
from kaosd.ctl.failure import Failure

EXIT_CODES = (
    "exit codes: 0 fine, 1 failed or a notebook is failed or stale, 2 usage, 3 daemon not running,\n"
    "4 no such notebook, job or path, 5 timed out, 130 interrupted"
)


class Commands:
    """A group of commands: the top one, or `notebook` or `template`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self._choices = parser.add_subparsers(metavar="COMMAND", title="commands")
        self.groups: dict[str, Commands] = {}

    def add(self, name: str, run: str, summary: str, *, example: str) -> argparse.ArgumentParser:
        """A command that *run* ("module:function" below kaosd.ctl) does."""
        parser = self._choices.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="example: " + example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("--json", dest="as_json", action="store_true", help="print JSON")
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, summary: str) -> Commands:
        """A group of commands below this one."""
        parser = self._choices.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        self.groups[name] = Commands(parser)
        return self.groups[name]

    def check(self, given: list[str]) -> None:
        """Failure, with the nearest name, when *given* begins with a command that does not exist."""
        if not given or given[0].startswith("-"):
            return
        if given[0] in self.groups:
            self.groups[given[0]].check(given[1:])
        elif given[0] not in self._choices.choices:
            close = difflib.get_close_matches(given[0], self._choices.choices, n=1)
            line = self.parser.prog
            raise Failure(
                f"there is no command {f'{line} {given[0]}'!r}",
                hint=f"did you mean `{line} {close[0]}`?" if close else f"`{line} --help` lists the commands",
                exit_code=failure.USAGE,
                code="usage",
            )


def run(given: list[str]) -> int:
    """Run the command that *given* names; SystemExit(2) or Failure on wrong usage."""
    commands = all_commands()
    commands.check(given)
    arguments = vars(commands.parser.parse_args(given))
    if "run" not in arguments:
        (commands.groups[given[0]] if given else commands).parser.print_help(sys.stderr)
        return failure.USAGE
    module, _, function = arguments.pop("run").partition(":")
    code: int = getattr(import_module(f"kaosd.ctl.{module}"), function)(**arguments)
    return code


def all_commands() -> Commands:
    """Every command of kaosctl."""
    commands = Commands(
        argparse.ArgumentParser(
            prog="kaosctl",
            description="Talks to kaosd, which keeps hosted notebooks as they are on disk.",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
    )
    _seeing(commands)
    _notebook(commands.group("notebook", "register, list and end notebooks"))
    _steering(commands)
    _past(commands)
    _rest(commands)
    return commands


def _seeing(commands: Commands) -> None:
    add = commands.add
    parser = add("status", "status:show", "how the daemon and its notebooks are", example="kaosctl status --watch")
    parser.add_argument("name", metavar="NAME", nargs="?", help="show this notebook only, with more detail")
    parser.add_argument("--watch", action="store_true", help="stay, and show every change")
    parser = add(
        "logs",
        "reading:show",
        "the logs of a notebook's last deployment, or of any other part; works without the daemon too",
        example="kaosctl logs notebook-mnist-ada --deploy failed\n         kaosctl logs -f --stage host --grep Error",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="of this notebook (default: of all)")
    parser.add_argument("--stage", choices=("watch", "build", "host", "daemon"), help="of this stage only")
    parser.add_argument(
        "--deploy", metavar="N|last|failed", type=values.deployment, help="of this deployment (default: last)"
    )
    parser.add_argument("--job", metavar="ID", type=values.job, help="of this job; the first digits are enough")
    parser.add_argument("-f", "--follow", action="store_true", help="go on as lines come, into later deployments too")
    parser.add_argument("-n", "--lines", metavar="N", type=values.count, help="only the last N lines")
    parser.add_argument(
        "--since", metavar="T", type=values.moment, help="lines since 10m, 2h (ago), 14:30 or an RFC 3339 time"
    )
    parser.add_argument("--grep", metavar="RE", type=values.pattern, help="only lines that match")
    parser = add(
        "why", "asking:why", "whether a file counts, by which rule, and what a change of it costs",
        example="kaosctl why model/train.py",
    )  # fmt: skip
    parser.add_argument("path", metavar="PATH")
    add("doctor", "asking:doctor", "checks limits, engines, ports, disk and clock", example="kaosctl doctor")


def _notebook(commands: Commands) -> None:
    parser = commands.add(
        "deploy",
        "deploying:deploy",
        "registers a notebook and shows its way through Build and Host; ends with its address",
        example="kaosctl notebook deploy -s ./example -d ./data --workspace mnist --memory 4Gi",
    )
    parser.add_argument("-s", "--source", metavar="DIR", help="the bundle (default: an empty notebook)")
    parser.add_argument("-d", "--data", metavar="DIR", help="the data (default: none)")
    parser.add_argument("--cpu", metavar="F", type=values.cores, help="cores, for example 2 or 0.5")
    parser.add_argument("--memory", metavar="Q", help="for example 512Mi or 4Gi")
    parser.add_argument("--gpu", metavar="N", type=values.count, help="number of GPUs")
    parser.add_argument("--workspace", metavar="W", help="workspace it belongs to")
    parser.add_argument("--user", metavar="U", help="default: the login name")
    parser.add_argument("--name", metavar="NAME", help="default: notebook-<workspace>-<user>")
    parser.add_argument("--engine", metavar="E", help="default: what the daemon is configured for")
    parser.add_argument("--detach", action="store_true", help="return at once")
    commands.add(
        "list", "notebooks:show_list", "what is being built and what runs", example="kaosctl notebook list --json"
    )
    parser = commands.add(
        "build-logs",
        "reading:build_logs",
        "the whole log of one job",
        example="kaosctl notebook build-logs -j 3f2a -o .",
    )
    parser.add_argument(
        "-j", "--job", metavar="JOB", type=values.job, required=True, help="the first digits are enough"
    )
    parser.add_argument("-o", "--output", dest="directory", metavar="DIR", help="write it to DIR/<job>.log instead")
    parser = commands.add(
        "kill", "notebooks:kill", "stops a notebook and forgets it; keeps its bundles and recovered files",
        example="kaosctl notebook kill -n notebook-mnist-ada -y",
    )  # fmt: skip
    parser.add_argument("-n", "--name", metavar="NAME", required=True)
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _steering(commands: Commands) -> None:
    def add(name: str, summary: str, *, example: str) -> argparse.ArgumentParser:
        parser = commands.add(name, f"steering:{name}", summary, example=example)
        parser.add_argument("name", metavar="NAME", help="the notebook")
        return parser

    parser = add(
        "wait", "returns when what is on disk now is live", example="kaosctl wait notebook-mnist-ada --timeout 60"
    )
    parser.add_argument("--timeout", metavar="S", type=values.seconds, help="give up after S seconds, or 2m")
    parser = add("redeploy", "deploys what is on disk again", example="kaosctl redeploy notebook-mnist-ada --now")
    parser.add_argument("--force", action="store_true", help="accept that many files are gone")
    parser.add_argument("--now", action="store_true", help="do not wait for busy kernels")
    add("pause", "takes no more changes over, until resume", example="kaosctl pause notebook-mnist-ada")
    add("resume", "takes changes over again", example="kaosctl resume notebook-mnist-ada")
    add("cancel", "ends the build in progress", example="kaosctl cancel notebook-mnist-ada")


def _past(commands: Commands) -> None:
    parser = commands.add(
        "history", "past:history", "the deployments of a notebook, newest first", example="kaosctl history NAME"
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser = commands.add(
        "rollback", "past:rollback", "serves an older version until the files change again",
        example="kaosctl rollback notebook-mnist-ada 5",
    )  # fmt: skip
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument("to", metavar="N", nargs="?", help="deployment or version (default: the one before)")
    parser = commands.add(
        "recovered", "past:recovered", "files of the host that a deployment replaced", example="kaosctl recovered NAME"
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument("--restore", metavar="PATH", help="bring the newest copy of PATH back into the notebook")


def _rest(commands: Commands) -> None:
    parser = commands.add(
        "open",
        "browse:open_notebook",
        "opens a notebook, or the list of all, in the browser",
        example="kaosctl open NAME",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the notebook (default: the page that lists all)")
    parser.add_argument("--print", dest="only_print", action="store_true", help="print the address with its token")
    templates = commands.group("template", "notebooks and data to start from")
    templates.add("list", "templates:show_list", "what templates there are", example="kaosctl template list")
    parser = templates.add(
        "get",
        "templates:get",
        "copies a template; never overwrites a file",
        example="kaosctl template get notebook ./mnist",
    )
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("directory", metavar="DIR", nargs="?", help="default: ./NAME")
    commands.add("reload", "asking:reload", "reads the configuration again", example="kaosctl reload")
    commands.add("stop", "asking:stop", "stops the daemon; hosts go on", example="kaosctl stop")
    commands.add("version", "asking:version", "versions of client and daemon", example="kaosctl version --json")
