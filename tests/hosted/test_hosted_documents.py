"""Changes to documents that a second editor has open, over real websockets to a real JupyterLab."""

import asyncio
import hashlib
import json
import py_compile
import sqlite3
import subprocess
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from aiohttp import WSMsgType

pytestmark = pytest.mark.not_quick

STEPS = count()

# Prints the source of the first cell of the one document whose history is in a database.
READ = """
import sqlite3, sys
from pycrdt import Array, Doc
document = Doc()
for (update,) in sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute("SELECT yupdate FROM yupdates"):
    document.apply_update(update)
print(document.get("cells", type=Array)[0]["source"], end="")
"""

# Fails unless a shared notebook is read in the quick way as in the slow one, also when two cells share an id.
ALIKE = """
import sys, warnings
sys.path.insert(0, sys.argv[1])
from jupyter_ydoc import YNotebook
from kaosd.hosted import live
from pycrdt import Map, Text
assert live.json_tells_all()
warnings.simplefilter("ignore")
for second in "a", "b":
    for minor in 4, 5:
        document = YNotebook()
        cells = [{"id": "a", "cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": 1.0}]
        cells.append({**cells[0], "source": "2"})
        document.set({"cells": cells, "metadata": {"x": {"y": 1.0}}, "nbformat": 4, "nbformat_minor": minor})
        document.ycells[1]["id"] = second
        document.ycells[1]["execution_state"] = "running"
        found = live.read(document)
        quick, live.json_tells_all = live.json_tells_all, lambda: False
        assert live.read(document) == found
        live.json_tells_all = quick
        assert live.LiveNotebook(document).get() == document.get()
        assert [cell["source"] for cell in found[0]["cells"]] == ["1", "2"] and found[1] == {1}, found
"""

# Fails unless the contents of a file, one after another, are parsed as each alone, and of each only what differs.
IN_PARTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from kaosd.hosted import parsing
alone, parsed, notebooks = parsing.parse_notebook, [], parsing.NotebookParser()
def parse(text):
    parsed.append(text.count('"cell_type"'))
    return alone(text)
parsing.parse_notebook = parse
printed = {"output_type": "stream", "name": "stdout", "text": ["1\\n", "2"]}
def cell(name, *source):
    code = {"id": name, "cell_type": "code", "metadata": {}, "outputs": [printed], "execution_count": 1}
    return {**code, "source": list(source)}
def text(*cells, **more):
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **more})
a, b, c = cell("a", "1\\n", "2"), cell("b", "b"), cell("c", "c")
contents = [
    (text(a, b), 2), (text(a, b), None), (text(a, {**b, "source": "x"}), 1), (text(c, b, a), 2), (text(c, a), 0),
    (text(c, a, metadata={"x": 1}), 2), (text(c, {**c, "id": "a"}), 2), (text(a), 1), (text(b), 1),
]
for content, count in contents:
    parsed.clear()
    assert notebooks.parse(content) == alone(content), content
    assert parsed == ([] if count is None else [count]), (content, parsed)
wrong_cells = ({**a, "source": 1}, {"id": "a"}, {"id": 1}, 1)
for wrong in [*(text(b, cell) for cell in wrong_cells), text(b, nbformat=9), "[]", "{", "[" * 9999]:
    try:
        raise AssertionError(notebooks.parse(wrong))
    except parsing.Unreadable as error:
        assert str(error).startswith("not a notebook: ")
    assert notebooks.parse(text(b)) == alone(text(b))
shared = notebooks.parse(text({**a, "id": "same"}, {**a, "id": "same"}))
assert len({one["id"] for one in shared["cells"]}) == 2
"""


def code(name, source, outputs=()):
    cell = {"cell_type": "code", "id": name, "metadata": {}, "source": source}
    return {**cell, "outputs": list(outputs), "execution_count": None}


def notebook(*cells):
    return json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def sources(content):
    """The sources of a notebook's cells, by id, whether it was read from disk or from a shared document."""
    return {cell["id"]: "".join(cell["source"]) for cell in content["cells"]}


def on_disk(file):
    """The notebook in *file*; None while it is being written, because Jupyter empties the file first."""
    text = file.read_text()
    return json.loads(text) if text.endswith("}\n") else None


def outputs(content, name):
    """All text that the cell printed."""
    cell = next(cell for cell in content["cells"] if cell["id"] == name)
    return "".join("".join(output["text"]) for output in cell["outputs"])


@pytest.fixture
def write(host):
    """Write a new file below the root, and return its path and file."""

    def write(text, suffix=".ipynb"):
        name = f"document{next(STEPS)}{suffix}"
        (host.root / "sub").mkdir(exist_ok=True)
        file = host.root / "sub" / name
        file.write_text(text)
        return f"sub/{name}", file

    return write


