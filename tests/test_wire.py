"""The JSON of schema 1: the daemon's object, the client's reading of it, and the client's tests are of one shape."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints, is_typeddict

import pytest

from kaosd import wire
from tests.ctl.standin import notebook as given
from tests.test_view import shown

CTL = Path(wire.__file__).parent / "ctl"
READ = {"notebook": "NotebookObject", "host": "HostObject", "usage": "UsageObject", "swap": "SwapObject"}


def strangers(value: Any, kind: Any, path: str = "") -> Iterator[str]:
    """The keys in *value* that its type does not know."""
    kinds = [one for one in (kind, *get_args(kind)) if is_typeddict(one)]
    if isinstance(value, dict) and kinds:
        hints = get_type_hints(kinds[0])
        yield from (f"{path}.{key}" for key in value if key not in hints)
        for key in value.keys() & hints.keys():
            yield from strangers(value[key], hints[key], f"{path}.{key}")
    if isinstance(value, list):
        inside = next((one for one in get_args(kind) if one is not type(None)), None)
        for one in value:
            yield from strangers(one, inside, path)


def test_the_daemon_answers_with_every_field() -> None:
    assert shown().keys() == wire.NotebookObject.__annotations__.keys()
    assert not list(strangers(shown(), wire.NotebookObject))


def test_the_notebook_that_the_clients_tests_are_given_is_one_that_the_daemon_could_show() -> None:
    assert not list(strangers(given(), wire.NotebookObject))


def test_an_unknown_field_is_found_however_deep() -> None:
    wrong = {"host": {"state": "", "kernel": 1}, "next": [{"label": "", "comand": ""}]}
    assert sorted(strangers(wrong, wire.NotebookObject)) == [".host.kernel", ".next.comand"]


def fields_read(name: str) -> set[str]:
    """The fields that the client reads of what it calls *name*."""
    found = set()
    for path in CTL.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            key: ast.expr | None = None
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name:
                key = node.slice
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                key = node.args[0] if isinstance(node.func.value, ast.Name) and node.func.value.id == name else None
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                found.add(key.value)
    return found


@pytest.mark.parametrize(("name", "kind"), READ.items())
def test_the_client_reads_no_field_that_there_is_not(name: str, kind: str) -> None:
    read = fields_read(name)
    assert read
    assert read - get_type_hints(getattr(wire, kind)).keys() == set()
