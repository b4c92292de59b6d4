"""From a save to its text in an open tab of a real Chromium: kaosd, and what people would use to have that.

All have the same document open, each in a tab of its own, and take turns: a save of one, then a save of the next one.
The page itself notes when the text is in its DOM. JupyterLab alone shows no change; what it shows instead is a fact.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Error, Page

from tests.bench.bench import Bench, at_leisure
from tests.bench.report import OWN, Report, Times
from tests.bench.servers import MARIMO, environment, jupyter_lab, marimo
from tests.browser.tab import PATIENCE, chromium, notebook
from tests.e2e.conftest import make_bundle

COLLABORATION, ALONE, MARIMO_EDIT = "jupyter-collaboration", "JupyterLab alone", "marimo edit --watch"
CELLS = 8  # of the small notebook; the first one is what saves change
LARGE = 103
PAUSES = (0.2, 1.2)  # seconds before a save, by chance: a peer that polls each second is met at any time of it
# Notes, in milliseconds of the epoch, when an editor of the page holds a text; null when the time is up.
WATCH = """([text, limit]) => {
    window.seen = new Promise((resolve) => {
        const look = (changes) => {
            for (const { target } of changes) {
                const element = target.nodeType === Node.ELEMENT_NODE ? target : target.parentElement;
                if (!(element?.closest(".cm-content") ?? element)?.textContent.includes(text)) continue;
                observer.disconnect();
                resolve(performance.timeOrigin + performance.now());
            }
        };
        const observer = new MutationObserver(look);
        observer.observe(document.body, { childList: true, subtree: true, characterData: true });
        setTimeout(() => { observer.disconnect(); resolve(null); }, limit);
    });
}"""
Write = Callable[[Path, str], None]
Text = Callable[[str], str]


def in_place(file: Path, text: str) -> None:
    """Save as an editor does that opens the file and writes it, such as VS Code."""
    file.write_text(text)


def replaced(file: Path, text: str) -> None:
    """Save as an editor does that writes a file beside it and renames that; the name is the one of PyCharm."""
    beside = file.with_name(f"{file.name}___jb_tmp___")
    beside.write_text(text)
    os.replace(beside, file)


WAYS: dict[str, Write] = {"replaced": replaced, "written in place": in_place}


def sources(cells: int, marker: str) -> list[str]:
    """The sources of so many cells; the first one holds *marker*."""
    first = f"threshold = 0.4\nrate = 0.1  # {marker}"
    return [first, *(f"x{number} = [rate * k for k in range({number})]\nsum(x{number})" for number in range(1, cells))]


def jupyter_text(cells: int, marker: str) -> str:
    """A notebook document of JupyterLab."""
    return notebook(*sources(cells, marker))


def marimo_text(cells: int, marker: str) -> str:
    """The same cells as a notebook of marimo, in the form that it writes itself."""
    parts = ["import marimo\n\napp = marimo.App()\n"]
    for number, source in enumerate(sources(cells, marker)):
        body = "".join(f"    {line}\n" for line in source.splitlines())
        needs, gives = ("rate", "") if number else ("", " (rate,)")
        parts.append(f"\n\n@app.cell\ndef _({needs}):\n{body}    return{gives}\n")
    return "".join([*parts, '\n\nif __name__ == "__main__":\n    app.run()\n'])


def plain_text(marker: str) -> str:
    """A text file of some lines."""
    return "".join([f"The threshold is 0.4: {marker}.\n", *(f"- line {number}\n" for number in range(1, 30))])


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of document: its file's name in JupyterLab, its text, and the text of marimo's notebook beside it."""

    what: str
    file: str
    text: Text
    marimo: Text


KINDS = (
    Kind("notebook cell", "n.ipynb", lambda marker: jupyter_text(CELLS, marker), lambda m: marimo_text(CELLS, m)),
    Kind("text file", "notes.txt", plain_text, lambda marker: marimo_text(CELLS, marker)),
    Kind(f"cell of {LARGE}", "l.ipynb", lambda marker: jupyter_text(LARGE, marker), lambda m: marimo_text(LARGE, m)),
)


@dataclass(frozen=True, slots=True)
class Open:
    """A document that somebody has open: its file on disk, what to write there, and the tab."""

    who: str
    file: Path
    text: Text
    page: Page

    def save(self, write: Write, limit: float) -> float:
        """Save once; seconds from before the write until the tab has it, infinite after *limit* seconds."""
        marker = uuid.uuid4().hex[:12]
        text = self.text(marker)
        self.page.bring_to_front()
        self.page.evaluate(WATCH, [marker, limit * 1e3])
        began = time.time()
        write(self.file, text)
        seen = self.page.evaluate("window.seen")
        return math.inf if seen is None else float(seen) / 1e3 - began