@pytest.fixture
def apply(client):
    """Send a change."""

    async def apply(path, base, incoming):
        return await client.call("POST", "kaosd/documents/apply", {"path": path, "base": base, "incoming": incoming})

    return apply


@pytest.mark.parametrize("program", [ALIKE, IN_PARTS], ids=["read", "parsed"])
def test_a_notebook_is_the_same_in_the_quick_way(environments, program):
    root = Path(__file__).parent.parent.parent
    subprocess.run([environments["shared"] / "bin" / "python", "-c", program, root], check=True)


async def test_open_documents_are_listed(host, client, write):
    book, _ = write(notebook(code("a", "")))
    text, _ = write("x = 1\n", ".py")
    assert (await client.call("GET", "kaosd/documents"))["documents"] == []
    async with client.editor(book), client.editor(book), client.editor(text, "file"):
        answer = await client.call("GET", "kaosd/documents")
    assert list(host.root.iterdir()) == [host.root / "sub"]  # no store, no session file: nothing of ours
    assert answer["shared"] is True
    assert sorted(answer["documents"], key=lambda document: document["path"]) == [
        {"path": book, "type": "notebook", "clients": 2},
        {"path": text, "type": "file", "clients": 1},
    ]


async def test_a_document_that_is_not_open_is_left_to_the_caller(write, apply):
    text = notebook(code("a", "a = 1"))
    path, file = write(text)
    answer = await apply(path, text, notebook(code("a", "a = 2")))
    assert answer == {"applied": False, "reason": f"{path} is not open"}
    assert file.read_text() == text


async def test_a_program_that_jupyterlab_saves_is_imported_as_it_is_now(client, write):
    path, file = write("A = 1\n", ".py")
    compiled = Path(py_compile.compile(str(file)))
    await client.call("PUT", f"api/contents/{path}", {"type": "file", "format": "text", "content": "A = 2\n"})
    assert file.read_text() == "A = 2\n"
    assert not compiled.exists()


@pytest.mark.parametrize("incoming", ["{", "[]", '{"cells": 1}', notebook({"cell_type": "code"}), '"\ud800"'])
async def test_what_is_no_notebook_changes_nothing(client, write, apply, incoming):
    text = notebook(code("a", "a = 1"))
    path, file = write(text)
    async with client.editor(path) as editor:
        answer = await apply(path, text, incoming)
        assert sources(await editor.content()) == {"a": "a = 1"}
    assert answer["applied"] is False
    assert answer["reason"].startswith(f"{path}: not a ")
    assert file.read_text() == text


@pytest.mark.parametrize("body", [[], {}, {"path": 1, "incoming": ""}, {"path": "a", "base": 1, "incoming": ""}])
async def test_a_malformed_order_is_refused(client, body):
    async with client.session.post(client.url("kaosd/documents/apply"), json=body) as answer:
        assert answer.status == 400


async def test_what_is_typed_is_saved_before_it_is_told(client, write):
    path, file = write(notebook(code("a", "a = 1")))
    ask = {"path": path}
    assert await client.call("POST", "kaosd/documents/text", ask) == {"open": False}
    async with client.editor(path) as editor:
        await editor.order("type", cell="a", after="a = 1", text="23", pause=0)
        assert await editor.answer() == {"typed": "a = 123"}
        await editor.content()
        answer = await client.call("POST", "kaosd/documents/text", ask)
        assert (answer["open"], answer["saved"]) == (True, True)
        assert sources(json.loads(answer["text"])) == sources(on_disk(file)) == {"a": "a = 123"}
    async with client.session.post(client.url("kaosd/documents/text"), json={"path": 1}) as refused:
        assert refused.status == 400


async def test_the_line_answers_as_requests_do_one_after_another(client, write):
    base, incoming = notebook(code("a", "a = 1")), notebook(code("a", "a = 2"))
    path, file = write(base)
    change = {"do": "apply", "path": path, "base": base, "incoming": incoming}
    async with client.session.ws_connect(client.url("kaosd/documents/line")) as line:
        await line.send_json(change)
        await line.send_json({"do": "ask", "path": path})
        assert await line.receive_json() == {"applied": False, "reason": f"{path} is not open"}
        assert await line.receive_json() == {"held": False}
        async with client.editor(path) as editor:
            await line.send_json(change)
            assert await line.receive_json() == {"applied": True, "conflict": False, "saved": True}
            assert sources(await editor.content()) == sources(on_disk(file)) == {"a": "a = 2"}


