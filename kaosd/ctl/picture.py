"""The status as a person sees it: a pure function of the status object, the time and the screen.

A notebook that is well takes one line of a table; what is wrong comes first, with cause, evidence and next command.
What the daemon has worked out (summary, tone, next, progress, usage, edits, notices) is drawn here, never guessed.
"""

from __future__ import annotations

from kaosd.ctl.screen import Screen, age, briefly, count, quantity, since, size_of, some
from kaosd.display import epoch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Any

    from kaosd.ctl.screen import Piece

    Notebook = dict[str, Any]

SYMBOLS = {"live": "●", "stale": "◐", "building": "◐", "swapping": "◐", "held": "‖", "failed": "✗", "stopped": "○"}
ROLES = {"ok": "good", "busy": "busy", "warn": "busy", "bad": "bad"}
STATES = ("failed", "held", "stale", "building", "swapping", "stopped", "live")  # in the order of the totals
INDENT = 4
BEFELL = ("lost", "memory")  # notices of what is not shown in another way
NEARLY = 0.9  # of the memory limit: a figure above is marked
TITLES = {"counts": "", "path": "address"}  # where the title is not the name of the column
LAYOUTS = (  # columns of the table; the first layout that fits the screen is taken
    ("notebook", "state", "memory", "cpu", "counts", "address"),
    ("notebook", "state", "memory", "cpu", "counts", "path"),
    ("notebook", "state", "memory", "cpu", "counts"),
    ("notebook", "state", "memory", "cpu"),
    ("notebook", "state"),
)


def draw(
    status: dict[str, Any], now: float, screen: Screen, *, detail: bool = False, verbose: bool = False
) -> list[str]:
    """The lines of the whole status at time *now*. detail: all about each notebook; verbose: ids and API states too."""
    daemon, notebooks = status["daemon"], sorted(status["notebooks"], key=_urgency)
    if detail or verbose:
        lines = _daemon(daemon, notebooks, now, screen, detail=True)
        for notebook in notebooks:
            lines += draw_notebook(notebook, now, screen, detail=True, verbose=verbose)
        return lines
    layout, table = _table(notebooks, str(daemon.get("front", "")), now, screen)
    shared = _shared(notebooks)
    lines = _daemon(daemon, notebooks, now, screen, pattern="address" not in layout and "path" not in layout)
    for text, names in shared.items():
        lines += screen.flow([("busy", f"! {some(names)}: {text}")], INDENT)
    if not notebooks:
        return lines + screen.flow([("", "  no notebook yet"), ("strong", "kaosctl up DIR")], INDENT)
    lines += table[0]
    for notebook, head in zip(notebooks, table[1:], strict=True):
        counts = [] if "counts" in layout else [_counts(notebook)]
        lines += [*head, *_below([counts, *_story(notebook, now, shared)], screen)]
    return lines


def draw_notebook(
    notebook: Notebook, now: float, screen: Screen, *, detail: bool = False, verbose: bool = False
) -> list[str]:
    """The lines of one notebook."""
    role = _role(notebook)
    symbol = SYMBOLS.get(notebook["state"], "?")
    head = [("", f"{symbol} {notebook['name']}"), (role, _state(notebook, now))]
    if notebook.get("url"):
        head.append(("link", notebook["url"]))
    lines = screen.flow(head, INDENT)
    lines[0] = lines[0].replace(screen.paint("", symbol), screen.paint(role, symbol), 1)
    if not detail:
        return lines + _below([[_counts(notebook)], *_story(notebook, now, alone=True)], screen)
    from kaosd.ctl.details import details

    narrower = _narrower(screen)
    lines += _below(_story(notebook, now, alone=True), screen)
    return lines + [" " * INDENT + line for line in details(notebook, now, narrower, verbose=verbose)]


def _urgency(notebook: Notebook) -> int:
    """Problems come first; of those that are live they are smaller ones."""
    tone, live = notebook["tone"], notebook["state"] == "live"
    return ("bad", "warn", "busy", "live", "ok").index("live" if live and tone != "ok" else tone)


def _role(notebook: Notebook) -> str:
    return {"live": "good", "stopped": "dim"}.get(notebook["state"], ROLES[notebook["tone"]])


def _daemon(
    daemon: dict[str, Any],
    notebooks: list[Notebook],
    now: float,
    screen: Screen,
    *,
    pattern: bool = False,
    detail: bool = False,
) -> list[str]:
    """The daemon, the totals, and what is wrong with the daemon. pattern: show what the addresses look like."""
    front = f"{daemon.get('front', '')}/" + ("NAME/lab" if pattern and notebooks else "")
    pieces = [("strong", f"kaosd {daemon['version']}"), ("", f"up {since(daemon.get('started_at'), now)}")]
    lines = screen.flow([*pieces, ("link", front)], INDENT)
    if notebooks and not detail:
        lines += _below([_totals(notebooks)], screen)
    watch = daemon.get("watch") or {}
    if detail and watch:
        mode = "polling" if watch["mode"] == "poll" else watch["mode"]
        directories = count(watch["directories"], "directory", "directories")
        lines += _below([[("dim", f"watching {count(watch['files'], 'file')} in {directories} ({mode})")]], screen)
    for problem in daemon.get("problems") or ():
        role = "bad" if problem.get("severity") == "error" else "busy"
        row = [(role, f"! {problem['text']}"), ("dim", f"for {since(problem['since'], now)}")]
        lines += screen.flow([*row, *([("strong", problem["mend"])] if problem.get("mend") else [])], INDENT)
    return lines


