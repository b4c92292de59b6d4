"""The front's own pages in a real browser: the first build, failures, the index, and what they hide."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.tab import Tab, deploy, write
from tests.e2e.daemon import Daemon, until

MISSING = "no-such-package-of-kaosd==1.2.3\n"
# A requirement that takes until the test lets it go on.
SETUP = """
import pathlib, time
print("waiting for the gate", flush=True)
while not pathlib.Path({gate!r}).exists():
    time.sleep(0.05)
from setuptools import setup
setup(name="gated", version="1", py_modules=[])
"""


class Gate:
    """A requirement whose build ends when `open` is called."""

    def __init__(self, bundle: Path, name: str) -> None:
        self.file = bundle.parent / f"open-{name}"
        package = bundle.parent / f"gated-{name}"
        package.mkdir()
        (package / "setup.py").write_text(SETUP.format(gate=str(self.file)))
        (bundle / "model" / "requirements.txt").write_text(f"gated @ file://{package}\n")

    def open(self) -> None:
        """Let the build go on."""
        self.file.touch()


def accessible(page: Page) -> None:
    """No finding of axe (WCAG rules and best practices) on the page as it is."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def start_building(daemon: Daemon, name: str, bundle: Path) -> None:
    """Ask for a notebook and return when its build runs."""
    daemon.deploy_detached(name, bundle)
    until(lambda: (daemon.notebook(name)["build"] or {}).get("state") == "JOB_RUNNING", "the build to run")


def test_the_first_build_is_shown_and_hands_over_to_jupyterlab(daemon: Daemon, page: Page, bundle: Path) -> None:
    write(bundle, "number = 6")
    gate = Gate(bundle, "first")
    start_building(daemon, "first", bundle)
    page.goto(f"{daemon.url('first')}/lab/tree/n.ipynb?token={daemon.token('first')}")
    expect(page.get_by_role("heading", name="Building the environment")).to_be_visible()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_label("Last log lines")).to_contain_text("step 2/4 resolve the requirements")  # came later
    expect(page.locator("li[aria-current=step]")).to_have_text("Build")
    accessible(page)
    page.emulate_media(color_scheme="dark")
    accessible(page)
    before = page.locator("time[data-elapsed]").inner_text()
    expect(page.locator("time[data-elapsed]")).not_to_have_text(before)
    gate.open()
    tab = Tab(page, daemon, "first")
    expect(tab.cells).to_have_count(1)
    assert "token" not in page.url


def test_an_edit_on_disk_shows_in_the_tab_and_the_kernel_keeps_its_variables(
    daemon: Daemon, page: Page, bundle: Path
) -> None:
    deploy(daemon, "edit", bundle, "", "number = 6", "print(number)")
    tab = Tab(page, daemon, "edit").open("n.ipynb", 2)
    tab.execute(0)
    tab.run(1, "6")
    write(bundle, "number = 6", "print(number * 7)")
    tab.shows("number = 6", "print(number * 7)")
    tab.run(1, "42")


def test_a_failed_build_names_the_line_and_a_save_mends_it(daemon: Daemon, page: Page, bundle: Path) -> None:
    requirements = bundle / "model" / "requirements.txt"
    write(bundle, "number = 6")
    requirements.write_text("# of the model\n" + MISSING)
    daemon.deploy_detached("mend", bundle)
    until(lambda: daemon.notebook("mend")["state"] == "failed", "the build to fail")
    page.goto(f"{daemon.url('mend')}/lab/tree/n.ipynb?token={daemon.token('mend')}")
    expect(page.get_by_role("heading", name="The build failed")).to_be_visible()
    expect(page.get_by_label("Reason")).to_contain_text("model/requirements.txt:2")
    expect(page.get_by_label("Reason")).to_contain_text("no-such-package-of-kaosd")
    accessible(page)
    page.emulate_media(color_scheme="dark")
    accessible(page)
    requirements.write_text("")
    expect(Tab(page, daemon, "mend").cells).to_have_count(1)


@pytest.mark.parametrize(
    "path", ["/", "/kaosd/", "/kaosd/state", "/unnamed/", "/unnamed/lab", "/unnamed/kaosd/", "/x/"]
)
def test_without_a_token_a_page_names_nothing(daemon: Daemon, page: Page, bundle: Path, path: str) -> None:
    daemon.deploy_detached("unnamed", bundle)
    source = daemon.notebook("unnamed")["source"]["path"]
    answer = page.goto(f"http://127.0.0.1:{daemon.port}{path}")
    assert answer is not None
    assert answer.status == 401
    shown = page.content().replace("/unnamed/", "").replace("kaosctl open unnamed", "")  # as the address says
    assert "unnamed" not in shown
    assert source not in shown
    accessible(page)


def test_a_notebooks_token_opens_no_other_and_not_the_index(daemon: Daemon, browser: Browser, bundle: Path) -> None:
    for name in ("one", "two"):
        daemon.deploy_detached(name, bundle)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{daemon.url('one')}/kaosd/?token={daemon.token('one')}")
    expect(page.get_by_text("one", exact=True).first).to_be_visible()
    for path in ("/two/kaosd/", "/kaosd/", "/"):
        answer = page.goto(f"http://127.0.0.1:{daemon.port}{path}")
        assert answer is not None
        assert answer.status == 401
    context.close()
