"""Makes the pictures of the README out of the real program: `python -m tests.browser.pictures [DIRECTORY]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser.tab import PATIENCE, chromium
from tests.browser.test_browser_pages import Gate
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until

HERE = Path(__file__).parent.parent / "pictures"
REQUIREMENTS = "numpy\npandas\n"


def main(place: Path) -> None:
    """Write building.png and index.png into *place*."""
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kp") as work, chromium() as browser:
        daemon = Daemon(Path(tempfile.mkdtemp(prefix="kd"))).start()
        try:
            _take(daemon, browser, Path(work), place)
        finally:
            daemon.close()


def _take(daemon: Daemon, browser: Browser, work: Path, place: Path) -> None:
    earlier = make_bundle(work / "forest")
    (earlier / "model" / "requirements.txt").write_text("tabulate\n")
    daemon.deploy("notebook-forest-ada", earlier)
    failing = make_bundle(work / "survey")
    (failing / "model" / "requirements.txt").write_text("pandas\nnunpy==2.4\n")
    daemon.deploy_detached("notebook-survey-ada", failing)
    until(lambda: daemon.notebook("notebook-survey-ada")["state"] == "failed", "the build to fail")
    source = make_bundle(work / "mnist")
    gate = Gate(source, "mnist")
    with open(source / "model" / "requirements.txt", "a") as file:
        file.write(REQUIREMENTS)
    name = "notebook-mnist-ada"
    daemon.deploy_detached(name, source)
    page = _page(browser, 1100, 620)
    page.goto(f"{daemon.url(name)}/lab?token={daemon.token(name)}")
    expect(page.get_by_label("Last log lines")).to_contain_text("step 2/4")
    page.screenshot(path=place / "building.png")
    index = _page(browser, 1100, 620)
    index.goto(f"http://127.0.0.1:{daemon.port}/kaosd/?token={(daemon.state / 'token').read_text()}")
    expect(index.get_by_text("building: step")).to_be_visible()
    index.screenshot(path=place / "index.png")
    gate.open()


def _page(browser: Browser, width: int, height: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
