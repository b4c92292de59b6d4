"""A tab of a real Chromium, as a person uses it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.e2e.daemon import Daemon, until

PATIENCE = 60_000.0  # milliseconds that anything may take on a loaded machine
KEY = 15.0  # milliseconds between two keys of a quick typist
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PYTHON = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, with a profile of its own."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


def notebook(*sources: str) -> str:
    """The text of a notebook with code cells of these sources, named c0, c1, …."""
    cells = [
        {"id": f"c{k}", "cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
        for k, source in enumerate(sources)
    ]
    content = {"cells": cells, "metadata": {"kernelspec": PYTHON}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1) + "\n"


def write(bundle: Path, *sources: str) -> None:
    """Save the bundle's notebook document, n.ipynb, with code cells of these sources."""
    (bundle / "model" / "n.ipynb").write_text(notebook(*sources))


def deploy(daemon: Daemon, name: str, bundle: Path, requirements: str, *sources: str) -> None:
    """Deploy a bundle with these requirements and a notebook document with code cells of these sources."""
    (bundle / "model" / "requirements.txt").write_text(requirements)
    write(bundle, *sources)
    daemon.deploy(name, bundle)


# Remembers each of the texts that comes to be shown, however soon it goes again.
REMEMBER = """text => {
    window.shown ??= new Set();
    new MutationObserver(changes => {
        for (const { target, addedNodes } of changes)
            for (const node of [target, ...addedNodes])
                if (node !== document.body && node.textContent.includes(text)) window.shown.add(text);
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


class Tab:
    """One tab with a notebook's JupyterLab."""

    def __init__(self, page: Page, daemon: Daemon, name: str) -> None:
        self.page = page
        self.daemon = daemon
        self.name = name

    def open(self, document: str, cells: int) -> Tab:
        """Open a notebook document with this many cells."""
        address = f"{self.daemon.url(self.name)}/lab/tree/{document}?token={self.daemon.token(self.name)}"
        with self.page.expect_websocket(lambda one: "/channels" in one.url):  # its kernel's: idle is also shown before
            self.page.goto(address)
        expect(self.cells).to_have_count(cells)
        expect(self.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible()
        return self

    def remember(self, text: str) -> None:
        """Look out for a notice from now on."""
        self.page.evaluate(REMEMBER, text)

    def has_shown(self, text: str) -> None:
        """Wait until a notice that is looked out for has been shown, even if it has gone again."""
        self.page.wait_for_function("text => window.shown.has(text)", arg=text, timeout=PATIENCE)

    @property
    def cells(self) -> Locator:
        """The editors of the notebook's cells."""
        return self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .cm-content")

    def cell(self, number: int) -> Locator:
        """One of them."""
        return self.cells.nth(number)

    def at_end_of(self, number: int) -> None:
        """Put the cursor at the end of a cell."""
        self.cell(number).click()
        self.page.keyboard.press("Control+End")

    def type(self, text: str) -> str:
        """Press a key for each character; the text."""
        self.page.keyboard.type(text, delay=KEY)
        return text

    def save(self) -> None:
        """Press the keys that save; done when JupyterLab has saved, and made the checkpoint that follows."""
        with self.page.expect_response(lambda answer: "/checkpoints" in answer.url and answer.request.method == "POST"):
            self.page.keyboard.press("Control+s")
        expect(self.page.locator(".jp-mod-dirty")).to_have_count(0)

    def run(self, number: int, printed: str) -> None:
        """Run a cell and wait for what it prints."""
        self._press_until(number, self.page.locator(".jp-OutputArea-output", has_text=printed).last, printed)

    def execute(self, number: int) -> None:
        """Run a cell that prints nothing, for the first time; done when it has a number."""
        numbered = (
            self.page.locator(".jp-CodeCell .jp-InputPrompt")
            .nth(number)
            .and_(self.page.locator(".jp-InputPrompt", has_text=re.compile(r"\[\d+\]")))
        )
        self._press_until(number, numbered, "a number at the cell")

    def _press_until(self, number: int, seen: Locator, what: str) -> None:
        """Press the keys that run a cell; once more when nothing came of it, as while JupyterLab is still loading."""

        def ran() -> bool:
            expect(self.page.locator("dialog.jp-Dialog")).to_have_text([])  # a failure shows what it asks
            self.cell(number).click()
            self.page.keyboard.press("Control+Enter")
            try:
                expect(seen).to_be_visible(timeout=5000)
            except AssertionError:
                return False
            return True

        until(lambda: ran() or None, what)

    def shows(self, *sources: str) -> None:
        """Wait until the cells hold exactly this."""
        expect(self.cells).to_have_text(list(sources), use_inner_text=True)

    def saved(self, document: str, *sources: str) -> None:
        """Wait until the file in the host holds exactly this."""
        file = self.daemon.home(self.name) / "work" / document
        until(lambda: sources_of(file) == list(sources) or None, f"{document} to be saved with {sources}")


def sources_of(file: Path) -> list[str]:
    """The sources of a notebook's cells on disk; none while JupyterLab is writing it."""
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except ValueError:
        return []
    return ["".join(cell["source"]) for cell in content["cells"]]
