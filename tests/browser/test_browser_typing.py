"""A person types in an open tab while files change: all is kept, all is shown, the kernel goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Page, Response, Route, WebSocketRoute, expect

from tests.browser.tab import PATIENCE, Tab, deploy, sources_of, write
from tests.e2e.daemon import Daemon, until

# Excludes every jupyter-collaboration that is new enough: documents are not shared then.
ALONE = "pycrdt<0.10\n"
SHARED = ""
# Replace the server: with the same jupyter-collaboration, and with one that shares documents in another way.
SAME = "jupyterlab-pygments<0.3\n"
OTHER = "jupyterlab<4.6\n"

# A file of JupyterLab itself that a page has loaded; its name holds its digest.
LOADED = (
    "performance.getEntriesByType('resource').map((one) => one.name).find((name) => /static.lab.jlab_core/.test(name))"
)

Strike = Callable[[Daemon, str, Path], None]


def save(daemon: Daemon, name: str, source: Path) -> None:
    """Save the document again and again; the last cell counts."""
    for number in range(1, 4):
        write(source, "one = 1 #", f"two = {number}")
        daemon.live(name)


def roll_back(daemon: Daemon, name: str, source: Path) -> None:
    """Save the document, and go back to the version before."""
    write(source, "one = 1 #", "two = 7")
    daemon.live(name)
    first = daemon.history(name)[-1]["number"]
    daemon.ctl("rollback", name, str(first))
    until(lambda: daemon.history(name)[0]["cause"] == ["[rollback]"], "the rollback to begin")
    until(lambda: daemon.history(name)[0]["outcome"] == "live", "the rollback")


def type_during(tab: Tab, work: Future[None]) -> str:
    """Type until *work* is done, and a little more; what was typed."""
    typed, number = "", 0
    while not work.done():
        number += 1
        typed += tab.type(f" {number}")
    work.result()
    return typed + tab.type(" and the end")


def type_until_shown(tab: Tab, text: str) -> str:
    """Type without a pause until a text is on the page; what was typed."""
    typed = list[str]()

    def shown() -> bool:
        typed.append(tab.type(f" {len(typed)}"))
        return tab.page.get_by_text(text).is_visible()

    until(shown, f"the page to show {text!r}")
    return "".join(typed)


@pytest.fixture(scope="module", params=[SHARED, ALONE], ids=["shared", "alone"])
def requirements(request: pytest.FixtureRequest) -> str:
    """What decides whether documents are shared."""
    found: str = request.param
    return found


@pytest.mark.parametrize(("strike", "two"), [(save, "two = 3"), (roll_back, "two = 0")], ids=["sync", "rollback"])
def test_what_is_typed_while_files_change_is_kept(
    daemon: Daemon, page: Page, bundle: Path, meanwhile: ThreadPoolExecutor, requirements: str, strike: Strike, two: str
) -> None:
    name = f"{strike.__name__.replace('_', '-')}-{'alone' if requirements else 'shared'}"
    deploy(daemon, name, bundle, requirements, "one = 1 #", "two = 0")
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    tab.at_end_of(0)
    typed = type_during(tab, meanwhile.submit(strike, daemon, name, bundle))
    tab.shows(f"one = 1 #{typed}", two)
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)
    page.keyboard.press("Control+s")
    tab.saved("n.ipynb", f"one = 1 #{typed}", two)


@pytest.mark.parametrize(
    ("before", "after"), [(SHARED, SAME), (SHARED, OTHER), (ALONE, ALONE + SAME)], ids=["shared", "other", "alone"]
)
def test_what_is_typed_while_the_server_is_replaced_is_kept(
    daemon: Daemon, page: Page, bundle: Path, meanwhile: ThreadPoolExecutor, before: str, after: str
) -> None:
    name = f"swap-{['shared', 'other', 'alone'][[SAME, OTHER, ALONE + SAME].index(after)]}"
    deploy(daemon, name, bundle, before, "one = 1 #", "two = 0")
    first = daemon.host_pid(name)
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    page.evaluate("window.loaded = 'first'")
    tab.remember("runs in the new environment now")
    tab.at_end_of(0)

    def replace() -> None:
        (bundle / "model" / "requirements.txt").write_text(after)
        write(bundle, "one = 1 #", "two = 2")
        daemon.live(name)

    chunk = page.evaluate(LOADED)
    typed = type_during(tab, meanwhile.submit(replace))
    if after == OTHER:  # the page of the old server cannot go on with the new one: it waits for a pause, and loads
        typed += type_until_shown(tab, "loads it as soon as you pause")
        typed += tab.type(" after the swap")
        page.wait_for_function("!window.loaded", timeout=PATIENCE)
    else:
        tab.has_shown("runs in the new environment now")
        typed += tab.type(" after the swap")
    assert daemon.host_pid(name) != first
    assert page.request.get(chunk).ok  # what a page of the old server has still to load
    tab.shows(f"one = 1 #{typed}", "two = 2")
    page.keyboard.press("Control+s")
    tab.saved("n.ipynb", f"one = 1 #{typed}", "two = 2")
    tab.at_end_of(1)
    tab.type("; print(two * 21)")
    tab.run(1, "42")
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)


def test_what_a_server_had_not_taken_of_a_page_is_kept_by_the_next(
    daemon: Daemon, page: Page, bundle: Path, meanwhile: ThreadPoolExecutor
) -> None:
    connections = list[WebSocketRoute]()
    taken = True

    def between(client: WebSocketRoute) -> None:
        server = client.connect_to_server()
        connections.append(client)
        client.on_message(lambda message: server.send(message) if taken or client is not connections[0] else None)

    page.route_web_socket("**/api/collaboration/room/json:notebook:*", between)
    name = "stalled"
    deploy(daemon, name, bundle, SHARED, "one = 1 #", "two = 0")
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    page.evaluate("window.loaded = 'first'")
    tab.at_end_of(0)
    tab.type(" taken")
    page.evaluate("0")  # answered after what the page has sent before
    taken = False
    tab.type(" not taken")
    tab.saved("n.ipynb", "one = 1 # taken", "two = 0")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)  # as far as the server knows
    (bundle / "model" / "requirements.txt").write_text(OTHER)
    write(bundle, "one = 1 #", "two = 2")
    replaced = meanwhile.submit(daemon.live, name)
    page.wait_for_function("!window.loaded", timeout=PATIENCE)
    replaced.result()
    tab.shows("one = 1 # taken not taken", "two = 2")
    tab.saved("n.ipynb", "one = 1 # taken not taken", "two = 2")
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)


def test_a_change_waits_while_a_tab_that_must_make_it_sleeps(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "asleep", bundle, ALONE, "one = 1 #", "two = 0")
    tab = Tab(page, daemon, "asleep").open("n.ipynb", 2)
    tab.at_end_of(0)
    tab.type(" typed")
    asleep = page.context.new_cdp_session(page)
    asleep.send("Debugger.enable")
    asleep.send("Debugger.pause")  # at the next thing that it does, as a frozen tab
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")  # first: the next save is held as soon as it is seen
    write(bundle, "one = 1 #", "two = 2")
    shown = until(lambda: (one := daemon.notebook("asleep"))["state"] == "held" and one, "the change to be held")
    assert "n.ipynb" in shown["reason"]
    work = daemon.home("asleep") / "work"
    assert (work / "train.py").read_text() == "ANSWER = 2\n"
    assert sources_of(work / "n.ipynb")[1] == "two = 0"
    asleep.send("Debugger.disable")
    tab.shows("one = 1 # typed", "two = 2")
    daemon.live("asleep")
    tab.saved("n.ipynb", "one = 1 # typed", "two = 2")
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)


@pytest.mark.parametrize("saved_first", [False, True], ids=["unsaved", "one saved before"])
def test_two_tabs_that_do_not_share_a_document_each_get_what_the_other_holds(
    daemon: Daemon, page: Page, bundle: Path, saved_first: bool
) -> None:
    name = f"twice-{saved_first}".lower()
    deploy(daemon, name, bundle, ALONE, "one = 1 #", "two = 0", "three = 3 #")
    other = Tab(page.context.new_page(), daemon, name).open("n.ipynb", 3)
    first = Tab(page, daemon, name).open("n.ipynb", 3)
    page.bring_to_front()
    first.at_end_of(0)
    first.type(" first")
    if saved_first:  # over what the other tab may have saved, since its kernel has written into the document
        first.save()
        first.saved("n.ipynb", "one = 1 # first", "two = 0", "three = 3 #")
    other.page.bring_to_front()
    other.at_end_of(2)
    other.type(" other")
    write(bundle, "one = 1 #", "two = 2", "three = 3 #")
    everything = ("one = 1 # first", "two = 2", "three = 3 # other")
    for tab in (first, other):
        tab.shows(*everything)
    daemon.live(name)
    first.saved("n.ipynb", *everything)
    for tab in (first, other):
        tab.page.bring_to_front()
        tab.save()
        tab.saved("n.ipynb", *everything)
        expect(tab.page.locator("dialog.jp-Dialog")).to_have_count(0)


def test_a_tab_that_saves_after_another_one_is_asked_only_about_what_both_changed(
    daemon: Daemon, page: Page, bundle: Path
) -> None:
    name = "over"
    deploy(daemon, name, bundle, ALONE, "one = 1 #", "two = 2", "three = 3 #")
    other = Tab(page.context.new_page(), daemon, name).open("n.ipynb", 3)
    first = Tab(page, daemon, name).open("n.ipynb", 3)
    for tab in (other, first):  # what their kernel wrote into the document
        tab.page.bring_to_front()
        tab.save()
    first.at_end_of(0)
    first.type(" first")
    other.page.bring_to_front()
    other.at_end_of(2)
    other.type(" other")
    other.save()
    first.page.bring_to_front()
    first.save()
    first.shows("one = 1 # first", "two = 2", "three = 3 # other")
    first.saved("n.ipynb", "one = 1 # first", "two = 2", "three = 3 # other")
    other.page.bring_to_front()
    other.save()
    other.shows("one = 1 # first", "two = 2", "three = 3 # other")
    for tab, text in ((first, "1"), (other, "5")):
        expect(tab.page.locator("dialog.jp-Dialog")).to_have_count(0)
        tab.page.bring_to_front()
        tab.at_end_of(1)
        tab.type(text)
        tab.page.keyboard.press("Control+s")
        first.saved("n.ipynb", "one = 1 # first", "two = 21", "three = 3 # other")
    expect(other.page.locator("dialog.jp-Dialog")).to_contain_text("has changed on disk")
    other.shows("one = 1 # first", "two = 25", "three = 3 # other")


def test_what_is_typed_while_a_document_is_being_saved_is_saved_too(daemon: Daemon, page: Page, bundle: Path) -> None:
    deploy(daemon, "meantime", bundle, ALONE, "one = 1 #")
    tab = Tab(page, daemon, "meantime").open("n.ipynb", 1)
    tab.save()
    tab.at_end_of(0)
    tab.type(" typed")
    saves = list[Route]()
    contents = "**/api/contents/n.ipynb*"
    page.route(contents, lambda route: saves.append(route) if route.request.method == "PUT" else route.continue_())
    with page.expect_request(lambda request: request.method == "PUT" and "/api/contents/" in request.url):
        page.keyboard.press("Control+s")
    tab.type(" meanwhile")
    saves[0].continue_()
    page.unroute(contents)
    tab.saved("n.ipynb", "one = 1 # typed meanwhile")


def test_a_change_that_comes_in_while_a_document_is_being_saved_is_not_saved_over(
    daemon: Daemon, page: Page, bundle: Path
) -> None:
    """JupyterLab has taken the text to be saved, and looks at the file before it writes it."""
    told = list[str]()

    def between(client: WebSocketRoute) -> None:
        def tell(message: str | bytes) -> None:
            told.append(str(message))
            client.send(message)

        client.connect_to_server().on_message(tell)

    page.route_web_socket("**/kaosd/desk", between)
    deploy(daemon, "over-save", bundle, ALONE, "one = 1 #", "two = 0")
    tab = Tab(page, daemon, "over-save").open("n.ipynb", 2)
    tab.save()
    tab.at_end_of(0)
    tab.type(" typed")
    looks = list[Route]()
    contents = "**/api/contents/n.ipynb*"
    page.route(contents, lambda route: route.continue_() if looks else looks.append(route))
    with page.expect_request(lambda request: "/api/contents/n.ipynb" in request.url) as look:
        page.keyboard.press("Control+s")
    assert look.value.method == "GET"
    write(bundle, "one = 1 #", "two = 2")
    until(lambda: page.wait_for_timeout(50) or '"apply"' in "".join(told), "the page to be told of the change")
    page.evaluate("new Promise((done) => setTimeout(done))")  # it has heard of it
    assert tab.cell(1).inner_text() == "two = 0"
    written = list[Response]()

    def note(answer: Response) -> None:
        if answer.request.method == "PUT" and "/api/contents/n.ipynb" in answer.url:
            written.append(answer)

    page.on("response", note)
    looks[0].continue_()
    until(lambda: page.wait_for_timeout(50) or len(written) == 2, "what was typed and the change to be saved")
    page.unroute(contents)
    assert sources_of(daemon.home("over-save") / "work" / "n.ipynb") == ["one = 1 # typed", "two = 2"]
    tab.shows("one = 1 # typed", "two = 2")
    until(lambda: page.wait_for_timeout(50) or daemon.notebook("over-save")["state"] == "live", "all to be there")
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)


def kill_host(daemon: Daemon, name: str) -> None:
    """End the host with kill -9; the daemon starts another one."""
    os.kill(daemon.host_pid(name), signal.SIGKILL)


def kill_daemon(daemon: Daemon, name: str) -> None:
    """End the daemon with kill -9; its hosts go on, and nothing gets through to them."""
    daemon.kill()


@pytest.mark.parametrize("strike", [kill_host, kill_daemon])
def test_what_is_typed_into_a_document_that_has_just_changed_is_kept_over_a_kill(
    daemon: Daemon, page: Page, bundle: Path, requirements: str, strike: Callable[[Daemon, str], None]
) -> None:
    name = f"{strike.__name__.replace('_', '-')}-{'alone' if requirements else 'shared'}"
    deploy(daemon, name, bundle, requirements, "one = 1 #", "two = 0")
    tab = Tab(page, daemon, name).open("n.ipynb", 2)
    write(bundle, "one = 1 #", "two = 2")
    tab.shows("one = 1 #", "two = 2")
    tab.saved("n.ipynb", "one = 1 #", "two = 2")  # or a page alone could not tell the change from an edit of its own
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    tab.at_end_of(0)
    typed = tab.type(" before")
    strike(daemon, name)
    typed += tab.type(" and after")
    write(bundle, "one = 1 #", "two = 3")
    if strike is kill_daemon:
        daemon.start()
    daemon.live(name)
    expected = (f"one = 1 #{typed}", "two = 3")
    tab.shows(*expected)
    tab.saved("n.ipynb", *expected)
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)


def test_every_key_counts_while_the_server_is_away(daemon: Daemon, page: Page, bundle: Path, requirements: str) -> None:
    name = f"away-{'alone' if requirements else 'shared'}"
    deploy(daemon, name, bundle, requirements, "one = 1 #")
    tab = Tab(page, daemon, name).open("n.ipynb", 1)
    tab.execute(0)  # its kernel has started
    tab.at_end_of(0)
    page.context.set_offline(True)
    typed = tab.type(" offline")
    notice = page.get_by_text("JupyterLab's server does not answer; it is tried again.")
    expect(notice).to_be_visible()
    typed += tab.type(" and still")
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)
    page.context.set_offline(False)
    typed += tab.type(" and back")
    tab.saved("n.ipynb", f"one = 1 #{typed}")
    tab.shows(f"one = 1 #{typed}")
    expect(page.locator("dialog.jp-Dialog")).to_have_count(0)
    expect(notice).to_have_count(0)