def measure(bench: Bench, report: Report) -> None:
    """Every kind of document, one after the other: the tabs of one kind are open at a time."""
    saves, limit = bench.choose((3, 3.0), (20, 10.0))
    by_hand = {who: bench.place / who.replace(" ", "-") for who in (COLLABORATION, ALONE)}
    environment(by_hand[COLLABORATION], ["jupyterlab", "jupyter-collaboration"])
    environment(by_hand[ALONE], ["jupyterlab"])
    if not MARIMO.exists():
        report.missing.append(f"{MARIMO_EDIT}: .ci/bench-peers could not install it")
    source = make_bundle(bench.place / "source")
    for kind in KINDS:
        (source / "model" / kind.file).write_text(kind.text("start"))
    with bench.daemon() as daemon, chromium() as browser:
        daemon.deploy("tab", source)
        at_leisure(daemon)
        ours = f"{daemon.url('tab')}/lab{{}}?reset&token={daemon.token('tab')}"  # without the tabs of the kind before
        for kind in KINDS:
            with contextlib.ExitStack() as stack:
                opened = [_jupyter(stack, browser, OWN, source / "model", ours, kind)]
                for who, made in by_hand.items():
                    work = bench.place / f"{made.name}-{kind.file}"
                    work.mkdir()
                    url = stack.enter_context(jupyter_lab(made, work))
                    opened.append(_jupyter(stack, browser, who, work, url, kind))
                if MARIMO.exists():
                    opened.append(_marimo(stack, browser, bench.place, kind))
                _turns(report, kind, opened, saves, limit)
    _targets(report)


def _jupyter(stack: contextlib.ExitStack, browser: Browser, who: str, work: Path, url: str, kind: Kind) -> Open:
    """The document open in a JupyterLab; a notebook's kernel runs."""
    (work / kind.file).write_text(kind.text("start"))
    page = stack.enter_context(_tab(browser))
    page.goto(url.format(f"/tree/{kind.file}"))
    page.locator(".cm-content", has_text="start").first.wait_for()
    if kind.file.endswith(".ipynb"):
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for()
    return Open(who, work / kind.file, kind.text, page)


def _marimo(stack: contextlib.ExitStack, browser: Browser, place: Path, kind: Kind) -> Open:
    file = place / f"marimo-{kind.file}" / "n.py"
    file.parent.mkdir()
    file.write_text(kind.marimo("start"))
    page = stack.enter_context(_tab(browser))
    page.goto(stack.enter_context(marimo(file)))
    page.locator(".cm-content", has_text="start").first.wait_for()
    return Open(MARIMO_EDIT, file, kind.marimo, page)


@contextlib.contextmanager
def _tab(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 720})
    context.set_default_timeout(PATIENCE)
    try:
        yield context.new_page()
    finally:
        context.close()


def _turns(report: Report, kind: Kind, opened: list[Open], saves: int, limit: float) -> None:
    """So many saves of each way by each of them, in turn; who shows none is asked what it shows instead.

    limit: seconds after which a save that does not show is counted as never shown.
    """
    times: dict[tuple[str, str], list[float]] = {}
    for one in list(opened):
        first = [one.save(write, limit) for write in WAYS.values()]  # not counted: the first ones load what they need
        if all(map(math.isinf, first)):
            opened.remove(one)
            report.facts.append(f"{kind.what}, {one.who}: never within {limit:g} s; {_instead(one, limit)}")
            for way in WAYS:
                times[way, one.who] = [math.inf]
    for _ in range(saves):
        for way, write in WAYS.items():
            for one in random.sample(opened, len(opened)):
                one.page.wait_for_timeout(random.uniform(*PAUSES) * 1e3)
                times.setdefault((way, one.who), []).append(one.save(write, limit))
    for (way, who), seconds in times.items():
        shown = [one for one in seconds if math.isfinite(one)]
        report.add(_what(kind, way), 0, who, shown or seconds)
        if shown and len(shown) < len(seconds):
            lost = len(seconds) - len(shown)
            report.facts.append(f"{_what(kind, way)}, {who}: {lost} of {len(seconds)} never within {limit:g} s")


def _instead(one: Open, limit: float) -> str:
    """What a person sees who types into a tab that has not shown the change, and saves."""
    one.page.bring_to_front()
    one.page.locator(".cm-content").first.click()
    one.page.keyboard.type("#")
    one.page.keyboard.press("Control+s")
    dialog = one.page.locator(".jp-Dialog")
    try:
        dialog.wait_for(timeout=limit * 1e3)
    except Error:
        return "nor does a save in the tab show anything"
    title = dialog.locator(".jp-Dialog-header").inner_text()
    buttons = dialog.get_by_role("button").all_inner_texts()
    return f'a save in the tab then shows the dialog "{title}": {", ".join(filter(None, buttons))}'


def _what(kind: Kind, way: str) -> str:
    return f"save to tab: {kind.what}, {way}"


def _targets(report: Report) -> None:
    """The worse of the two ways of saving counts."""
    for kind in KINDS:
        whats = [_what(kind, way) for way in WAYS]
        limits = {MARIMO_EDIT: 1.0} if kind is KINDS[-1] else {MARIMO_EDIT: 1.0, COLLABORATION: 0.04}
        for who, limit in limits.items():
            report.target(f"save to tab, {kind.what}: of {who}", max(report.ratio(w, 0, who) for w in whats), limit)
        own = [one for one in report.times if one.what in whats and one.who == OWN]
        report.target(f"save to tab, {kind.what}: p95 of the median", _spread(own), 2)


def _spread(times: list[Times]) -> float:
    return max((one.p95 / one.median for one in times), default=math.nan)
