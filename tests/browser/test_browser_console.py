"""The console in a real browser: signing in, the live list, acting on a notebook, by keyboard and on a phone."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.tab import deploy, write
from tests.browser.test_browser_pages import Gate, accessible, start_building
from tests.e2e.daemon import Daemon, until

HOSTILE = "<img src=x onerror=alert(1)>.py"


def sign_in(page: Page, daemon: Daemon) -> None:
    """Paste the daemon's token into the form."""
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    page.get_by_label("Token or address").fill((daemon.state / "token").read_text())
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Notebooks")).to_be_visible()
    assert "token" not in page.url


def test_a_pasted_token_signs_in_and_a_wrong_one_does_not(daemon: Daemon, page: Page) -> None:
    page.goto(f"http://127.0.0.1:{daemon.port}/")
    expect(page.get_by_label("Token or address")).to_be_focused()
    accessible(page)
    page.get_by_label("Token or address").fill("mistaken")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("This token does not open this address.")
    accessible(page)
    sign_in(page, daemon)
    page.reload()
    expect(page.get_by_role("heading", name="Notebooks")).to_be_visible()


def test_the_list_is_live_and_works_by_keyboard(daemon: Daemon, page: Page, bundle: Path) -> None:
    write(bundle, "number = 6")
    sign_in(page, daemon)
    gate = Gate(bundle, "listed")
    start_building(daemon, "listed", bundle)
    row = page.get_by_role("listitem").filter(has=page.get_by_role("button", name="listed", exact=True))
    expect(row).to_contain_text("building: step")
    expect(row.get_by_role("progressbar")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        accessible(page)
    gate.open()
    expect(row).to_contain_text("live for")
    expect(row).to_contain_text(daemon.live("listed")["source"]["live"])
    page.get_by_role("button", name="listed", exact=True).focus()
    page.keyboard.press("Enter")
    sheet = page.get_by_role("dialog", name="listed")
    expect(sheet).to_be_visible()
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Logs")).to_be_focused()
    expect(page.get_by_label("Log lines")).to_contain_text("step 2/4")
    page.get_by_label("Find in the log").fill("step 4/4")
    expect(page.get_by_label("Log lines")).not_to_contain_text("step 2/4")
    expect(page.locator("mark").first).to_have_text("step 4/4")
    page.keyboard.press("Escape")  # empties the field
    expect(page.get_by_label("Log lines")).to_contain_text("step 2/4")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.get_by_role("button", name="listed", exact=True)).to_be_focused()
    with page.context.expect_page() as opened:
        page.get_by_label("Open listed").focus()
        page.keyboard.press("Enter")
    expect(opened.value.locator("#jp-top-panel")).to_be_visible()
    assert "token" not in opened.value.url


def test_actions_are_asked_about_and_seen_without_reloading(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "acted", bundle, "", "number = 6")
    first = daemon.live("acted")["source"]["live"]
    (bundle / "model" / HOSTILE).write_text("x")
    until(lambda: daemon.live("acted")["source"]["live"] != first, "the second version")
    page.on("dialog", lambda dialog: dialog.dismiss())
    sign_in(page, daemon)
    page.get_by_label("Details of acted").click()
    sheet = page.get_by_role("dialog", name="acted")
    sheet.get_by_role("button", name="Pause").click()
    expect(sheet.get_by_role("button", name="Resume")).to_be_visible()
    sheet.get_by_role("button", name="Resume").click()
    expect(sheet.get_by_role("button", name="Pause")).to_be_visible()
    sheet.get_by_role("tab", name="History").click()
    expect(sheet).to_contain_text(HOSTILE)
    assert page.locator("img").count() == 0
    accessible(page)
    sheet.get_by_role("listitem").last.get_by_role("button", name="Logs").click()
    expect(sheet.get_by_label("Log lines")).to_contain_text("step 1/4")  # of the build of the first deployment
    sheet.get_by_role("button", name="Show the newest log").click()
    expect(sheet.get_by_label("Log lines")).not_to_contain_text("step 1/4")
    sheet.get_by_role("tab", name="History").click()
    sheet.get_by_role("button", name="Roll back to 1").click()
    question = page.get_by_role("dialog").filter(has_text="serves the version of deployment 1")
    expect(question).to_be_visible()
    question.get_by_role("button", name="Keep as it is").click()
    assert daemon.live("acted")["source"]["live"] != first
    sheet.get_by_role("button", name="Roll back to 1").click()
    question.get_by_role("button", name="Roll back to 1").click()
    until(lambda: daemon.notebook("acted")["source"]["live"] == first or None, "the first version again")
    expect(sheet.locator("header")).to_contain_text("held")


def test_edits_are_shown_pulled_reset_and_restored(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "edited", bundle, "", "number = 6")
    on_disk, hosted = bundle / "model" / "train.py", daemon.home("edited") / "work" / "train.py"
    hosted.write_text("edited = 1\n")
    sign_in(page, daemon)
    page.get_by_label("Details of edited").click()
    sheet = page.get_by_role("dialog", name="edited")
    sheet.get_by_role("tab", name="Edits").click()
    row = sheet.get_by_role("listitem").filter(has_text="train.py")
    row.get_by_role("button", name="Show the difference").click()
    expect(row.get_by_label("Difference")).to_contain_text("+edited = 1")
    accessible(page)

    def agree(button: str) -> None:
        sheet.get_by_role("button", name=button, exact=True).first.click()
        page.locator("#question").get_by_role("button", name=button, exact=True).click()

    agree("Pull into the source")
    until(lambda: on_disk.read_text() == "edited = 1\n", "the edit on disk")
    expect(sheet).to_contain_text("No file was edited in the notebook")
    hosted.write_text("edited = 2\n")
    agree("Reset")
    until(lambda: hosted.read_text() == "edited = 1\n", "the deployed version")
    sheet.get_by_role("tab", name="Copies").click()
    agree("Restore")
    until(lambda: hosted.read_text() == "edited = 2\n", "the copy")
    assert on_disk.read_text() == "edited = 1\n"


def test_the_console_fits_a_phone(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "a-notebook-whose-name-is-as-long-as-can-be-x", bundle, "", "number = 6")
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, daemon)
    page.get_by_label("Details of a-notebook").wait_for()
    for tab in ("Overview", "Logs", "History", "Edits", "Copies", "Packages"):
        if not page.get_by_role("dialog").is_visible():
            page.get_by_label("Details of a-notebook").click()
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.getElementById('inside').scrollWidth <= innerWidth")
    accessible(page)