@pytest.mark.parametrize("said", ["{", "[]", '{"do": "documents"}', '{"do": "apply"}', '{"do": "ask", "path": 1}'])
async def test_the_line_ends_when_something_else_is_said(client, said):
    async with client.session.ws_connect(client.url("kaosd/documents/line")) as line:
        await line.send_str(said)
        assert (await line.receive(timeout=30)).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)


async def test_a_change_reaches_the_tab_and_the_disk(client, write, apply):
    base = notebook(code("a", "a = 1"), code("b", "b = 1", [{"output_type": "stream", "name": "stdout", "text": "1"}]))
    path, file = write(base)
    async with client.editor(path) as editor:
        answer = await apply(path, base, notebook(code("a", "a = 2"), code("n", "new"), code("b", "b = 1")))
        content = await editor.content()
    assert answer == {"applied": True, "conflict": False, "saved": True}
    assert sources(content) == sources(on_disk(file)) == {"a": "a = 2", "n": "new", "b": "b = 1"}


async def test_what_was_typed_here_is_reported_and_gives_way_only_where_it_must(client, write, apply):
    base = notebook(code("a", "a = 1\nb = 1\n"))
    path, file = write(base)
    async with client.editor(path) as editor:
        await editor.type("23", after="a = 1", cell="a")
        kept = await apply(path, base, notebook(code("a", "a = 1\nb = 2\n")))
        assert sources(await editor.content()) == {"a": "a = 123\nb = 2\n"}
        lost = await apply(path, notebook(code("a", "a = 1\nb = 2\n")), notebook(code("a", "a = 9\nb = 2\n")))
        assert sources(await editor.content()) == {"a": "a = 9\nb = 2\n"}
    assert (kept["conflict"], sources(json.loads(kept["before"]))) == (False, {"a": "a = 123\nb = 1\n"})
    assert (lost["conflict"], sources(json.loads(lost["before"]))) == (True, {"a": "a = 123\nb = 2\n"})
    assert sources(on_disk(file)) == {"a": "a = 9\nb = 2\n"}


@pytest.mark.parametrize("base", [None, "not a notebook"])
async def test_with_an_unknown_base_the_incoming_text_wins(client, write, apply, base):
    path, file = write(notebook(code("a", "a = 1\nmine\n")))
    async with client.editor(path):
        answer = await apply(path, base, notebook(code("a", "a = 2\n")))
    assert (answer["conflict"], sources(json.loads(answer["before"]))) == (True, {"a": "a = 1\nmine\n"})
    assert sources(on_disk(file)) == {"a": "a = 2\n"}


async def test_text_files_are_changed_in_place(client, write, apply):
    path, file = write("é = 1\n😀 = 2\n", ".py")
    async with client.editor(path, "file") as editor:
        await editor.type("5", after="é = 1")
        answer = await apply(path, "é = 1\r\n😀 = 2\r\n", "é = 1\r\n😀 = 3  # 😀\r\n")
        content = await editor.content()
    assert answer == {"applied": True, "conflict": False, "saved": True, "before": "é = 15\n😀 = 2\n"}
    assert content == file.read_text() == "é = 15\n😀 = 3  # 😀\n"


@pytest.mark.parametrize("kind", ["notebook", "file"])
async def test_no_keystroke_is_lost_while_changes_strike(host, client, write, apply, kind):
    """The person types into the very cell (or file) whose other lines change 20 times."""

    def text(step):
        body = f"before = {step}\nhere = ''  # \n" + f"after = {step}\n" * (step % 3)
        return notebook(code("a", body), *(code(f"n{n}", f"n = {n}") for n in range(step % 4))) if book else body

    book = kind == "notebook"
    path, file = write(text(0), ".ipynb" if book else ".py")
    typed = "".join(chr(ord("a") + number % 26) for number in range(200))
    async with client.editor(path, kind) as editor:
        await editor.order("type", cell="a" if book else None, after="here = ''  # ", text=typed, pause=0.015)
        for step in range(1, 21):
            answer = await apply(path, text(step - 1), text(step))
            assert (answer["applied"], answer["conflict"], answer["saved"]) == (True, False, True)
            await asyncio.sleep(0.1)  # spreads the strikes over the typing
        assert await editor.answer() == {"typed": "here = ''  # " + typed}
        answer = await apply(path, text(20), text(20))
        content = await editor.content()
    expected = text(20).replace("here = ''  # ", "here = ''  # " + typed)
    if book:
        assert sources(content) == sources(on_disk(file)) == sources(json.loads(expected))
    else:
        assert content == file.read_text() == expected
    assert "Out-of-band changes" not in host.log.read_text()


