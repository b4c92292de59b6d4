"""`kaosctl env, add`: what the environment of a notebook holds; a requirement written into its environment file."""

from __future__ import annotations

from typing import Any

from kaosd.ctl import command_output
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.screen import Screen

PATIENCE = 90.0  # seconds that the package index may take


def env(
    name: str, *, lock: bool = False, outdated: bool = False, dockerfile: bool = False, as_json: bool = False
) -> int:
    """Print what the environment of a notebook holds; with *lock* as lines of a requirements file.

    outdated: print the packages that are old instead. dockerfile: print the Dockerfile that is made of a source
    without one instead.
    """
    if outdated:
        answer = Client().get(notebook_path(name, "outdated"), timeout=PATIENCE)
        command_output.tell(answer, outdated_lines(answer, command_output.here()), as_json=as_json)
        return 0
    if dockerfile:
        answer = Client().get(notebook_path(name, "dockerfile"))
        command_output.tell(answer, answer["dockerfile"].splitlines(), as_json=as_json)
        return 0
    answer = Client().get(notebook_path(name, "environment"))
    lines = lock_lines(answer) if lock else env_lines(answer, command_output.here())
    command_output.tell(answer, lines, as_json=as_json)
    return 0


def lock_lines(answer: dict[str, Any]) -> list[str]:
    """Every package as it is found by a kernel, as lines of a requirements file."""
    found = {one["name"]: one["version"] for one in (*answer["packages"], *answer["by_hand"])}
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def env_lines(answer: dict[str, Any], where: Screen) -> list[str]:
    """What was installed by hand first, each with the step that keeps it; then the packages of the environment."""
    file = answer.get("file") or "model/requirements.txt"
    lines = [where.paint("busy", f"installed by hand, not in {file}:")] if answer["by_hand"] else []
    for one in answer["by_hand"]:
        said = [f"instead of {one['instead_of']}"] if one.get("instead_of") else []
        said += [f"keep it: {one['keep']}"] if one.get("keep") else ["came with another"]
        lines += where.flow([("strong", f"    {one['name']} {one['version']}"), *(("", text) for text in said)], 6)
    for python, packages in answer["unused"].items():
        text = f"installed by hand for Python {python}, not used with {answer['python']}: {', '.join(packages)}"
        lines += where.flow([("dim", text)], 4)
    lines.append(where.paint("strong", f"Python {answer['python']}, {len(answer['packages'])} packages:"))
    return lines + [f"    {one['name']} {one['version']}" for one in answer["packages"]]


def outdated_lines(answer: dict[str, Any], where: Screen) -> list[str]:
    """Each package of which there is a newer version, and how to get those."""
    found, file = answer["outdated"], answer.get("file") or "model/requirements.txt"
    if not found:
        return [where.paint("good", "● every package is the newest one of its index")]
    lines = [f"    {one['name']} {one['version']} → {one['latest']}" for one in found]
    count = "1 package is" if len(found) == 1 else f"{len(found)} packages are"
    asked = ("strong", f"kaosctl add {answer['name']} 'PACKAGE==VERSION'")
    head = where.paint("strong", f"{count} older than in the package index:")
    return [head, *lines, *where.flow([("dim", f"to ask for one in {file}:"), asked], 4)]


def add(name: str, packages: list[str], *, as_json: bool = False) -> int:
    """Write requirements into the environment file in use, and say what became of each."""
    answer = Client().post(notebook_path(name, "add"), {"packages": packages})
    command_output.tell(answer, added_lines(name, answer, command_output.here()), as_json=as_json)
    return 0


def added_lines(name: str, answer: dict[str, Any], where: Screen) -> list[str]:
    """What was written, and what was there already."""
    lines = [where.paint("good", f"● {answer['file']}: added {text}") for text in answer["added"]]
    lines += [where.paint("good", f"● {answer['file']}: {one['from']} is now {one['to']}") for one in answer["changed"]]
    lines += [where.paint("", f"  {answer['file']} has it already: {text}") for text in answer["there"]]
    if answer["added"] or answer["changed"]:
        lines += where.flow(
            [("dim", "    the environment is built now; to follow it:"), ("strong", f"kaosctl wait {name}")], 4
        )
    return lines
