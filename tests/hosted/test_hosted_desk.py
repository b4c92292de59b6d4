"""The desk: a page that changes documents by itself, over a real websocket to a real JupyterLab."""

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager

import pytest

from tests.hosted.conftest import PATIENCE

pytestmark = pytest.mark.not_quick


class Page:
    """A page with one text document, that does what it is asked; see page/kaosd-desk/static/desk.js."""

    def __init__(self, socket):
        self.socket = socket
        self.said = []

    async def hear(self, what=None):
        """The next message, which is of this kind."""
        message = json.loads((await self.socket.receive(PATIENCE)).data)
        self.said.append(message)
        assert what is None or message["do"] == what, message
        return message

    async def say(self, **message):
        await self.socket.send_str(json.dumps(message))


@asynccontextmanager
async def page(client, *documents, clients=1, name=""):
    async with client.session.ws_connect(client.url("kaosd/desk")) as socket:
        found = Page(socket)
        hello = await found.hear("hello")
        assert (hello["expired"], bool(hello["lab"]), bool(hello["collaboration"])) == (False, True, True)
        await found.say(open=list(documents), page=name)
        open_now = {"path": documents[0], "type": "page", "clients": clients}
        while open_now not in (await client.call("GET", "kaosd/documents"))["documents"]:
            await asyncio.sleep(0.01)
        yield found


def apply(client, path, base, incoming):
    body = {"path": path, "base": base, "incoming": incoming}
    return asyncio.ensure_future(client.call("POST", "kaosd/documents/apply", body))


async def test_a_page_changes_what_it_has_open_and_only_what_it_was_asked_for(client):
    async with page(client, "a.py") as tab:
        answer = apply(client, "a.py", "a\n", "b\n")
        read = await tab.hear("read")
        await tab.say(id=read["id"], kind="file", text="a\nmine\n")
        first = await tab.hear("apply")
        assert (first["of"], first["operations"]) == (read["id"], [["text", 0, 1, "b"]])
        await tab.say(id=first["id"], kind="file", text="a\nmine, longer\n")  # a key was pressed meanwhile
        second = await tab.hear("apply")
        assert second["of"] == first["id"]
        await tab.say(id=second["id"], saved=True)
        assert await answer == {"applied": True, "conflict": False, "saved": True, "before": "a\nmine, longer\n"}


async def test_a_page_is_asked_whether_it_could_take_a_change(client):
    def ask(path):
        return asyncio.ensure_future(client.call("POST", "kaosd/documents/ask", {"path": path}))

    async with page(client, "a.py") as tab:
        answer = ask("a.py")
        await tab.say(id=(await tab.hear("read"))["id"], kind="file", text="mine")
        assert await answer == {"held": False}
        answer = ask("a.py")
        await tab.say(id=(await tab.hear("read"))["id"], error="it is a picture")
        assert await answer == {"held": True, "reason": "a.py: its tab cannot change it: it is a picture"}
        answer = ask("a.py")
        await tab.hear("read")  # and says nothing
        assert await answer == {"held": True, "reason": "a.py: its tab does not answer; look at the tab, or close it"}
        assert await ask("b.py") == {"held": False}


async def test_a_page_is_asked_what_it_holds(client):
    def ask(path):
        return asyncio.ensure_future(client.call("POST", "kaosd/documents/text", {"path": path}))

    async with page(client, "a.py") as tab:
        answer = ask("a.py")
        await tab.say(id=(await tab.hear("read"))["id"], kind="file", text="mine")
        assert await answer == {"open": True, "saved": False, "text": "mine"}
        answer = ask("a.py")
        await tab.hear("read")  # and says nothing
        reason = "a.py: its tab does not answer; look at the tab, or close it"
        assert await answer == {"open": True, "held": True, "reason": reason}
        async with page(client, "a.py", clients=2) as later:
            answer = ask("a.py")
            await tab.say(id=(await tab.hear("read"))["id"], kind="file", text="old", at="1")
            await later.say(id=(await later.hear("read"))["id"], kind="file", text="new", at="2")
            await later.say(id=(await later.hear("read"))["id"], kind="file", text="new", at="2")
            assert (await answer)["text"] == "new"
        assert await ask("b.py") == {"open": False}


async def test_a_document_that_was_closed_meanwhile_is_left_to_the_disk(client):
    async with page(client, "a.py") as tab:
        answer = apply(client, "a.py", "a", "b")
        await tab.say(id=(await tab.hear("read"))["id"], gone=True)
        assert await answer == {"applied": False, "reason": "a.py is not open"}


async def test_a_page_that_closes_lets_its_documents_go(client):
    async with page(client, "a.py") as tab:
        answer = apply(client, "a.py", "a", "b")
        await tab.hear("read")
        await tab.socket.close()
        assert await answer == {"applied": False, "reason": "a.py is not open"}


LOST = 1012  # how the front closes when it has lost the browser, or goes away itself


