"""What must be true when all has come to rest, told without kaosd's own code: every loss has a column of its own."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from tests.faults.daemon import Struck
from tests.faults.editor import TEMPORARY, Editor, File, Tree, read_tree

LOSSES = ("saves lost", "edits lost", "wrong content", "false history", "orphans", "leaked files", "descriptors")
SLACK = 12  # descriptors that may come and go


def compare(editor: Editor, *, damaged: bool = False, told: bool = False) -> list[tuple[str, str]]:
    """What is wrong with the content in the host: column and sentence.

    damaged: kaosd may have lost what it had deployed. That excuses nothing that is old: only that an edit of the host
    was saved and replaced where it could have stayed, and where *told* that one stayed which the disk has deleted.
    """
    source, work = read_tree(editor.model), in_host(editor)
    wrong = []
    for path in sorted(source.keys() | work.keys() | editor.hosted.keys()):
        if any(part.startswith((TEMPORARY, ".~")) for part in path.split("/")):
            wrong.append(("leaked files", f"{path} was left behind"))
        elif path not in editor.hosted:
            wrong += _untouched(editor, path, source, work)
        else:
            wrong += _touched(editor, path, source, work, damaged=damaged, told=told)
    if read_tree(editor.data) != read_tree(editor.work.parent / "data"):
        wrong.append(("saves lost", "the data in the host is not what is on disk"))
    return wrong


def in_host(editor: Editor) -> Tree:
    """The files in the host, without the link by which it finds its data."""
    work = read_tree(editor.work)
    if work.get("data") in (File("l", b"../data"), File("l", f"/pfs/data-{editor.work.parent.name}".encode())):
        del work["data"]
    return work


def _untouched(editor: Editor, path: str, source: Tree, work: Tree) -> list[tuple[str, str]]:
    here, there = source.get(path), work.get(path)
    if here == there:
        return []
    kind = "saves lost" if path in editor.touched else "wrong content"
    return [(kind, f"{path} is {_short(there)} in the host and {_short(here)} on disk")]


def _touched(
    editor: Editor, path: str, source: Tree, work: Tree, *, damaged: bool, told: bool
) -> list[tuple[str, str]]:
    """The three-way rule for a file that was edited in the host; whether it is saved is looked at in `lost`."""
    here, there, edit = source.get(path), work.get(path), editor.hosted[path]
    is_kept = (there.content if there is not None else None) == edit
    is_incoming = there == here
    changed = here != editor.base.get(path)
    either = path in editor.loose or _blocked(path, source) or (path in editor.touched and not changed)
    if (is_incoming and (changed or either or damaged)) or (is_kept and (not changed or either)):
        return []
    if is_kept and damaged and told and here is None:
        return []
    return [("wrong content", f"{path} is {_short(there)} in the host, edited to {edit!r}, {_short(here)} on disk")]


def _blocked(path: str, source: Tree) -> bool:
    """Whether something else stands where the file's directory was."""
    parts = path.split("/")
    return any("/".join(parts[:end]) in source for end in range(1, len(parts)))


def lost(editor: Editor) -> list[tuple[str, str]]:
    """The edits of the host that are neither in place nor recovered."""
    found = {file.content for file in in_host(editor).values()}
    missing = [content for content in editor.written if content not in found]
    if not missing:
        return []
    saved = {file.content for file in read_tree(editor.work.parent / "recovered").values()}
    for content in missing:
        if content in saved:
            editor.recovered[content] = editor.written.pop(content)
    return [("edits lost", f"{editor.written[one]}: {one!r} is nowhere") for one in missing if one in editor.written]


def settle(editor: Editor) -> None:
    """Take over which of the edits still stand, when all is right; what is recovered is looked at again at the end."""
    work, source = in_host(editor), read_tree(editor.model)
    for path, edit in list(editor.hosted.items()):
        there = work.get(path)
        if (there.content if there is not None else None) != edit or there == source.get(path):
            del editor.hosted[path]
    editor.rest()


def machine(daemon: Struck, name: str, baseline: int) -> list[tuple[str, str]]:
    """What is wrong with processes, files and descriptors."""
    wrong = []
    launchers = daemon.launchers()
    if len(launchers) != 1:
        wrong.append(("orphans", f"{len(launchers)} hosts run: {launchers}"))
    if builders := daemon.builders():
        wrong.append(("orphans", f"builders are left: {builders}"))
    return wrong + leftovers(daemon, name, baseline)


def leftovers(daemon: Struck, name: str, baseline: int) -> list[tuple[str, str]]:
    """The same, of files and descriptors only."""
    wrong = [("leaked files", str(path)) for path in leaked(daemon.home(name))]
    if daemon.descriptors() > baseline + SLACK:
        wrong.append(("descriptors", f"{daemon.descriptors()} are open, {baseline} were at first"))
    return wrong


def leaked(home: Path) -> list[Path]:
    """Temporary files in a notebook's directory."""
    found = [path for path in home.iterdir() if path.name.endswith((".new", ".part"))]
    below = os.walk(home / "jupyter")  # not rglob, which fails where a directory goes meanwhile
    return found + [Path(directory, name) for directory, _, names in below for name in names if name.endswith(".new")]


def history(daemon: Struck, name: str) -> list[tuple[str, str]]:
    """What is wrong with what the journal says of the past."""
    told, shown = daemon.ask("GET", f"/v1/notebooks/{name}/history"), daemon.ask("GET", f"/v1/notebooks/{name}")
    deployments = told["deployments"]
    wrong = []
    numbers = [one["number"] for one in deployments]
    if numbers != sorted(numbers, reverse=True) or len(set(numbers)) != len(numbers):
        wrong.append(f"numbers {numbers}")
    running = [one["number"] for one in deployments if one["outcome"] == "running" or one["finished_at"] is None]
    if running:
        wrong.append(f"deployments {running} go on although all is at rest")
    states = Counter(job["state"] for one in deployments for job in one["jobs"])
    if states["JOB_STARTING"] or states["JOB_RUNNING"] > 1:
        wrong.append(f"jobs {dict(states)} at rest")
    live = next((one for one in deployments if one["outcome"] == "live"), None)
    served = (shown["source"]["live"], shown["data"]["live"])
    if deployments and (live is None or (live["source"], live["data"]) != served):
        wrong.append(f"the last one that went live is {live and (live['source'], live['data'])}, served is {served}")
    if told["pinned"] is not None:
        wrong.append(f"pinned to {told['pinned']}")
    return [("false history", each) for each in wrong]


def listed(daemon: Struck, name: str, editor: Editor) -> list[tuple[str, str]]:
    """Copies of edits that stand in the directory of recovered files and that `kaosctl recovered` does not name."""
    files = {one["file"] for one in daemon.ask("GET", f"/v1/notebooks/{name}/recovered").get("recovered", [])}
    top = editor.work.parent / "recovered"
    on_disk = {os.path.join(top, path) for path, file in read_tree(top).items() if file.content in editor.recovered}
    wrong = [("edits lost", f"{path} is not listed") for path in sorted(on_disk - files)]
    kept = {file.content for file in read_tree(top).values()}
    return wrong + [("edits lost", f"{path} was recovered, and is gone") for content, path in editor.recovered.items()
                    if content not in kept]  # fmt: skip


def _short(file: object) -> str:
    return repr(file)[:60]
