"""A notebook that is run from its first cell to its last in a real JupyterLab, by a kernel of its own."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from kaosd.hosted import parameters
from kaosd.notebook import runs

pytestmark = pytest.mark.not_quick


def written(host, name, *cells, **metadata):
    """Write a notebook of code cells; a pair is a source and its tags."""
    sources = [cell if isinstance(cell, tuple) else (cell, []) for cell in cells]
    host.root.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
    host.root.joinpath(name).write_text(
        json.dumps(
            {
                "nbformat": 4,
                "nbformat_minor": 5,
                "metadata": metadata,
                "cells": [
                    {
                        "id": f"c{number}",
                        "cell_type": "code",
                        "source": source,
                        "metadata": {"tags": tags},
                        "outputs": [],
                        "execution_count": None,
                    }
                    for number, (source, tags) in enumerate(sources)
                ],
            }
        )
    )


async def events(client, **asked):
    """What a run tells."""
    async with client.session.post(client.url("kaosd/run"), json=asked) as answer:
        assert answer.status == 200, await answer.text()
        return [json.loads(line) for line in (await answer.read()).splitlines()]


async def test_cells_run_in_order_and_the_file_stays_as_it_is(host, client):
    written(
        host,
        "in/a.ipynb",
        "import os\nn = 1",
        "",
        ("0/0", ["skip-execution"]),
        "print(n, os.path.basename(os.getcwd()))",
    )
    before = (host.root / "in/a.ipynb").read_bytes()
    told = await events(client, path="in/a.ipynb", keep=True)
    assert [one["event"] for one in told] == ["started", "cell", "cell", "notebook", "end"]
    assert told[0]["cells"] == 2
    assert [(one["number"], one["text"], one["output"]) for one in told[1:3]] == [
        (1, "import os", ""),
        (2, "print(n, os.path.basename(os.getcwd()))", "1 in\n"),
    ]
    executed = json.loads(told[3]["part"])
    assert executed["cells"][3]["outputs"][0]["text"] == ["1 in\n"]
    assert [cell["execution_count"] for cell in executed["cells"]] == [1, None, None, 2]
    assert (told[-1]["outcome"], told[-1]["cell"], told[-1]["error"]) == ("passed", None, None)
    assert (host.root / "in/a.ipynb").read_bytes() == before
    assert await client.call("GET", "api/kernels") == []


async def test_a_cell_that_fails_ends_the_run_with_its_traceback(host, client):
    bar = r"import sys; sys.stderr.write('10 %\r100 %\n'); '\x1b[31mred\x1b[0m'"
    written(host, "b.ipynb", bar, "def f():\n    return 1 / 0\nprint('x' * 20_000)\nf()", "print('never')")
    told = await events(client, path="b.ipynb")
    end = told[-1]
    assert told[1]["output"] == "100 %\n'\\x1b[31mred\\x1b[0m'\n"
    assert end["error"]["output"] == "…" + "x" * 9_999 + "\n"
    assert (end["outcome"], end["cell"], len(told)) == ("failed", 2, 3)
    assert (end["error"]["name"], end["error"]["value"]) == ("ZeroDivisionError", "division by zero")
    assert "return 1 / 0" in end["error"]["traceback"]
    assert "\x1b" not in end["error"]["traceback"]


async def test_outputs_and_errors_without_end_are_cut(host, client):
    written(
        host,
        "l.ipynb",
        "print('x' * 2**20 + 'end')",
        "print('x' * 2**26)",
        "print('more')",
        "raise ValueError('\\U0001f600' * 2**21)",
    )
    told = await events(client, path="l.ipynb", keep=True)
    end, executed = told[-1], json.loads("".join(one["part"] for one in told if one["event"] == "notebook"))
    assert told[1]["output"].endswith("xend\n")
    assert executed["cells"][1]["outputs"][0]["text"] == ["[kaosd: further output is left out]\n"]
    assert executed["cells"][2]["outputs"] == []
    assert (end["outcome"], end["cell"], end["error"]["name"]) == ("failed", 4, "ValueError")
    assert end["error"]["value"].startswith("\U0001f600")
    assert len(json.dumps(end)) < runs.LINE


async def test_a_kernel_that_dies_ends_the_run(host, client):
    written(host, "c.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    end = (await events(client, path="c.ipynb"))[-1]
    assert (end["outcome"], end["cell"], end["error"]["name"]) == ("failed", 1, "DeadKernelError")
    assert await client.call("GET", "api/kernels") == []


async def test_a_run_ends_when_its_time_is_up(host, client):
    written(host, "d.ipynb", "import time\ntime.sleep(3600)")
    end = (await events(client, path="d.ipynb", timeout=3))[-1]
    assert (end["outcome"], end["error"]) == ("timeout", None)
    assert await client.call("GET", "api/kernels") == []


async def test_the_kernel_ends_with_the_caller(host, client, eventually):
    written(host, "e.ipynb", "open('begun', 'w').close()\nimport time\ntime.sleep(3600)")
    async with client.session.post(client.url("kaosd/run"), json={"path": "e.ipynb"}) as answer:
        assert json.loads(await answer.content.readline())["event"] == "started"
        await eventually((host.root / "begun").exists)
        (kernel,) = await client.call("GET", "api/kernels")
        assert kernel["execution_state"] == "busy"
    kernels = [kernel]
    while kernels:
        kernels = await client.call("GET", "api/kernels")


async def test_parameters_and_a_kernel_that_is_not_here(host, client):
    spec = {"name": "my-venv", "language": "python", "display_name": "x"}
    written(host, "f.ipynb", ("a = 1\nb = 2", ["parameters"]), "print(a, b)", kernelspec=spec)
    told = await events(client, path="f.ipynb", parameters={"a": "x"}, keep=True)
    cells = json.loads("".join(one["part"] for one in told if one["event"] == "notebook"))["cells"]
    assert ["".join(cell["source"]) for cell in cells] == ["a = 1\nb = 2", "# Parameters\na = 'x'", "print(a, b)"]
    assert cells[2]["outputs"][0]["text"] == ["x 2\n"]


@pytest.mark.parametrize(
    ("path", "content", "given", "status"),
    [
        ("none.ipynb", None, {}, 404),
        ("../../etc/passwd", None, {}, 404),
        ("g.ipynb", "{", {}, 422),
        ("h.ipynb", '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}', {"no name": 1}, 422),
    ],
)
async def test_what_cannot_be_run_is_refused(host, client, path, content, given, status):
    if content is not None:
        (host.root / path).write_text(content)
    async with client.session.post(client.url("kaosd/run"), json={"path": path, "parameters": given}) as answer:
        assert answer.status == status
        assert (await answer.json(content_type=None))["error"]


def cells(*tags):
    return [{"metadata": {"tags": list(of)}} for of in tags]


PLACES = {
    "to the front": (cells([], ["other"]), 0),
    "behind the defaults": (cells([], ["parameters"], []), 2),
    "on those of an earlier run": (cells(["parameters"], [], ["injected-parameters"]), 2),
    "of nothing": ([], 0),
}


@pytest.mark.parametrize(("found", "at"), PLACES.values(), ids=PLACES.keys())
def test_where_parameters_go(found, at):
    assert parameters.place(found) == at


def test_parameters_as_python():
    values = {"a": 1, "b": 0.5, "c": True, "d": None, "e": "it's", "f": [1, "x"], "g": float("inf")}
    names = {}
    exec(parameters.assignments(values), names)
    assert {name: names[name] for name in values} == values
    for name in ("1a", "a b", "class", ""):
        with pytest.raises(ValueError, match="is not the name of a variable"):
            parameters.assignments({name: 1})


def test_parameters_of_another_language_are_refused():
    notebook = SimpleNamespace(metadata={"kernelspec": {"language": "R"}}, cells=[])
    with pytest.raises(ValueError, match="written in R"):
        parameters.inject(notebook, {"a": 1})
