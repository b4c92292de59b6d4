"""Makes the pictures of the README out of the real program: `python -m tests.browser.pictures [DIRECTORY]`."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.browser.tab import PATIENCE, Tab, chromium, write
from tests.browser.test_browser_pages import Gate
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until

HERE = Path(__file__).parent.parent / "pictures"
REQUIREMENTS = "numpy\npandas\n"


def main(place: Path) -> None:
    """Write building.png, index.png, panel.png, panel-dark.png and panel-phone.png into *place*."""
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kp") as work, chromium() as browser:
        daemon = Daemon(Path(tempfile.mkdtemp(prefix="kd"))).start()
        try:
            _take(daemon, browser, Path(work), place)
            take_panel(daemon, browser, Path(work), place)
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


def take_panel(daemon: Daemon, browser: Browser, work: Path, place: Path) -> None:
    """The panel of an open tab: an edit, a new environment that a kernel does not have, a notice of it."""
    name, source = "churn", make_bundle(work / "churn")
    write(source, 'threshold = 0.4\nprint("churn:", threshold)', "threshold > 0.3")
    daemon.deploy(name, source, None, "--cpu", "2", "--memory", "2Gi")
    page = _page(browser, 1280, 760)
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    tab.run(0, "churn: 0.4")
    tab.at_end_of(1)
    tab.type("  # tried 0.5")
    tab.save()
    (source / "model" / "requirements.txt").write_text("tabulate==0.9.0\n")
    notice = page.locator(".Toastify__toast", has_text="The environment was updated")
    expect(notice).to_be_visible()
    until(lambda: (daemon.notebook(name)["edits"] or {}).get("edited"), "the edit to be counted")
    expect(page.locator("#kaosd-item")).to_contain_text("edited here: 1")
    page.locator("#kaosd-item").click()
    edited = page.locator("[data-section=edits]")
    edited.get_by_role("button", name="Diff of n.ipynb").click()
    expect(edited).to_contain_text("tried 0.5")
    page.mouse.move(640, 600)
    page.screenshot(path=place / "panel.png")
    theme = f"{daemon.url(name)}/lab/api/settings/@jupyterlab/apputils-extension:themes"
    headers = {"Authorization": f"token {daemon.token(name)}"}
    page.request.put(theme, data={"raw": json.dumps({"theme": "JupyterLab Dark"})}, headers=headers)
    for width, height, picture in ((1280, 760, "panel-dark.png"), (390, 780, "panel-phone.png")):
        page = _page(browser, width, height)
        page.goto(f"{daemon.url(name)}/lab/tree/n.ipynb?token={daemon.token(name)}")
        page.get_by_title("Hide notification").first.click()
        expect(page.locator(".Toastify__toast")).to_have_count(0)
        page.locator("#kaosd-item").click()
        page.locator("[data-section=history] summary").click()
        expect(page.locator("[data-section=history]")).to_contain_text("live now")
        page.screenshot(path=place / picture)


def _page(browser: Browser, width: int, height: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(PATIENCE)
    return page


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
