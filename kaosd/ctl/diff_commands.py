"""`kaosctl diff, pull, reset`: edits made in a notebook are shown, come home, or are taken back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from kaosd.ctl import command_output, failure, pager
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.command_output import agreed
from kaosd.ctl.diff_screen import draw_between, draw_edits
from kaosd.ctl.failure import Failure
from kaosd.ctl.screen import Screen

Json = dict[str, Any]
LONG = 120.0  # seconds for an answer that compares many files
PULLED = {  # by action: how it is said before and after, and its role
    "write": ("write", "written", "good"),
    "overwrite": ("write over what is on disk (a copy is kept)", "written", "busy"),
    "delete": ("delete on disk", "deleted on disk", "bad"),
    "unnamed": ("delete on disk", "stays on disk: name it to delete it there", "busy"),
    "same": ("is on disk already", "is on disk already", "dim"),
    "unchanged": ("nothing but outputs differs", "nothing but outputs differs", "dim"),
    "refused": ("stays: a link that leads out of the notebook", "stays: a link that leads out of the notebook", "dim"),
    "conflict": ("was changed on disk as well", "was changed on disk as well", "bad"),
}
RESET = {
    "restored": ("bring back", "as deployed again", "good"),
    "removed": ("remove (a copy is kept)", "removed", "bad"),
    "stays": ("stays: only in the notebook", "stays: only in the notebook, name it to remove it", "dim"),
}
Words = dict[str, tuple[str, str, str]]


def diff(name: str, edits: Sequence[str] = (), *, as_json: bool = False) -> int:
    """Show the edits of a notebook, or what differs between two deployments."""
    from urllib.parse import urlencode

    numbers = len(edits) == 2 and all(word.isdecimal() for word in edits)
    if len(edits) > 1 and not numbers:
        text = "diff takes one PATH, or the numbers of two deployments"
        raise Failure(text, hint="kaosctl help diff", exit_code=failure.USAGE, code="usage")
    query = {"from": edits[0], "to": edits[1]} if numbers else {"path": edits[0]} if edits else {}
    encoded = f"?{urlencode(query, errors='surrogateescape')}" if query else ""
    answer = Client().get(notebook_path(name, "diff") + encoded, timeout=LONG)
    where = command_output.here()
    if as_json:
        command_output.tell(answer, (), as_json=True)
    elif numbers:
        pager.show(draw_between(answer, where))
    else:
        pager.show(draw_edits(answer, where, hints=sys.stdout.isatty()))
    return 0


def pull(
    name: str,
    edits: Sequence[str] = (),
    *,
    force: bool = False,
    strip_outputs: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    as_json: bool = False,
) -> int:
    """Write edits into the source directory."""
    body: Json = {"paths": list(edits), "force": force, "strip_outputs": strip_outputs}
    client, path = Client(), notebook_path(name, "pull")
    if not yes:
        planned = client.post(path, {**body, "dry_run": True}, timeout=None)
        wanted = _of(planned, "write", "overwrite", "delete", "unnamed")
        conflicts = _of(planned, "conflict")
        if dry_run:
            return _told(planned, PULLED, 0, as_json=as_json, failed=bool(conflicts))
        if conflicts or not wanted:
            _told(planned, PULLED, 0, as_json=as_json)
            return _refused(name, conflicts) if conflicts else 0
        _ask(planned, PULLED, f"Do this in {planned['source']}?", "nothing was written")
        if _of(planned, "unnamed"):  # they are confirmed now
            body["paths"] = wanted
    answer = client.post(path, {**body, "dry_run": dry_run}, timeout=None)
    if yes or as_json:
        return _told(answer, PULLED, 0 if dry_run else 1, as_json=as_json)
    written, deleted = (len(_of(answer, *actions)) for actions in (("write", "overwrite"), ("delete",)))
    done = [f"{_files(number)} {word}" for number, word in ((written, "written"), (deleted, "deleted")) if number]
    return _summed_up(answer, f"{' and '.join(done)} in {answer['source']}")


def reset(
    name: str, edits: Sequence[str] = (), *, dry_run: bool = False, yes: bool = False, as_json: bool = False
) -> int:
    """Bring the deployed version of files back into the notebook."""
    body: Json = {"paths": list(edits)}
    client, path = Client(), notebook_path(name, "reset")
    if not yes:
        planned = client.post(path, {**body, "dry_run": True}, timeout=None)
        if dry_run or not _of(planned, "restored", "removed"):
            return _told(planned, RESET, 0, as_json=as_json)
        _ask(planned, RESET, f"Do this in {name}? Copies of your edits are kept.", "nothing was changed")
    answer = client.post(path, {**body, "dry_run": dry_run}, timeout=None)
    if yes or as_json:
        return _told(answer, RESET, 0 if dry_run else 1, as_json=as_json)
    return _summed_up(answer, f"{_files(len(_of(answer, 'restored', 'removed')))} of {name} as deployed again")


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _summed_up(answer: Json, text: str) -> int:
    """Print what was done after the person has seen and agreed to it: one line, and where copies are."""
    where = command_output.here()
    lines = where.flow([("good", f"● {text}")], 4)
    for one in answer["files"]:
        if one.get("kept"):
            lines += where.flow([("dim", f"    a copy of {one['path']} is kept as"), ("", one["kept"])], 4)
    command_output.tell(answer, lines, as_json=False)
    return 0


def _of(answer: Json, *actions: str) -> list[str]:
    """The paths with one of these actions."""
    return [one["path"] for one in answer["files"] if one["action"] in actions]


def _ask(planned: Json, words: Words, question: str, otherwise: str) -> None:
    """Show what would be done and ask; Failure when the answer is no, or there is no terminal to ask at."""
    if not sys.stdin.isatty():
        text = "there is no terminal here to ask whether to go ahead"
        raise Failure(
            text, hint="add -y, or --dry-run to see what would be done", exit_code=failure.USAGE, code="usage"
        )
    from kaosd.ctl import screen

    sys.stderr.write("".join(f"{line}\n" for line in _lines(planned, words, 0, screen.of(sys.stderr))))
    if not agreed(question):
        raise Failure(otherwise)


def _told(answer: Json, words: Words, tense: int, *, as_json: bool, failed: bool = False) -> int:
    """Print what would be done (tense 0), or was (1)."""
    command_output.tell(answer, _lines(answer, words, tense, command_output.here()), as_json=as_json)
    return failure.FAILED if failed else 0


def _lines(answer: Json, words: Words, tense: int, where: Screen) -> list[str]:
    lines = []
    for one in answer["files"]:
        said, role = words[one["action"]][tense], words[one["action"]][2]
        lines += where.flow([("strong", one["path"]), (role, said)], 4)
        if one.get("kept"):
            lines += where.flow([("dim", "    a copy is kept as"), ("", one["kept"])], 4)
    return lines or [f"nothing was edited in {answer['name']}"]


def _refused(name: str, conflicts: Sequence[str]) -> int:
    was = "was" if len(conflicts) == 1 else "were"
    raise Failure(
        f"{', '.join(conflicts[:3])} {was} changed in the notebook and on disk as well; nothing was written",
        hint=f"`kaosctl diff {name}` shows the edits; --force writes them and keeps a copy of what is on disk",
    )
