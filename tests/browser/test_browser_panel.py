"""What a tab shows of kaosd: the item in the status bar, the panel, notices, the title; and a tab without them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.browser.tab import KEY, Tab, deploy, write
from tests.browser.test_browser_pages import MISSING, Gate
from tests.browser.test_browser_typing import ALONE, SAME, SHARED
from tests.e2e.daemon import Daemon, until

VERSION = "from importlib.metadata import version; print('gated', version('gated'))"
# Takes interfaces away from the extension before it sees them: {module: [names], or null for the whole module}.
BREAK = """broken => {
    const gone = (name) => Object.fromEntries((broken[name] ?? []).map((one) => [one, undefined]));
    const lacking = (name, copy) => ({ ...copy, get: async () => {
        const factory = await copy.get();
        return () => ({ ...factory(), ...gone(name) });
    } });
    const each = (object, change) => Object.fromEntries(Object.entries(object).map(change));
    const without = (modules) => each(
        Object.fromEntries(Object.entries(modules).filter(([name]) => broken[name] !== null)),
        ([name, copies]) => [name, each(copies, ([version, copy]) => [version, lacking(name, copy)])],
    );
    window._JUPYTERLAB = new Proxy({}, { set(all, name, container) {
        if (name === "kaosd-desk") {
            const { init } = container;
            container.init = (modules) => init(without(modules));
        }
        all[name] = container;
        return true;
    } });
}"""


def item(page: Page) -> Locator:
    """The item in the status bar."""
    return page.locator("#kaosd-item")


def section(page: Page, title: str) -> Locator:
    """A section of the panel."""
    return page.locator("#kaosd-panel details").filter(has=page.get_by_role("heading", name=title, exact=True))


def notice(page: Page, text: str) -> Locator:
    """A notice that is shown."""
    return page.locator(".Toastify__toast").filter(has_text=text)


@pytest.mark.parametrize("requirements", [SHARED, ALONE], ids=["shared", "alone"])
def test_the_item_opens_the_panel_by_keyboard_and_edits_can_be_seen_there(
    daemon: Daemon, page: Page, bundle: Path, requirements: str
) -> None:
    name = f"panel-{'alone' if requirements else 'shared'}"
    deploy(daemon, name, bundle, requirements, "number = 6", "<b>print(number)</b>")
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    version = daemon.notebook(name)["source"]["live"].rpartition(":")[2]
    expect(item(page)).to_contain_text(version)
    expect(page).to_have_title(re.compile(rf"^{name} - "))
    tab.at_end_of(1)
    tab.type(" # typed")
    tab.save()
    until(lambda: (daemon.notebook(name)["edits"] or {}).get("edited") == 1, "the edit to be counted")
    expect(item(page)).to_contain_text("edited here: 1")
    item(page).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#kaosd-panel")).to_be_visible()
    expect(page.locator("#kaosd-panel h2")).to_have_text(name)
    history = section(page, "History")
    history.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(history).to_contain_text("live now")
    edits = section(page, "Edited here")
    edits.get_by_role("button", name="Diff of n.ipynb").focus()
    page.keyboard.press("Enter")
    expect(edits).to_contain_text("+<b>print(number)</b> # typed")
    edits.get_by_role("button", name="Pull n.ipynb").focus()
    page.keyboard.press("Enter")
    until(lambda: "# typed" in (bundle / "model" / "n.ipynb").read_text(), "the edit to be in the source")
    expect(edits).to_be_hidden()
    expect(section(page, "Resources")).to_contain_text("1 kernel")
    found = Axe().run(page, context="#kaosd-panel")
    assert found.violations_count == 0, found.generate_report()


def test_a_build_is_followed_and_a_failed_one_is_a_notice_until_it_is_fixed(
    daemon: Daemon, page: Page, bundle: Path
) -> None:
    deploy(daemon, "built", bundle, "# an environment that no other test has built\n", "number = 6")
    Tab(page, daemon, "built").open("n.ipynb", 1)
    item(page).click()
    build = section(page, "Build")
    expect(build).to_contain_text("Built in")
    gate = Gate(bundle, "panel")
    expect(item(page)).to_contain_text("building")
    expect(build.get_by_role("progressbar")).to_be_visible()
    expect(build.get_by_label("Last log lines of the build")).to_contain_text("step 2/4")
    gate.open()
    expect(item(page)).to_contain_text("live")
    requirements = bundle / "model" / "requirements.txt"
    fine = requirements.read_text()
    requirements.write_text(fine + MISSING)
    failed = notice(page, "The build failed")
    expect(failed).to_contain_text("model/requirements.txt:2")
    expect(item(page)).to_have_attribute("data-tone", "bad")
    failed.get_by_role("button", name="Show", exact=True).click()
    expect(build.locator("summary")).to_be_focused()
    expect(build).to_contain_text("no-such-package-of-kaosd")
    failed.get_by_title("Hide notification").click()
    expect(failed).to_have_count(0)
    page.reload()
    expect(item(page)).to_have_attribute("data-tone", "bad")
    expect(page.locator("#kaosd-panel")).to_be_visible()  # as before
    expect(failed).to_have_count(0)  # dismissed, and its cause is the same
    requirements.write_text(fine + "another-" + MISSING)
    expect(failed).to_contain_text("another-no-such-package")  # another cause
    requirements.write_text(fine)
    expect(failed).to_have_count(0)
    expect(item(page)).to_contain_text("live")


def test_a_new_environment_is_a_notice_until_the_kernel_restarts(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "updated", bundle, "", "number = 6", VERSION)
    tab = Tab(page, daemon, "updated").open("n.ipynb", 2)
    tab.execute(0)
    Gate(bundle, "updated").open()
    updated = notice(page, "The environment was updated")
    expect(updated).to_contain_text("+gated")
    updated.get_by_role("button", name="Restart kernel").click()
    expect(updated).to_have_count(0)
    tab.run(1, "gated 1")
    expect(item(page)).to_have_attribute("data-tone", "ok")


def test_a_restart_that_stops_a_busy_kernel_is_announced_and_told_afterwards(
    daemon: Daemon, page: Page, bundle: Path
) -> None:
    deploy(daemon, "coming", bundle, "", "1", "import time; time.sleep(3600)")
    tab = Tab(page, daemon, "coming").open("n.ipynb", 2)
    tab.execute(0)  # its kernel has started
    tab.at_end_of(1)
    page.keyboard.press("Control+Enter")
    until(lambda: daemon.notebook("coming")["host"]["busy"], "the kernel to be busy")
    (bundle / "model" / "requirements.txt").write_text(SAME)
    coming = notice(page, "stops a busy kernel").or_(notice(page, "would stop a busy kernel"))
    expect(coming).to_contain_text("left.")
    expect(item(page)).to_have_attribute("data-tone", "warn")
    coming.get_by_role("button", name="Wait until idle").click()
    expect(coming).to_contain_text("waits until no kernel is busy")
    assert daemon.notebook("coming")["swap"]["until"] is None
    coming.get_by_role("button", name="Now", exact=True).click()
    expect(notice(page, "The variables of a kernel were lost")).to_be_visible()
    expect(coming).to_have_count(0)
    expect(item(page)).to_contain_text("live")


def test_a_package_installed_by_hand_is_added_to_the_environment_file(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "by-hand", bundle, "", "%pip install -q tabulate==0.9.0", "print(6 * 7)")
    tab = Tab(page, daemon, "by-hand").open("n.ipynb", 2)
    tab.execute(0)
    installed = notice(page, "tabulate is installed by hand")
    installed.get_by_role("button", name="Add to requirements.txt").click()
    file = bundle / "model" / "requirements.txt"
    until(lambda: "tabulate==0.9.0" in file.read_text(), "the requirement to be written")
    expect(installed).to_have_count(0)


def test_a_change_that_met_an_edit_shows_both(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "both", bundle, "", "one = 1 #", "two = 0")
    tab = Tab(page, daemon, "both").open("n.ipynb", 2)
    tab.at_end_of(0)
    tab.type(" typed")
    tab.save()
    write(bundle, "one = 1 #", "two = 2")
    tab.shows("one = 1 # typed", "two = 2")
    notice(page, "merged with your edit of n.ipynb").get_by_role("button", name="Show both").click()
    copies = section(page, "Copies kept")
    expect(copies).to_contain_text("-two = 0")
    expect(copies).to_contain_text("+two = 2")
    expect(copies.get_by_role("button", name="What is different now from n.ipynb")).to_be_focused()


def test_the_oldest_jupyterlab_merges_too_and_has_the_panel(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "oldest", bundle, "jupyterlab==3.6.*\n", "one = 1 #", "two = 0")
    page.goto(f"{daemon.url('oldest')}/lab/tree/n.ipynb?token={daemon.token('oldest')}")
    editors = page.locator(".jp-CodeCell .CodeMirror-code")
    expect(editors).to_have_count(2)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible()
    editors.nth(0).click()
    page.keyboard.press("Control+End")
    page.keyboard.type(" typed", delay=KEY)
    write(bundle, "one = 1 #", "two = 2")
    expect(editors).to_have_text(["one = 1 # typed", "two = 2"], use_inner_text=True)
    Tab(page, daemon, "oldest").saved("n.ipynb", "one = 1 # typed", "two = 2")
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    item(page).click()
    expect(page.locator("#kaosd-panel h2")).to_have_text("oldest")


@pytest.mark.parametrize(
    ("broken", "there", "absent"),
    [
        ({"@jupyterlab/statusbar": ["IStatusBar"]}, ["panel", "notice"], ["item"]),
        ({"@jupyterlab/apputils": ["Notification"]}, ["panel", "item"], ["notice"]),
        ({"@jupyterlab/ui-components": None}, ["panel", "item", "notice"], []),
        ({"@lumino/widgets": None}, ["notice"], ["panel", "item"]),
    ],
    ids=["no status bar", "no notices", "no icons", "no widgets"],
)
def test_a_part_whose_interface_is_another_one_is_absent_and_the_rest_works(
    daemon: Daemon, page: Page, bundle: Path, broken: dict[str, list[str] | None], there: list[str], absent: list[str]
) -> None:
    parts = {
        "item": item(page),
        "panel": page.locator("#kaosd-panel"),
        "notice": notice(page, "The build failed"),
    }
    name = "lacks-" + "-".join(there)
    deploy(daemon, name, bundle, ALONE, "one = 1 #", "two = 0")
    page.add_init_script(f"({BREAK})({broken!r})".replace("None", "null"))
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    expect(page).to_have_title(re.compile(rf"^{name} - "))
    tab.at_end_of(0)
    tab.type(" typed")
    write(bundle, "one = 1 #", "two = 2")
    tab.shows("one = 1 # typed", "two = 2")
    tab.saved("n.ipynb", "one = 1 # typed", "two = 2")
    (bundle / "model" / "requirements.txt").write_text(ALONE + MISSING)
    until(lambda: daemon.notebook(name)["state"] == "failed", "the build to fail")
    for part in there:
        expect(parts[part]).to_be_attached()
    for part in absent:
        expect(parts[part]).to_have_count(0)