async def test_a_cell_that_runs_keeps_what_it_prints(client, write, apply, eventually):
    """The tab of the person runs a cell of a real kernel and puts what it prints into the shared document."""
    loop = "import time\nfor n in range(20):\n    print(n, flush=True)\n    time.sleep(0.05)\n"
    base = notebook(code("a", "a = 1"), code("run", loop), code("z", "z = 1"))
    path, file = write(base)
    strikes = []
    async with client.editor(path) as editor, client.channels(await client.kernel()) as channels:
        await editor.order("run", cell="run")
        async for piece in client.printed(channels, loop):
            await editor.order("print", cell="run", text=piece)
            if len(strikes) < 10:
                step = len(strikes)
                old, new = (
                    notebook(code("a", f"a = {n}"), code("run", loop), *[code("z", "z = 1")] * (n % 2))
                    for n in (step, step + 1)
                )
                strikes.append(await apply(path, base if step == 0 else old, new))
        content = await editor.content()
        await eventually(lambda: (saved := on_disk(file)) and outputs(saved, "run") == outputs(content, "run"))
    printed = "".join(f"{n}\n" for n in range(20))
    assert len(strikes) == 10
    assert all(answer["applied"] and not answer["conflict"] for answer in strikes)
    assert outputs(content, "run") == printed


async def test_a_running_cell_stays_when_the_incoming_notebook_moves_it(client, write, apply):
    base = notebook(code("a", "a"), code("b", "b"), code("run", "run"))
    path, _ = write(base)
    async with client.editor(path) as editor:
        await editor.order("run", cell="run")
        await editor.order("print", cell="run", text="first ")
        assert outputs(await editor.content(), "run") == "first "
        await apply(path, base, notebook(code("run", "run"), code("a", "a"), code("b", "b")))
        await editor.order("print", cell="run", text="second")
        content = await editor.content()
    assert list(sources(content)) == ["run", "a", "b"]
    assert outputs(content, "run") == "first second"


async def test_text_typed_while_a_cell_prints_reaches_the_disk(client, write, eventually):
    """Every output puts off the save of the room; ours comes anyway."""
    path, file = write(notebook(code("a", "a"), code("run", "run")))
    async with client.editor(path) as editor:
        await editor.type(" typed", after="a", cell="a")

        async def print_on():
            while True:
                await editor.order("print", cell="run", text=".")
                await asyncio.sleep(0.2)

        printing = asyncio.create_task(print_on())
        await eventually(lambda: (saved := on_disk(file)) and sources(saved)["a"] == "a typed")
        printing.cancel()


async def test_a_change_on_disk_that_nobody_saw_yet_is_taken_over(client, write, apply):
    base = notebook(code("a", "a = 1"), code("b", "b = 1"))
    path, file = write(base)
    async with client.editor(path):
        file.write_text(notebook(code("a", "a = 1"), code("b", "b = 'from a terminal'")))
        answer = await apply(path, base, notebook(code("a", "a = 2"), code("b", "b = 1")))
    assert answer["saved"]
    assert sources(on_disk(file)) == {"a": "a = 2", "b": "b = 'from a terminal'"}


async def test_a_notebook_that_is_also_open_as_text_changes_in_both(client, write, apply):
    base = notebook(code("a", "a = 1"))
    path, file = write(base)
    async with client.editor(path) as editor, client.editor(path, "file") as as_text:
        answer = await apply(path, base, base.replace("a = 1", "a = 2"))
        assert sources(await editor.content()) == {"a": "a = 2"}
        assert "a = 2" in await as_text.content()
    assert answer["applied"]
    assert "a = 2" in file.read_text()


async def test_all_parts_of_a_notebook_arrive(client, write, apply):
    nested = {"jupyter": {"source_hidden": True}, "tags": ["a", "b"]}
    printed = {"output_type": "stream", "name": "stdout", "text": "1\n"}
    shown = {
        "output_type": "display_data",
        "data": {"text/plain": "2", "application/json": {"a": [1, 2.5]}},
        "metadata": {},
    }
    failed = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["t"]}
    image = {
        "id": "m",
        "cell_type": "markdown",
        "metadata": {},
        "source": "# 1",
        "attachments": {"a.png": {"image/png": "eA=="}},
    }
    full = {**code("a", "a = 1", [printed, shown, failed]), "metadata": nested, "execution_count": 7}
    base = notebook(code("a", "a = 1"), code("gone", "x"))
    incoming = notebook(full, image, {**full, "id": "b"}).replace(
        '"metadata": {}, "nbformat"', '"metadata": {"x": {"y": 1}}, "nbformat"'
    )
    path, file = write(base)
    async with client.editor(path) as editor:
        assert (await apply(path, base, incoming))["saved"]
        content = await editor.content()
    assert content["cells"] == json.loads(incoming)["cells"]
    assert content["metadata"]["x"] == {"y": 1}
    saved = on_disk(file)
    assert [cell["metadata"] for cell in saved["cells"]] == [nested, {}, nested]
    assert [len(cell.get("outputs", [])) for cell in saved["cells"]] == [3, 0, 3]


