"""The shape of the package: no circles of imports, those for types among them, and a name means one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "kaosd"


def modules() -> dict[str, Path]:
    """The modules of the package, by their full names."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = ["kaosd", *path.relative_to(PACKAGE).with_suffix("").parts]
        if parts[1] != "templates":
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the package that a module imports anywhere."""
    package = name if path.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")
            base = ".".join(above[: len(above) - node.level + 1]) if node.level else ""
            base = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                found = f"{base}.{alias.name}"
                yield found if found in known else base


def reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """The modules that *start* imports, and those that they import, and so on."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for one in graph.get(waiting.pop(), set()) - found:
            found.add(one)
            waiting.append(one)
    return found


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """The largest sets of modules each of which reaches all others."""
    all_reached = {name: reached(name, graph) for name in graph}
    found: list[set[str]] = []
    for name, others in all_reached.items():
        if name in others and not any(name in circle for circle in found):
            found.append({one for one in others if name in all_reached.get(one, set())})
    return found


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set[str]()}
    assert circles(graph) == [{"a", "b", "c"}]
    assert circles(graph | {"e": {"d"}}) == [{"a", "b", "c"}, {"d", "e"}]


def test_there_are_no_circles_of_imports() -> None:
    known = modules()
    assert len(known) > 200
    graph = {name: set(imports(name, path, known)) - {name} for name, path in known.items()}
    assert circles(graph) == [], "these import each other; move what both need into a module below them"


def taken(found: dict[str, list[str]]) -> dict[str, list[str]]:
    """The names that stand for several things, with where they are."""
    return {name: places for name, places in found.items() if len(places) > 1}


def test_a_module_name_is_used_once() -> None:
    found = defaultdict(list)
    for name, path in modules().items():
        if not name.startswith("kaosd.engines.") and path.stem not in ("__init__", "__main__"):
            found[path.stem].append(name)
    assert taken(found) == {}, "choose a name that says what the new module is"


def test_a_class_name_is_used_once() -> None:
    found = defaultdict(list)
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(name)
    assert taken(found) == {}, "choose a name that says what the new class is"
