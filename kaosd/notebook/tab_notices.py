"""What an open tab tells its person of: few notices, each for as long as its cause lasts.

Pure. A notice is updated in place as long as its id stays; a person who has dismissed it sees it again when its id or
`since` is another one. JupyterLab shows 140 characters of a notice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaosd.display import rfc3339
from kaosd.model import ByHand, LostKernels, NotebookState, PackageChanges
from kaosd.notebook.guidance import Next, wait_steps
from kaosd.planner import Hold, Why
from kaosd.wire import Tone

LONGEST = 140  # characters of a text
REMEMBERED = 24 * 3600.0  # seconds for which something that has happened is told
NAMED = 3  # packages of one notice


@dataclass(frozen=True, slots=True)
class Button:
    """What a notice offers.

    step: what the daemon or a terminal does. page: what the page itself does: {"section": of the panel}, {"copy": file
    of a kept copy} or {"kernels": ids of those to restart}.
    """

    step: Next
    page: dict[str, Any] | None = None

    def shown(self) -> dict[str, Any]:
        """The object of `status --json`."""
        return {**self.step.shown(), "page": self.page}


@dataclass(frozen=True, slots=True)
class TabNotice:
    """One notice. until: when what it announces happens by itself."""

    id: str
    tone: Tone
    text: str
    since: float
    buttons: tuple[Button, ...] = ()
    until: float | None = None

    def shown(self) -> dict[str, Any]:
        """The object of `status --json`."""
        return {
            "id": self.id,
            "tone": self.tone,
            "text": brief(self.text),
            "since": rfc3339(self.since),
            "until": rfc3339(self.until) if self.until is not None else None,
            "actions": [button.shown() for button in self.buttons],
        }


@dataclass(frozen=True, slots=True)
class Updated:
    """An environment that running kernels do not have yet. at: when it was built. kernels: their ids.

    change: how it differs from the one before, as far as that is known.
    """

    digest: str
    at: float
    kernels: tuple[str, ...]
    change: PackageChanges | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """The latest copy of an edit: what a document held before a change was *merged* into it, or a replaced file.

    others: how many were made with it.
    """

    path: str
    file: str
    at: float
    merged: bool
    others: int = 0


@dataclass(frozen=True, slots=True)
class Causes:
    """All that the notices are made of.

    since: of the state. until: when the hold passes. steps: see answers.next_steps. file: the environment file.
    memory: see resource_use.near_limit. happened: to a host that runs since `host_since`, as a sentence.
    """

    name: str
    now: float
    state: NotebookState
    reason: str | None
    since: float
    serving: bool
    hold: Hold | None = None
    source: Hold | None = None
    data: Hold | None = None
    until: float | None = None
    busy: int = 0
    steps: Sequence[Next] = ()
    build_failed: bool = False
    updated: Updated | None = None
    by_hand: tuple[ByHand, ...] = ()
    file: str | None = None
    memory: str = ""
    copy: Copy | None = None
    lost: LostKernels | None = None
    happened: str = ""
    host_since: float = field(default=0.0)


def notices(seen: Causes) -> list[TabNotice]:
    """The notices of a notebook, the most urgent first."""
    found = (_coming(seen), _failed(seen), *_held(seen), _lost(seen), _happened(seen), _near_limit(seen),
             _merged(seen), _updated(seen), _installed(seen))  # fmt: skip
    return [one for one in found if one is not None]


def brief(text: str) -> str:
    """The first line of a text, no longer than a notice may be."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1].rstrip()}…"


def packages(change: PackageChanges) -> str:
    """How an environment differs from the one before it: "+scipy, numpy 2.1 → 2.2"."""
    parts = [f"+{name}" for name in change.added]
    parts += [f"{name} {before} → {after}" for name, before, after in change.changed]
    parts += [f"\N{MINUS SIGN}{name}" for name in change.removed]
    more = f" and {len(parts) - NAMED} more" if len(parts) > NAMED else ""
    return ", ".join(parts[:NAMED]) + more


def _coming(seen: Causes) -> TabNotice | None:
    """A swap or restart that waits for busy kernels, which it stops."""
    if seen.hold is None or seen.hold.why is not Why.BUSY:
        return None
    kernels = "a busy kernel" if seen.busy == 1 else f"{seen.busy} busy kernels"
    if seen.until is None:
        text = f"A restart of JupyterLab is due. It would stop {kernels}, and waits until no kernel is busy."
    else:
        text = f"JupyterLab is about to restart for a change of its packages, data or limits. That stops {kernels}."
    labels = {"redeploy now": "Now", "wait until idle": "Wait until idle"}
    buttons = [
        Button(Next(labels[one.label], one.command, one.verb, one.body))
        for one in wait_steps(seen.name, limited=seen.until is not None)
    ]
    return TabNotice("swap", "warn", text, seen.since, tuple(buttons), seen.until)


