"""The commands and their arguments, each with its page of help; `run` finds and runs one.

Each command names the function that does it as "module:function" and is given its arguments by keyword, so that
only the module in use is loaded. Shell completion is answered from this table as well (see completing).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module

from kaosd import __version__
from kaosd.ctl import failure, manual, values
from kaosd.ctl.commands import ASKING, NAMED, Commands

OPTIONS = (
    *("source", "data", "cpu", "memory", "gpu", "engine", "workspace", "user"),
    *("environment", "extras", "groups"),
)
EDITS = ("diff", "pull", "reset")  # their options have no values
STAGES = ("watch", "build", "host", "daemon")


def run(given: list[str]) -> int:
    """Run the command that *given* names; SystemExit(2) or Failure on wrong usage."""
    commands = all_commands()
    given = commands.expand(given)
    commands.check(given)
    arguments = vars(commands.parser.parse_args(_flags_first(given) if given[:1] and given[0] in EDITS else given))
    if "run" not in arguments:
        commands.groups[given[0]].parser.print_help(sys.stderr)
        return failure.USAGE
    module, _, function = arguments.pop("run").partition(":")
    code: int = getattr(import_module(f"kaosd.ctl.{module}"), function)(**arguments)
    return code


def _flags_first(given: list[str]) -> list[str]:
    """The same with the options before the paths, since argparse takes no further path behind an option."""
    end = given.index("--") if "--" in given else len(given)
    flags = [word for word in given[1:end] if word.startswith("-")]
    return [given[0], *flags, *(word for word in given[1:end] if word not in flags), *given[end:]]


def all_commands() -> Commands:
    """Every command of kaosctl."""
    codes = tuple(manual.EXIT_CODES)
    commands = Commands(
        argparse.ArgumentParser(
            prog="kaosctl",
            description=manual.description(
                "talks to kaosd, which keeps hosted notebooks as they are on disk",
                """`kaosctl help COMMAND` explains a command, `kaosctl help` lists the topics too. Every command takes
                --json. Colours are sent to terminals only, and not with NO_COLOR.

                `kaosctl deploy`, `list` (or `ls`, `ps`) and `rm` are short for `kaosctl notebook deploy`, `list` and
                `kill`.""",
            ),
            epilog=manual.epilog(
                ("kaosctl up ./example -d ./data", "kaosctl status --watch", "kaosctl logs -f"),
                codes,
                ("socket", "state", "config"),
            ),
            formatter_class=manual.Formatter,
            allow_abbrev=False,
        )
    )
    commands.parser.add_argument(
        "--version", action="version", version=f"kaosctl {__version__}", help="the version of this client alone"
    )
    _starting(commands)
    _seeing(commands)
    for word, command in (("deploy", "deploy"), ("list", "list"), ("ls", "list"), ("ps", "list"), ("rm", "kill")):
        commands.alias(word, "notebook", command)
    _notebook(commands.group("notebook", "register, list and remove notebooks"))
    _running(commands)
    _steering(commands)
    _past(commands)
    _edits(commands)
    _packages(commands)
    _daemon(commands)
    return commands


def _seeing(commands: Commands) -> None:
    parser = commands.add(
        "status",
        "status:show",
        "how the daemon and its notebooks are",
        """Each notebook takes one line: its state and age, memory and cores in use against the limit, how many files
        you edited in the notebook, and its address. Problems come first, with the cause and the next command.

        States: live (what is on disk is served), stale, building, swapping, held, failed, stopped.""",
        examples=("kaosctl status", "kaosctl status --watch", "kaosctl status notebook-mnist-ada --json"),
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="all about this notebook")
    parser.add_argument("--watch", action="store_true", help="keep showing every change until ^C")
    parser.add_argument("-v", "--verbose", action="store_true", help="all about each notebook, with job ids")
    parser = commands.add(
        "logs",
        "reading:show",
        "the logs of a notebook's last deployment, or of any other part; works without the daemon too",
        """Lines of all stages in the order of their times: watch (what was noticed), build (the environment), host
        (JupyterLab and its kernels). With -f it continues into later deployments, and over restarts of the daemon.""",
        examples=(
            "kaosctl logs notebook-mnist-ada --deploy failed",
            "kaosctl logs -f --stage host --grep Error",
            "kaosctl logs --stage daemon --since 10m",
        ),
        exits=(0, 1, 2, 4, 130),
        files=("logs",),
    )
    _logs(parser)
    parser = commands.add(
        "why",
        "daemon_commands:why",
        "whether a file counts, by which rule, and what a change of it costs",
        """What counts: everything but temporary files of editors and tools, and what .kaosignore at the top of the
        directory names.""",
        examples=("kaosctl why model/train.py",),
    )
    parser.add_argument("path", metavar="PATH", help="a file or directory below a source or data directory")


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="of this notebook (default: of all)")
    parser.add_argument("--stage", metavar="STAGE", choices=STAGES, help=f"of this stage only: {', '.join(STAGES)}")
    parser.add_argument(
        "--deploy", metavar="N|last|failed", type=values.deployment, help="of this deployment (default: last)"
    )
    parser.add_argument("--job", metavar="ID", type=values.job, help="of this job; the first digits are enough")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="keep printing lines as they come, of later deployments too"
    )
    parser.add_argument("-n", "--lines", metavar="N", type=values.count, help="only the last N lines")
    parser.add_argument(
        "--since", metavar="T", type=values.moment, help="lines since 10m, 2h (ago), 14:30 or an RFC 3339 time"
    )
    parser.add_argument(
        "--grep", metavar="RE", type=values.pattern, help="only lines that match, each with two lines before and after"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="also what JupyterLab says at every start")


def _notebook(commands: Commands) -> None:
    parser = commands.add(
        "deploy",
        "deploying:deploy",
        "registers a notebook and shows its way through Build and Host; ends with its address",
        """The notebook is kept over restarts of the daemon, and follows its directories from now on. ^C stops
        the watching only, the deployment continues.

        Without --name and --workspace the notebook is named after its directory, and deploying the same directory
        again changes the same notebook. Options that are not given keep their value; --unset takes one back to the
        default. Another source under a name that exists is refused, unless --replace is given: then your edits in
        the notebook are kept, and `kaosctl recovered` lists them.""",
        examples=(
            "kaosctl notebook deploy -s ./example -d ./data --memory 4Gi",
            "kaosctl notebook deploy -s ./example --unset memory",
        ),
        exits=(0, 1, 2, 3, 130),
    )
    parser.add_argument("-s", "--source", metavar="DIR", help="the bundle (default: an empty notebook)")
    parser.add_argument("-d", "--data", metavar="DIR", help="the data (default: none)")
    parser.add_argument("--cpu", metavar="F", type=values.cores, help="cores, for example 2 or 0.5")
    parser.add_argument("--memory", metavar="Q", help="for example 512Mi or 4Gi")
    parser.add_argument("--gpu", metavar="N", type=values.count, help="number of GPUs")
    parser.add_argument("--workspace", metavar="W", help="workspace it belongs to")
    parser.add_argument("--user", metavar="U", help="default: the login name")
    parser.add_argument(
        "--name", metavar="NAME", help="default: notebook-<workspace>-<user>, or made from the directory's name"
    )
    parser.add_argument("--engine", metavar="E", help="default: what the daemon is configured for")
    parser.add_argument("--environment", metavar="F", help="the environment file, relative to the bundle")
    for option, what in (("extra", "extra of its pyproject.toml"), ("group", "dependency group")):
        parser.add_argument(f"--{option}", dest=f"{option}s", metavar="NAME", action="append", help=f"with this {what}")
    parser.add_argument(
        "--unset", metavar="OPTION", action="append", choices=OPTIONS, help=f"back to the default: {', '.join(OPTIONS)}"
    )
    parser.add_argument("--replace", action="store_true", help="give the notebook another source; keeps your edits")
    parser.add_argument("--detach", action="store_true", help="return at once")
    _notebooks(commands)


def _notebooks(commands: Commands) -> None:
    parser = commands.add(
        "list",
        "notebooks:show_list",
        "what is being built and what runs",
        examples=("kaosctl notebook list --json",),
        exits=ASKING,
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="with the states and whole job ids, as in JSON")
    parser = commands.add(
        "build-logs",
        "reading:build_logs",
        "the whole log of one job",
        examples=("kaosctl notebook build-logs -j 3f2a -o .",),
        exits=(0, 1, 2, 4, 130),
        files=("logs",),
    )
    parser.add_argument(
        "-j", "--job", metavar="JOB", type=values.job, required=True, help="the first digits are enough"
    )
    parser.add_argument("-o", "--output", dest="directory", metavar="DIR", help="write it to DIR/<job>.log instead")
    parser = commands.add(
        "kill",
        "notebooks:kill",
        "stops a notebook and forgets it; keeps its bundles and recovered files",
        """Its kernels are stopped. On a terminal it asks before.

        On the engine pachyderm it deletes the pipelines, and asks whether the repos source-NAME and data-NAME are to
        go as well; with -y they stay, unless --all or --keep-data is given. What kaosd did not make always stays.""",
        examples=("kaosctl notebook kill notebook-mnist-ada", "kaosctl notebook kill -n notebook-mnist-ada --all -y"),
        files=("socket", "recovered"),
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the notebook")
    parser.add_argument("-n", "--name", dest="named", metavar="NAME", help="the same, as in kaos")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    repos = parser.add_mutually_exclusive_group()
    repos.add_argument("--keep-data", action="store_true", help="delete the repo of its source, keep that of its data")
    repos.add_argument("--all", dest="everything", action="store_true", help="delete its repos too, data and all")


def _running(commands: Commands) -> None:
    start = commands.add(
        "start",
        "running:start",
        "starts a stopped notebook; without a name, the daemon",
        "Returns when the notebook is live. Its address in the browser starts it too; a save of its files does not.",
        examples=("kaosctl start notebook-mnist-ada", "kaosctl start"),
        exits=(0, 1, 2, 3, 4, 5, 130),
    )
    stop = commands.add(
        "stop",
        "running:stop",
        "stops a notebook without forgetting it; without a name, the daemon",
        """JupyterLab and its kernels stop; files are still followed, and edits, history and address stay. A stopped
        notebook starts by `kaosctl start` or when its address is opened, also after a restart of the daemon.

        Without a name the daemon stops. Notebooks then keep running, and are not reachable until `kaosctl start`.""",
        examples=("kaosctl stop notebook-mnist-ada", "kaosctl stop"),
        exits=(0, 1, 2, 3, 4, 5, 130),
    )
    restart = commands.add(
        "restart",
        "running:restart",
        "starts a new JupyterLab for a notebook, or restarts its kernels",
        "Address, token and files stay; the variables of its kernels are lost. A restarted kernel runs in the "
        "environment that is live now.",
        examples=("kaosctl restart notebook-mnist-ada", "kaosctl restart notebook-mnist-ada --kernels"),
        exits=(0, 1, 2, 3, 4, 5, 130),
    )
    _run(commands)
    for parser in (start, stop):
        parser.add_argument("name", metavar="NAME", nargs="?", help="the notebook (default: the daemon)")
    restart.add_argument("name", metavar="NAME", help="the notebook")
    restart.add_argument("--kernels", action="store_true", help="restart the kernels only, and keep JupyterLab")
    for parser in (stop, restart):
        parser.add_argument("-y", "--yes", action="store_true", help="do not ask when a kernel is busy")


def _run(commands: Commands) -> None:
    parser = commands.add(
        "run",
        "notebook_run:run",
        "runs a notebook file from its first cell to its last, in the hosted environment",
        """It has a kernel of its own, with the notebook's packages, data and limits; cells are shown as they finish.
        What is on disk is waited for, and a stopped notebook is started. The file itself stays as it is: the executed
        copy is written where -o says. ^C interrupts the kernel and stops it.

        Parameters are assigned behind the cell with the tag "parameters", or else first, as papermill does.
        Exit code 1: a cell failed, and its number and traceback are shown.""",
        examples=(
            "kaosctl run notebook-mnist-ada smoke.ipynb --timeout 10m",
            "kaosctl run notebook-mnist-ada train.ipynb -p epochs=3 -p name=small -o trained.ipynb",
        ),
        exits=(0, 1, 2, 3, 4, 5, 130),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument(
        "notebook", metavar="PATH", help="a file as JupyterLab shows it, or its path on disk below the source"
    )
    parser.add_argument("-o", "--output", dest="target", metavar="FILE", help="write the executed copy there")
    parser.add_argument("--timeout", metavar="S", type=values.seconds, help="give up after S seconds, or 10m")
    parser.add_argument(
        "-p", "--parameter", dest="parameters", metavar="KEY=VALUE", action="append", help="a parameter of the notebook"
    )


def _steering(commands: Commands) -> None:
    def add(
        name: str, summary: str, about: str, *examples: str, exits: tuple[int, ...] = NAMED
    ) -> argparse.ArgumentParser:
        parser = commands.add(name, f"steering:{name}", summary, about, examples=examples, exits=exits)
        parser.add_argument("name", metavar="NAME", help="the notebook")
        return parser

    parser = add(
        "wait",
        "returns when what is on disk now is live",
        """What counts is what is on disk at the moment of the call, and that the host has answered a request with it.
        It returns early, with 1, when that will not be: the notebook is failed, or held until somebody acts.""",
        "kaosctl wait notebook-mnist-ada --timeout 60",
        "git pull && kaosctl wait notebook-mnist-ada && kaosctl open notebook-mnist-ada",
        exits=(0, 1, 2, 3, 4, 5, 130),
    )
    parser.add_argument("--timeout", metavar="S", type=values.seconds, help="give up after S seconds, or 2m")
    parser = add(
        "redeploy",
        "deploys what is on disk again",
        """Looks at everything again, tries again what failed, and ends a rollback. Edits made in the notebook stay,
        also with --force: `kaosctl reset NAME` brings the deployed version back.""",
        "kaosctl redeploy notebook-mnist-ada --now",
        "kaosctl redeploy notebook-mnist-ada --when-idle",
    )
    parser.add_argument("--force", action="store_true", help="accept that many files are gone")
    parser.add_argument("--now", action="store_true", help="do not wait for busy kernels")
    parser.add_argument("--when-idle", action="store_true", help="wait until no kernel is busy, however long it takes")
    _following(add)


def _following(add: Callable[..., argparse.ArgumentParser]) -> None:
    add(
        "pause",
        "applies no more changes, until resume",
        "What is served keeps running; a pause survives a restart of the daemon.",
        "kaosctl pause notebook-mnist-ada",
    )
    add("resume", "applies changes again", "", "kaosctl resume notebook-mnist-ada")
    add(
        "cancel",
        "stops the build in progress",
        "The environment before it keeps serving; the next change of the files, or redeploy, builds again.",
        "kaosctl cancel notebook-mnist-ada",
    )


def _past(commands: Commands) -> None:
    parser = commands.add(
        "history",
        "history_commands:history",
        "the deployments of a notebook, newest first",
        """Each with its number, when it started, how it went, what it cost (the costliest step, and the time of all),
        the versions that it changed, and the files that caused it. The one that is served, and those that can be
        rolled back to, are marked.""",
        examples=("kaosctl history notebook-mnist-ada",),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser = commands.add(
        "rollback",
        "history_commands:rollback",
        "serves an older version until the files change again",
        "The files on disk stay as they are. `kaosctl redeploy NAME` goes back to them.",
        examples=("kaosctl rollback notebook-mnist-ada", "kaosctl rollback notebook-mnist-ada 5"),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument(
        "to", metavar="DEPLOYMENT", nargs="?", help="its number, or a version (default: the one before)"
    )
    _recovered(commands)


def _packages(commands: Commands) -> None:
    parser = commands.add(
        "env",
        "packages:env",
        "what the environment of a notebook holds, and what was installed by hand",
        "What %pip, !pip and uv install in a cell or a terminal goes to that notebook alone; each with the step that "
        "makes it part of the environment.",
        examples=("kaosctl env notebook-mnist-ada", "kaosctl env notebook-mnist-ada --lock > lock.txt"),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--lock", action="store_true", help="as lines of a requirements file")
    form.add_argument(
        "--outdated", action="store_true", help="the packages of which the package index has a newer version"
    )
    form.add_argument(
        "--dockerfile", action="store_true", help="the Dockerfile that docker builds for a source without one"
    )
    parser = commands.add(
        "add",
        "packages:add",
        "writes packages into the environment file of a notebook",
        """One line or entry for each, in the syntax of the file that is in use (requirements.txt, pyproject.toml or
        environment.yml); everything else in it stays. A package that is there already gets the new version. The
        build follows, as after any save.""",
        examples=("kaosctl add notebook-mnist-ada scipy", "kaosctl add notebook-mnist-ada 'pandas[excel]>=2.2' rich"),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument(
        "packages", metavar="PACKAGE", nargs="+", help="as in a requirements file: scipy, 'scipy>=1.11'"
    )


def _edits(commands: Commands) -> None:
    parser = commands.add(
        "diff",
        "diff_commands:diff",
        "the edits made in a notebook, or what differs between two deployments",
        """Edits are what differs between the notebook's files and what is deployed there: edited, new and deleted
        files. Notebook files are compared cell by cell, other texts line by line, the rest by size. What differs
        between the deployments N and M: files, packages, data; `kaosctl history` has the numbers.
        On a terminal it uses $PAGER (default: less).""",
        examples=(
            "kaosctl diff notebook-mnist-ada",
            "kaosctl diff notebook-mnist-ada train.ipynb",
            "kaosctl diff notebook-mnist-ada 5 7",
        ),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument("edits", metavar="PATH|N", nargs="*", help="one file or directory, or two deployments")
    _pull(commands)
    parser = commands.add(
        "reset",
        "diff_commands:reset",
        "brings the deployed version of files back into a notebook",
        """Without a PATH it takes all that was edited or deleted there; a file that is only in the notebook goes when
        it is named. What is open in a tab changes in the tab. A copy of each edit is kept: `kaosctl recovered`.

        On a terminal it shows what it would do, and asks.""",
        examples=("kaosctl reset notebook-mnist-ada train.ipynb", "kaosctl reset notebook-mnist-ada -y"),
        files=("socket", "recovered"),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument("edits", metavar="PATH", nargs="*", help="files or directories that were edited (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _pull(commands: Commands) -> None:
    parser = commands.add(
        "pull",
        "diff_commands:pull",
        "writes edits made in a notebook into its source directory",
        """Without a PATH it takes all edits. It writes what only the notebook has changed. What was changed on disk as
        well is refused, and then nothing is written; --force writes it, and a copy of the file on disk is kept for
        `kaosctl recovered`. A file that was deleted in the notebook is deleted on disk only when it is named, or
        confirmed. What is open in a tab is taken as it is there. The notebook stays as it is: the save that follows
        is known to it.

        On a terminal it shows what it would do, and asks.""",
        examples=(
            "kaosctl pull notebook-mnist-ada",
            "kaosctl pull notebook-mnist-ada analysis.ipynb --strip-outputs",
            "kaosctl pull notebook-mnist-ada -y && git diff",
        ),
        files=("socket", "recovered"),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument("edits", metavar="PATH", nargs="*", help="files or directories that were edited (default: all)")
    parser.add_argument("--force", action="store_true", help="also what was changed on disk as well; keeps a copy")
    parser.add_argument("--strip-outputs", action="store_true", help="write notebook files without their outputs")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _recovered(commands: Commands) -> None:
    parser = commands.add(
        "recovered",
        "history_commands:recovered",
        "your edits that were kept: overwritten, merged, or of a notebook that was removed or replaced",
        """What was edited both in the notebook and on disk is served as it is on disk; the notebook's own is kept as
        a copy and listed here. So is what exists only in a notebook that is killed or gets another source or engine,
        what `reset` takes back, and what `pull --force` replaces on disk.
        --restore brings copies back into the notebook, in its tab where it is open; what is there until then becomes
        a copy itself. The source directory is not written to.""",
        examples=(
            "kaosctl recovered notebook-mnist-ada",
            "kaosctl recovered notebook-mnist-ada --restore train.ipynb",
            "kaosctl recovered notebook-mnist-ada --restore --all",
            "kaosctl recovered notebook-mnist-ada --clear",
        ),
        files=("socket", "recovered"),
    )
    parser.add_argument("name", metavar="NAME", help="the notebook")
    parser.add_argument(
        "--restore",
        metavar="PATH",
        nargs="?",
        const="",
        help="bring the newest copy of PATH back; PATH as listed, or the very file of a copy",
    )
    parser.add_argument("--all", dest="everything", action="store_true", help="with --restore: of every path")
    parser.add_argument("--clear", action="store_true", help="delete all copies; asks on a terminal")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def _starting(commands: Commands) -> None:
    parser = commands.add(
        "up",
        "up:up",
        "hosts a repository as it is: starts the daemon if none runs, deploys, ends with the address",
        """The notebook is named after the directory, and the same directory is the same notebook: a second `up`
        deploys what changed. Where `kaosd install-service` was run, systemd starts the daemon; elsewhere it runs in
        the background until `kaosctl stop`. Under ssh it also prints the line that makes the address reachable.""",
        examples=("kaosctl up", "kaosctl up ~/projects/churn -d ~/data/churn --open"),
        exits=(0, 1, 2, 3, 5, 130),
        files=("socket", "state", "config"),
    )
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", default=".", help="the repository (default: where you are)"
    )
    parser.add_argument("-d", "--data", metavar="DIR", help="the data (default: none)")
    parser.add_argument("--name", metavar="NAME", help="default: made from the name of the directory")
    parser.add_argument("--engine", metavar="E", help="default: what the daemon is configured for")
    parser.add_argument("--open", dest="open_it", action="store_true", help="open the notebook in the browser")
    parser = commands.add(
        "open",
        "browse:open_notebook",
        "opens a notebook, or the list of all, in the browser",
        """The browser gets an address that signs in once, within two minutes, and only for you, so that the token is
        not among its arguments, which other users can read. What is printed is the lasting address with its token;
        under ssh also the line that makes it reachable from your own machine.""",
        examples=(
            "kaosctl open notebook-mnist-ada",
            "kaosctl open --print",
            "kaosctl open notebook-mnist-ada --vscode",
        ),
        files=("socket", "token"),
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="the notebook (default: the page that lists all)")
    parser.add_argument("--print", dest="only_print", action="store_true", help="only print the address with its token")
    parser.add_argument("--vscode", action="store_true", help="print what VS Code takes as an existing Jupyter server")
    _templates(commands)


def _templates(commands: Commands) -> None:
    templates = commands.group("template", "notebooks and data to start from")
    templates.add(
        "list",
        "templates:show_list",
        "what templates there are",
        examples=("kaosctl template list",),
        exits=(0, 2),
        files=(),
    )
    parser = templates.add(
        "get",
        "templates:get",
        "copies a template; never overwrites a file",
        examples=("kaosctl template get notebook ./mnist",),
        exits=(0, 1, 2, 4),
        files=(),
    )
    parser.add_argument("name", metavar="TEMPLATE", help="one that `kaosctl template list` names")
    parser.add_argument("directory", metavar="DIR", nargs="?", help="where to (default: ./TEMPLATE)")


def _daemon(commands: Commands) -> None:
    parser = commands.add(
        "doctor",
        "daemon_commands:doctor",
        "checks limits, engines, ports, disk and clock, and shows the fix",
        """With --bundle it also writes a zip file to send to somebody who helps: versions, configuration, status,
        findings, histories and the last lines of all logs. Tokens, passwords and keys in them are masked; names and
        paths are not. It works without the daemon too, with what is on disk.""",
        examples=("kaosctl doctor", "kaosctl doctor --bundle kaosd.zip"),
        exits=ASKING,
        files=("socket", "logs", "config"),
    )
    parser.add_argument("--bundle", metavar="FILE", help="write what helps to find a fault to FILE, without secrets")
    commands.add(
        "reload", "daemon_commands:reload", "reads the configuration again",
        "A save of the file does the same. A broken file is refused, and the old one stays in force.",
        examples=("kaosctl reload",), exits=ASKING, files=("socket", "config"),
    )  # fmt: skip
    commands.add(
        "version", "daemon_commands:version", "versions of client and daemon",
        examples=("kaosctl version --json",), exits=(0, 1, 2),
    )  # fmt: skip
    _backups(commands)
    _self(commands)


def _backups(commands: Commands) -> None:
    parser = commands.add(
        "backup",
        "state_backup:backup",
        "writes all that cannot be made again to one file",
        """Registrations, history, what is paused or stopped, the copies that `kaosctl recovered` lists, and the edits
        in the notebooks. Not environments, data, logs, older versions or tokens. It works with and without a running
        daemon; on Pachyderm, edits that are in the pod are not in it.""",
        examples=("kaosctl backup ~/kaosd.backup",),
        exits=(0, 1, 2, 130),
        files=("state",),
    )
    parser.add_argument("file", metavar="FILE", help="where to; it is replaced, and only you can read it")
    parser = commands.add(
        "restore",
        "state_backup:restore",
        "makes the state directory out of a backup",
        """No daemon may run. The next one builds the environments and starts the notebooks; their tokens are new, so
        that addresses with a token have to be opened again (`kaosctl open`).""",
        examples=("kaosctl restore ~/kaosd.backup && kaosctl start",),
        exits=(0, 1, 2, 130),
        files=("state",),
    )
    parser.add_argument("file", metavar="FILE", help="what `kaosctl backup` has written")
    parser.add_argument("--force", action="store_true", help="set the present state aside first")


def _self(commands: Commands) -> None:
    parser = commands.add(
        "completion",
        "completing:show",
        "prints the script that completes kaosctl and kaosd in a shell",
        """Commands, options, their values, the names of notebooks and the numbers of deployments are completed. The
        script asks kaosctl each time, so it is never out of date; without the daemon the names come from the state
        directory.""",
        examples=(
            "source <(kaosctl completion bash)",
            "kaosctl completion zsh > ~/.zfunc/_kaosctl",
            "kaosctl completion fish > ~/.config/fish/conf.d/kaosctl.fish",
        ),
        exits=(0, 2),
        files=(),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell")
    parser = commands.add(
        "help", "help_pages:show", "explains a command or a topic",
        examples=("kaosctl help notebook deploy", "kaosctl help getting-started"), exits=(0, 2), files=(),
    )  # fmt: skip
    parser.add_argument(
        "command", metavar="COMMAND|TOPIC", nargs="*", help="a command or a topic (default: the list of all)"
    )