def _totals(notebooks: list[Notebook]) -> list[Piece]:
    """How many notebooks are in which state, and what they use together."""
    states = [one["state"] for one in notebooks]
    found = [f"{states.count(state)} {state}" for state in STATES if state in states]
    worst = _role(notebooks[0])
    text = (
        f"{count(len(notebooks), 'notebook')}: {', '.join(found)}" if len(notebooks) > 1 else f"1 notebook, {states[0]}"
    )
    pieces = [(worst if worst != "good" else "", text)]
    usages = [one["usage"] for one in notebooks if one.get("usage")]
    if usages:
        memory, cores = (sum(one.get(key) or 0 for one in usages) for key in ("memory", "cpu"))
        pieces.append(("dim", f"{quantity(memory)}, {cores:.1f} cores in use"))
    return pieces


def _table(notebooks: list[Notebook], front: str, now: float, screen: Screen) -> tuple[Sequence[str], list[list[str]]]:
    """The columns that fit the screen, and the lines: the titles, then those of each notebook."""
    if not notebooks:
        return LAYOUTS[0], []
    rows = [_cells(notebook, front, now) for notebook in notebooks]
    titles = {
        column: ("dim", TITLES.get(column, column) if any(row[column][1] for row in rows) else "") for column in rows[0]
    }
    inner = Screen(screen.width - 2, colour=screen.colour, plain=screen.plain)
    for layout in LAYOUTS:
        lines = inner.aligned([[row[column] for column in layout] for row in (titles, *rows)])
        if lines is not None:
            found = [[line] for line in lines]
            break
    else:  # not even names and states fit side by side
        layout = LAYOUTS[-1]
        found = [inner.flow([row[column] for column in layout], 2) for row in (titles, *rows)]
    marks = ["", *(screen.paint(_role(one), SYMBOLS.get(one["state"], "?")) for one in notebooks)]
    return layout, [
        [f"{mark or ' '} {lines[0]}", *(f"  {line}" for line in lines[1:])]
        for mark, lines in zip(marks, found, strict=True)
    ]


def _cells(notebook: Notebook, front: str, now: float) -> dict[str, Piece]:
    """The columns of one notebook."""
    usage, limits = notebook.get("usage") or {}, notebook.get("resources") or {}
    url = str(notebook.get("url") or "")
    memory = _against(quantity(usage["memory"]), limits.get("memory")) if usage.get("memory") is not None else ""
    cores = _against(f"{usage['cpu']:.1f}", limits.get("cpu")) if usage.get("cpu") is not None else ""
    return {
        "notebook": ("", str(notebook["name"])),
        "state": (_role(notebook), _state(notebook, now, brief=True)),
        "memory": ("busy" if _is_nearly_full(usage, limits) else "", memory),
        "cpu": ("", cores),
        "counts": _counts(notebook),
        "address": ("link", url),
        "path": ("link", url.removeprefix(front)),
    }


def _against(used: str, limit: object) -> str:
    """What is in use against the limit: 312Mi/4Gi."""
    return f"{used}/{limit:g}" if isinstance(limit, float) else f"{used}/{limit}" if limit else used


def _is_nearly_full(usage: dict[str, Any], limits: dict[str, Any]) -> bool:
    limit = size_of(str(limits.get("memory") or ""))
    return limit > 0 and (usage.get("memory") or 0) > NEARLY * limit


def _state(notebook: Notebook, now: float, *, brief: bool = False) -> str:
    """The state with its age: live 12 min."""
    at = epoch(notebook.get("since"))
    paused, word = ("paused" if brief else "paused by you"), notebook["state"]
    if notebook.get("paused") and word in ("live", "held"):
        word = paused if word == "held" else f"{word}, {paused}"
    return word if at is None else f"{word} {(briefly if brief else age)(now - at)}"


def _counts(notebook: Notebook) -> Piece:
    """What differs from what was deployed although the notebook is well: 2 edited here, 1 kept."""
    environment, host = notebook.get("environment") or {}, notebook.get("host") or {}
    numbers = {
        "edited here": edited(notebook),
        "by hand": sum(one["requested"] for one in environment.get("by_hand") or ()),
        "kept": notebook.get("recovered") or 0,
    }
    texts = [f"{number} {what}" for what, number in numbers.items() if number]
    if outdated := host.get("outdated"):
        texts.append(count(outdated, "old kernel"))
    return "", ", ".join(texts)


