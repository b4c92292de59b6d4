"""From a command to a JupyterLab that is usable in a real Chromium: `kaosctl up`, and the same by hand with uv.

Everything that is installed lies in uv's cache, and nothing is kept of an earlier round but that.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.bench.bench import Bench
from tests.bench.report import OWN, Report
from tests.bench.servers import environment, jupyter_lab
from tests.browser.tab import PATIENCE, chromium
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until

BY_HAND = "by hand: uv venv, uv pip install, jupyter lab"
AT_ONCE = "command to JupyterLab rendered, its page opened at once"
AT_END = "command to JupyterLab rendered, its page opened when the command is done"
ANSWERED, SAYS = "command to the first answer of its page", "command to a page that says what is being done"
LIVE = "command to its end, when the notebook is live"
REQUIREMENTS = ("numpy", "pandas")
_SHOWN = ".jp-LauncherCard"  # what a new JupyterLab offers a person; the last thing that it draws


def measure(bench: Bench, report: Report) -> None:
    """Rounds in turn; the first one of each is not counted, it fills the caches."""
    answered: list[float] = []
    says: list[float] = []
    live: list[float] = []
    ways: dict[str, Callable[[Path, Browser], float]] = {
        AT_ONCE: lambda place, browser: _up(bench, place, browser, answered, says),
        AT_END: lambda place, browser: _up_then_open(bench, place, browser, live),
        BY_HAND: _by_hand,
    }
    times: dict[str, list[float]] = {what: [] for what in ways}
    with chromium() as browser:
        for _ in range(bench.choose(1, 5) + 1):
            for what, way in ways.items():
                with bench.directory() as place:
                    times[what].append(way(place, browser))
    for what in (AT_ONCE, AT_END):
        report.add(what, 0, OWN, times[what][1:])
        report.add(what, 0, BY_HAND, times[BY_HAND][1:])
    for what, seconds in ((ANSWERED, answered), (SAYS, says), (LIVE, live)):
        report.add(what, 0, OWN, seconds[1:])
    report.target("command to JupyterLab rendered: of by hand", report.ratio(AT_ONCE, 0, BY_HAND), 0.5)
    report.target("command to a page that says what is being done", report.median(SAYS, 0), 0.3, "s")


def _up(bench: Bench, place: Path, browser: Browser, answered: list[float], says: list[float]) -> float:
    """The page is opened at once, and hands over by itself; seconds until JupyterLab is there."""
    source = _repository(place)
    with bench.daemon() as daemon:
        page = _fresh(browser)
        began = time.perf_counter()
        with _command(daemon, source) as process:
            token = daemon.home("page") / "token"
            until(lambda: token.exists() and token.read_text(), "the token of the notebook")
            page.goto(f"{daemon.url('page')}/lab?token={token.read_text()}", wait_until="commit")
            answered.append(time.perf_counter() - began)
            page.locator(f"h1:visible, {_SHOWN}").first.wait_for()
            says.append(time.perf_counter() - began)
            seconds = _rendered(page, began)
            assert process.wait() == 0
        return seconds


def _up_then_open(bench: Bench, place: Path, browser: Browser, live: list[float]) -> float:
    """The page is opened when the command has ended, as `kaosctl up --open` does."""
    source = _repository(place)
    with bench.daemon() as daemon:
        page = _fresh(browser)
        began = time.perf_counter()
        with _command(daemon, source) as process:
            assert process.wait() == 0
        live.append(time.perf_counter() - began)
        page.goto(f"{daemon.url('page')}/lab?token={daemon.token('page')}", wait_until="commit")
        return _rendered(page, began)


def _by_hand(place: Path, browser: Browser) -> float:
    """The page is opened when the server answers, as `jupyter lab` does by itself."""
    source = _repository(place) / "model"
    page = _fresh(browser)
    began = time.perf_counter()
    environment(place / "e", ["jupyterlab", "-r", str(source / "requirements.txt")])
    with jupyter_lab(place / "e", source) as url:
        page.goto(url.format(""), wait_until="commit")
        return _rendered(page, began)


def _repository(place: Path) -> Path:
    return make_bundle(place / "page", "".join(f"{one}\n" for one in REQUIREMENTS))


def _command(daemon: Daemon, source: Path) -> subprocess.Popen[bytes]:
    argv = [daemon.python, "-m", "kaosd.ctl", "up", str(source), "--name", "page"]
    return subprocess.Popen(argv, env=daemon.environ, stdout=subprocess.DEVNULL)


def _fresh(browser: Browser) -> Page:
    """A tab of a browser that has nothing in its cache; the one of the round before is closed."""
    for context in browser.contexts:
        context.close()
    context = browser.new_context(viewport={"width": 1100, "height": 720})
    context.set_default_timeout(PATIENCE)
    return context.new_page()


def _rendered(page: Page, began: float) -> float:
    page.locator(_SHOWN).first.wait_for()
    return time.perf_counter() - began