async def test_a_page_that_has_lost_its_connection_is_waited_for_until_it_is_back(client):
    async with page(client, "a.py", name="one") as tab:
        await tab.socket.close(code=LOST)
        answer = apply(client, "a.py", "a\n", "b\n")
        assert (await apply(client, "b.py", "a\n", "b\n"))["reason"] == "b.py is not open"
        async with page(client, "c.py", name="another"):
            assert not answer.done()
        async with page(client, "a.py", name="one") as again:
            await again.say(id=(await again.hear("read"))["id"], kind="file", text="a\nmine\n")
            await again.say(id=(await again.hear("apply"))["id"], saved=True)
            assert (await answer)["applied"]


async def test_a_page_that_does_not_come_back_is_forgotten(client):
    async with page(client, "a.py", name="one") as tab:
        await tab.socket.close(code=LOST)
        assert await apply(client, "a.py", "a", "b") == {"applied": False, "reason": "a.py is not open"}
        while (await client.call("GET", "kaosd/documents"))["documents"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ["silent", "error"])
async def test_a_page_that_cannot_holds_the_change_and_is_told(client, how):
    async with page(client, "a.py") as tab:
        answer = apply(client, "a.py", "a", "b")
        read = await tab.hear("read")
        if how == "error":
            await tab.say(id=read["id"], error="TypeError: no such thing")
        held = await tab.hear("held")
        assert held["path"] == "a.py"
        found = await answer
        assert (found["applied"], found["held"]) == (False, True)
        assert found["reason"] == f"a.py: {held['reason']}"


async def test_who_closes_right_after_taking_a_change_has_taken_it(client):
    async with page(client, "a.py") as first, page(client, "a.py", clients=2) as second:
        answer = apply(client, "a.py", "a\n", "b\n")
        for tab in (first, second):  # which has saved last?
            await tab.say(id=(await tab.hear("read"))["id"], kind="file", text="a\n", at="2026-01-01T00:00:00Z")
        await first.say(id=(await first.hear("read"))["id"], kind="file", text="a\n")
        await first.say(id=(await first.hear("apply"))["id"], saved=True)
        await first.hear("read")  # for the other page
        await first.socket.close()
        await second.say(id=(await second.hear("read"))["id"], gone=True)
        assert await answer == {"applied": True, "conflict": False, "saved": True}


async def test_one_of_two_pages_that_does_not_answer_is_told_what_it_holds(client):
    async with page(client, "a.py") as first, page(client, "a.py", clients=2) as second:
        answer = apply(client, "a.py", "a\n", "b\n")
        await first.say(id=(await first.hear("read"))["id"], kind="file", text="a\n")
        await second.hear("read")  # and says nothing
        held = await second.hear("held")
        assert await answer == {"applied": False, "held": True, "reason": f"a.py: {held['reason']}"}


async def test_the_desk_is_closed_to_strangers(host, client):
    async with client.session.get(client.url("kaosd/desk"), headers={"Authorization": "token wrong"}) as answer:
        assert answer.status == 403


@pytest.mark.parametrize(
    ("disk", "base", "sure", "text", "merged", "beside"),
    [
        pytest.param("a\n", "a\n", True, "a\nmine\n", "a\nmine\n", None, id="only the page changed it"),
        pytest.param("a\nmi", "a\n", True, "a\nmine", "a\nmine", None, id="a part had arrived"),
        pytest.param("new\nb\n", "a\nb\n", True, "a\nb\nmine\n", "new\nb\nmine\n", None, id="both, in two places"),
        pytest.param("disk\n", "a\n", True, "page\n", "disk\n", "page\n", id="both, in one place"),
        pytest.param("disk\n", None, False, "page\n", "page\n", None, id="nothing is known of its past"),
        pytest.param(None, "a\n", True, "page\n", "page\n", None, id="deleted meanwhile"),
        pytest.param("a\n", "a\nb\n", True, "a\nb\nc\n", "a\nc\n", None, id="taken away on disk"),
        pytest.param("a\n", "a\nb\n", False, "a\nb\nc\n", "a\nc\n", "a\nb\nc\n", id="perhaps never on disk"),
    ],
)
async def test_what_an_earlier_page_brings_is_merged_and_never_lost(
    host, client, disk, base, sure, text, merged, beside
):
    file, copy = host.root / "brought.py", host.root / "brought-unsaved.py"
    for left in (file, copy):
        left.unlink(missing_ok=True)
    if disk is not None:
        file.write_text(disk)
    async with page(client, "other.py") as tab:
        await tab.say(bring="brought.py", id="1", kind="file", base=base, sure=sure, text=text)
        assert await tab.hear("brought") == {"do": "brought", "id": "1", "error": None}
    assert file.read_text() == merged
    assert (copy.read_text() if copy.exists() else None) == beside