def edited(notebook: Notebook) -> int:
    """How many files differ in the notebook from what was deployed, as far as that is known."""
    return sum((notebook.get("edits") or {}).get(key) or 0 for key in ("edited", "new", "deleted"))


def _story(notebook: Notebook, now: float, shared: Collection[str] = (), *, alone: bool = False) -> list[list[Piece]]:
    """What is wrong, or being done, and what to do; of a notebook that is stopped only where it stands *alone*.

    shared: warnings that are shown for several notebooks at once.
    """
    quiet = notebook["state"] == "live" or (notebook["state"] == "stopped" and not alone)
    rows: list[list[Piece]] = [] if quiet else [*_cause(notebook), _swap(notebook, now), _content(notebook)]
    if refused := notebook.get("refused"):
        rows.append([("busy", f"left out: {some(refused)}")])
    rows += [[("busy", f"! {text}")] for text in notebook.get("warnings") or () if text not in shared]
    if befell := (notebook.get("host") or {}).get("notice"):
        rows.append([("busy", str(befell))])
    rows += [[(ROLES[one["tone"]], one["text"])] for one in notebook.get("notices") or () if one["id"] in BEFELL]
    holds = [(notebook.get(key) or {}).get("hold") for key in ("source", "data")]
    rows += [[("busy", hold)] for hold in holds if hold and hold != notebook.get("reason")]
    asked = not quiet or notebook.get("paused")
    return [*rows, [("strong", command) for command in next_commands(notebook)] if asked else []]


def _cause(notebook: Notebook) -> list[list[Piece]]:
    """Why it is not live: the changed files and how far the work is, or the sentence of the failure."""
    if doing := doing_now(notebook):
        deployment = notebook.get("deployment") or {}
        changed = deployment.get("cause") if not deployment.get("finished_at") else None
        return [[("", f"change: {some(changed)}" if changed else "")], doing]
    said = str(notebook.get("reason") or notebook["summary"])
    role = "bad" if notebook["tone"] == "bad" else ""
    return [[(role, line)] for line in said.splitlines()]


def _swap(notebook: Notebook, now: float) -> list[Piece]:
    """When a swap comes that stops busy kernels."""
    swap = notebook.get("swap") or {}
    until = epoch(swap.get("until"))
    if until is None:
        return []
    return [("busy", f"stops {count(swap['busy'], 'busy kernel')} in {age(until - now)} at the latest")]


def doing_now(notebook: Notebook) -> list[Piece]:
    """How far the work in progress is: 38 s of about 2 min, step 2 of 4: resolve; nothing when there is none."""
    progress = notebook.get("progress")
    if not progress:
        return []
    seconds, expected = progress.get("seconds"), progress.get("expected")
    took = "" if seconds is None else age(seconds)
    if took and expected:
        took += f" of about {age(expected)}" if seconds < expected else f", usually about {age(expected)}"
    return [("", took), ("", working(progress))]


def working(progress: dict[str, Any]) -> str:
    """How far the work in progress is: step 2 of 4: resolve the requirements."""
    step = f"step {progress['step']} of {progress['steps']}: " if progress["step"] is not None else ""
    return f"{step}{progress['text']}"


def _content(notebook: Notebook) -> list[Piece]:
    """What is served where that is not what is on disk."""
    host = notebook.get("host") or {}
    serving = host.get("state") == "PIPELINE_RUNNING"
    if not serving:
        return [("busy", "nothing is served")]
    pieces: list[Piece] = []
    for key in ("source", "data"):
        bundle = notebook.get(key) or {}
        live, disk = bundle.get("live"), bundle.get("disk")
        if live is not None and live != disk:
            pieces += [("", f"still serving {live}"), ("busy", f"on disk {disk}" if disk else f"{key} not read")]
    return pieces


def next_commands(notebook: Notebook) -> list[str]:
    """What the person can do next, each with its label; none when all is well."""
    return [f"{one['label']}: {one['command']}" for one in notebook.get("next") or ()]


def _shared(notebooks: list[Notebook]) -> dict[str, list[str]]:
    """The warnings that several notebooks have, each with their names."""
    found: dict[str, list[str]] = {}
    for notebook in notebooks:
        for text in notebook.get("warnings") or ():
            found.setdefault(text, []).append(notebook["name"])
    return {text: names for text, names in found.items() if len(names) > 1}


def _below(rows: list[list[Piece]], screen: Screen) -> list[str]:
    """The lines of rows of pieces below a notebook's head; empty pieces and rows are left out."""
    narrower = _narrower(screen)
    filled = ([piece for piece in row if piece[1]] for row in rows)
    return [" " * INDENT + line for row in filled for line in narrower.flow(row, INDENT)]


def _narrower(screen: Screen) -> Screen:
    """What is left of *screen* below a notebook's head."""
    return Screen(max(20, screen.width - INDENT), colour=screen.colour, plain=screen.plain)