def _failed(seen: Causes) -> TabNotice | None:
    if seen.state is not NotebookState.FAILED or not seen.reason:
        return None
    show = Button(Next("Show", f"kaosctl logs {seen.name}"), {"section": "build" if seen.build_failed else "logs"})
    does = [Button(one) for one in seen.steps if one.verb is not None]
    what = "The build failed" if seen.build_failed else "Failed"
    return TabNotice("failed", "bad", f"{what}: {seen.reason}", seen.since, (show, *does))


def _held(seen: Causes) -> Iterator[TabNotice]:
    """Code or data that is on disk and is not deployed, and will not be by itself."""
    for kind, hold in (("source", seen.source), ("data", seen.data)):
        if hold is None or hold.why not in (Why.MASS_CHANGE, Why.PROBLEM):
            continue
        what = "New code" if kind == "source" else "New data"
        does = tuple(Button(one) for one in seen.steps if one.verb is not None and seen.hold == hold)
        yield TabNotice(f"held {kind}", "warn", f"{what} is held: {hold.brief or hold.text}", seen.since, does)


def _lost(seen: Causes) -> TabNotice | None:
    lost = seen.lost
    if lost is None or seen.now - lost.at > REMEMBERED:
        return None
    kernels = "your kernels" if lost.kernels is None else "a kernel" if lost.kernels == 1 else f"{lost.kernels} kernels"
    show = Button(Next("Show the log", f"kaosctl logs {seen.name} --stage host"), {"section": "logs"})
    return TabNotice("lost", "bad", f"The variables of {kernels} were lost: {lost.why}", lost.at, (show,))


def _happened(seen: Causes) -> TabNotice | None:
    """What happened to a running host: for example a kernel that the memory limit has stopped."""
    return TabNotice(f"host {seen.happened}", "bad", seen.happened, seen.host_since) if seen.happened else None


def _near_limit(seen: Causes) -> TabNotice | None:
    if not seen.memory:
        return None
    text = f"Near the limit: {seen.memory} is in use. A kernel that needs more is stopped."
    return TabNotice("memory", "warn", text, seen.host_since)


def _merged(seen: Causes) -> TabNotice | None:
    copy = seen.copy
    if copy is None or seen.now - copy.at > REMEMBERED:
        return None
    more = f" (and {copy.others} more)" if copy.others else ""
    what = "merged with" if copy.merged else "deployed over"
    text = f"A change on disk was {what} your edit of {copy.path}{more}. What you had is kept as a copy."
    show = Button(Next("Show both", f"kaosctl recovered {seen.name}"), {"copy": copy.file})
    return TabNotice("merged", "ok" if copy.merged else "warn", text, copy.at, (show,))


def _updated(seen: Causes) -> TabNotice | None:
    """A new environment, while kernels run that do not have it."""
    new = seen.updated
    if new is None or not new.kernels:
        return None
    what = packages(new.change) if new.change is not None else ""
    text = f"The environment was updated{f': {what}' if what else ''}. A kernel gets it when it restarts."
    restart = Button(Next("Restart kernel", f"kaosctl restart {seen.name} --kernels"), {"kernels": list(new.kernels)})
    return TabNotice(f"environment {new.digest[:7]}", "ok", text, new.at, (restart,))


def _installed(seen: Causes) -> TabNotice | None:
    """Packages that only this notebook has, by hand; another set of them is another notice."""
    asked = [one for one in seen.by_hand if one.requested]
    if not asked:
        return None
    wanted = [f"{one.name}=={one.version}" for one in asked]
    file = seen.file or "requirements.txt"
    are = "is" if len(asked) == 1 else "are"
    text = f"{_listed([one.name for one in asked])} {are} installed by hand, and not in {file}."
    label = f"Add to {file.rpartition('/')[2]}"
    add = Next(label, f"kaosctl add {seen.name} {' '.join(wanted)}", "add", {"packages": wanted})
    return TabNotice(f"by hand {' '.join(wanted)}", "warn", text, seen.host_since, (Button(add),))


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    if len(found) > NAMED:
        return f"{', '.join(found[:NAMED])} and {len(found) - NAMED} more"
    return " and ".join([", ".join(found[:-1]), found[-1]]) if len(found) > 1 else found[0]