def cells(*sources):
    named = [{"id": source, "cell_type": "markdown", "source": source, "metadata": {}} for source in sources]
    return json.dumps({"cells": named, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.mark.parametrize(
    ("base", "sure", "mine", "kept"),
    [
        pytest.param("ab", True, "abc", False, id="taken away on disk"),
        pytest.param("ab", False, "abc", True, id="perhaps never on disk"),
        pytest.param("a", False, "ac", False, id="only the page changed it"),
    ],
)
async def test_cells_that_an_earlier_page_brings_are_never_lost(host, client, base, sure, mine, kept):
    file, copy = host.root / "cells.ipynb", host.root / "cells-unsaved.ipynb"
    copy.unlink(missing_ok=True)
    file.write_text(cells("a"))
    async with page(client, "other.py") as tab:
        await tab.say(bring="cells.ipynb", id="1", kind="notebook", base=cells(*base), sure=sure, text=cells(*mine))
        assert await tab.hear("brought") == {"do": "brought", "id": "1", "error": None}
    found = [json.loads(one.read_text())["cells"] for one in (file, copy) if one.exists()]
    assert [[cell["source"] for cell in one] for one in found] == [[["a"], ["c"]], *[[[c] for c in mine]] * kept]


async def test_a_page_may_hold_a_very_large_document(client):
    large = "x" * 12_000_000
    async with page(client, "a.py") as tab:
        answer = apply(client, "a.py", "a\n", "b\n")
        await tab.say(id=(await tab.hear("read"))["id"], kind="file", text=f"a\n{large}")
        told = await tab.hear("apply")
        assert told["operations"] == [["text", 0, 1, "b"]]
        await tab.say(id=told["id"], saved=True)
        assert (await answer)["before"] == f"a\n{large}"


async def test_what_cannot_be_brought_is_said(client):
    async with page(client, "other.py") as tab:
        await tab.say(bring="no/such/directory/a.py", id="1", kind="file", base="", text="x")
        assert (await tab.hear("brought"))["error"]
        await tab.say(bring="n.ipynb", id="2", kind="notebook", base=None, text="{")
        assert (await tab.hear("brought"))["error"].startswith("not a notebook")


async def test_a_page_is_not_changed_before_its_text_is_kept(client):
    body = {"path": "a.py", "base": "a\n", "incoming": "b\n", "kept": []}
    async with page(client, "a.py") as tab:
        answer = asyncio.ensure_future(client.call("POST", "kaosd/documents/apply", body))
        await tab.say(id=(await tab.hear("read"))["id"], kind="file", text="a\nmine\n")
        told = await answer
        assert (told["applied"], told["before"]) == (False, "a\nmine\n")
        body["kept"] = [hashlib.sha256(b"a\nmine\n").hexdigest()]
        answer = asyncio.ensure_future(client.call("POST", "kaosd/documents/apply", body))
        await tab.say(id=(await tab.hear("read"))["id"], kind="file", text="a\nmine\n")
        await tab.say(id=(await tab.hear("apply"))["id"], saved=True)
        assert await answer == {"applied": True, "conflict": False, "saved": True, "before": "a\nmine\n"}


async def test_a_copy_is_asked_for_only_of_a_page_in_which_something_changes(client):
    """Pages keep the ids of their cells: where a program wrote others, and nothing else, nothing is to be done."""
    base, mine, incoming = (
        document({**cell(text), "id": name}) for name, text in (("a", "1"), ("a", "1#"), ("b", "1"))
    )
    body = {"path": "n.ipynb", "base": base, "incoming": incoming, "kept": []}
    async with page(client, "n.ipynb") as tab:
        answer = asyncio.ensure_future(client.call("POST", "kaosd/documents/apply", body))
        await tab.say(id=(await tab.hear("read"))["id"], kind="notebook", text=mine)
        change = await tab.hear("apply")
        assert change["operations"] == []
        await tab.say(id=change["id"], saved=True)
        assert await answer == {"applied": True, "conflict": False, "saved": True}


def cell(source, **metadata):
    return {
        "id": "c",
        "cell_type": "code",
        "source": source,
        "metadata": metadata,
        "outputs": [],
        "execution_count": None,
    }


def document(*cells):
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.mark.parametrize(
    ("kind", "base", "live", "incoming", "operations"),
    [
        pytest.param("file", "a\nb\n", "a\nmine\n", "new\nb\n", [["text", 0, 1, "new"]], id="two places"),
        pytest.param("file", "a\n", "mine\n", "new\n", None, id="one place"),
        pytest.param("file", "a\r\nb\r\n", "a\nmine\n", "a\r\nb\r\n", [], id="other ends of lines"),
        pytest.param(
            "notebook", document(cell("a")), document(cell("a")), document(cell("a", trusted=False)), [], id="trust"
        ),
        pytest.param("notebook", document(cell("a")), document(cell("b")), "{", None, id="not a notebook"),
    ],
)
async def test_a_page_is_told_how_to_catch_up_with_its_file(client, kind, base, live, incoming, operations):
    async with page(client, "a.py") as tab:
        await tab.say(merge=kind, id="1", base=base, live=live, incoming=incoming)
        assert await tab.hear("merged") == {"do": "merged", "id": "1", "operations": operations}