async def test_with_a_document_open_the_host_saves_it_and_ends(new_host):
    """What was typed in the last second is not on disk yet; an open document must not keep the process."""
    host = new_host().start()
    file = host.root / "a.ipynb"
    file.write_text(notebook(code("a", "a")))
    async with host.client() as client, client.editor("a.ipynb") as editor:
        await client.kernel()
        await editor.type(" typed", after="a", cell="a")
        assert host.terminate() == 0
    assert sources(on_disk(file)) == {"a": "a typed"}


@pytest.mark.parametrize("kind", ["notebook", "file"])
async def test_edits_that_are_not_kept_yet_are_told_and_not_touched(client, write, kind):
    if kind == "notebook":
        base, incoming = notebook(code("a", "a = 1\nb = 1\n")), notebook(code("a", "a = 1\nb = 2\n"))
        path, _ = write(base)
    else:
        base, incoming = "a = 1\nb = 1\n", "a = 1\nb = 2\n"
        path, _ = write(base, ".py")

    async def ask(kept):
        body = {"path": path, "base": base, "incoming": incoming, "kept": kept}
        return await client.call("POST", "kaosd/documents/apply", body)

    async with client.editor(path, kind) as editor:
        await editor.type("2", after="a = 1", **({"cell": "a"} if kind == "notebook" else {}))
        before = await editor.content()
        told = await ask([])
        assert (told["applied"], await editor.content()) == (False, before)
        assert "a = 12" in told["before"]
        other = await ask(["0" * 64])
        assert (other, await editor.content()) == (told, before)
        done = await ask(["0" * 64, hashlib.sha256(told["before"].encode()).hexdigest()])
        assert (done["applied"], done["before"]) == (True, told["before"])
        again = await ask([])  # what is there already changes nothing, and asks for nothing
        assert again == {"applied": True, "conflict": False, "saved": True}


@pytest.mark.parametrize(
    ("change", "there", "beside"),
    [
        pytest.param(None, "a", None, id="nothing else"),
        pytest.param(("b", "b = 2"), "a", None, id="another cell changes on disk meanwhile"),
        pytest.param(("a", "c"), "c", "a", id="the same cell changes on disk meanwhile"),
    ],
)
async def test_what_was_typed_before_a_kill_is_there_when_the_host_is_back(new_host, eventually, change, there, beside):
    """Keys that follow each other put off the save: the file is as it was, and the document's history ahead of it."""
    host = new_host().start()
    file = host.root / "a.ipynb"
    cells = {"a": "a z", "b": "b = 1"}
    before = notebook(*(code(*cell) for cell in cells.items()))
    file.write_text(before)
    text = "".join(f" {number}" for number in range(200))

    def database():
        [path] = (host.jupyter / "data").glob("shared_documents-*.db")
        return path

    def history():
        with closing(sqlite3.connect(f"file:{database()}?mode=ro", uri=True)) as db:
            return db.execute("SELECT count(*) FROM yupdates").fetchone()[0]

    async with host.client() as client, client.editor("a.ipynb") as editor:
        opened = history()
        await editor.order("type", cell="a", after="a", text=text, pause=0.03)
        await eventually(lambda: history() >= opened + 30)
        host.process.kill()
        host.process.wait()
    read = [host.server_environment / "bin" / "python", "-c", READ, database()]
    typed = subprocess.run(read, check=True, capture_output=True, text=True).stdout
    assert file.read_text() == before
    if change:
        cells |= [change]
        file.write_text(notebook(*(code(*cell) for cell in cells.items())))
    host.start()
    async with host.client() as client, client.editor("a.ipynb") as editor:
        found = sources(await editor.content())
        await eventually(lambda: (saved := on_disk(file)) and sources(saved) == found)
    assert found["b"] == cells["b"]
    kept = found["a"]
    if beside:
        assert kept == there
        kept = sources(on_disk(host.root / "a-unsaved.ipynb"))["a"]
    assert kept == typed
    assert typed.endswith(" z")
    assert typed.startswith("a 0 1 2")
    assert ("a" + text).startswith(typed[:-2])
