"""Why uv failed, as one sentence that names the package and the line of the requirements file.

A pure function from what uv printed and the texts of the requirements files; its rules are tried in order, and the
last one always answers. Tested as a table of uv's real outputs.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kaosd.declared import RequirementLine, lines, name_of
from kaosd.engines.process.server import normalize

MAIN = "requirements.txt"
_REQUIRED = re.compile(r"(?:[Bb]ecause|and) you require (.+?)(?:, we can conclude|\n\s*And |$)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Blame:
    """What failed. line: 1-based, in the file *path* of the bundle; None when no line is to blame.

    transient: nothing is wrong with the requirements; the same attempt can succeed later.
    """

    sentence: str
    line: int | None = None
    path: str = ""
    hint: str = ""
    transient: bool = False

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.line is not None else ""
        return where + self.sentence


@dataclass(frozen=True, slots=True)
class Requirement:
    """One line of a file that asks for something; name is normalized, "" for paths and addresses.

    path: of the file in the bundle.
    """

    path: str
    line: int
    name: str
    text: str


def blame(output: str, files: Mapping[str, str], root: str = "model", asked: Iterable[Requirement] = ()) -> Blame:
    """Say what is wrong, given uv's *output* and the requirements *files* by the name that uv was given.

    root: the directory of the bundle in which uv ran. asked: what is asked for, where other files say so.
    """
    wanted = list(asked) or [one for path, text in files.items() for one in read(path, text, root)]
    for rule in _RULES:
        if (found := rule(output, wanted)) is not None:
            return found
    return _syntax(output, files, root) or _fallback(output)


def read(path: str, text: str, root: str = "model") -> list[Requirement]:
    """The lines of a requirements file that ask for something; *path* as seen from *root*, a directory of a bundle."""
    shown = _shown(path, root)
    wanted = (line for line in lines(text) if line.option in ("", "--editable"))
    return [Requirement(shown, line.number, *_named(line)) for line in wanted]


def _named(line: RequirementLine) -> tuple[str, str]:
    """Name and text of a requirement, without its options."""
    text = re.split(r"\s+--", line.value)[0]
    return (name_of(text), text) if not line.option else ("", f"-e {text}")


def _disk_full(output: str, _wanted: list[Requirement]) -> Blame | None:
    match = re.search(r"No space left on device|Disk quota exceeded", output)
    if match is None:
        return None
    return Blame("the disk is full", hint="free some space; uv cache prune may help", transient=True)


def _network(output: str, wanted: list[Requirement]) -> Blame | None:
    if re.search(r"network was disabled", output):
        return Blame(
            "uv is set to work offline, and a package is not in its cache", hint="unset UV_OFFLINE", transient=True
        )
    unreachable = r"error sending request|dns error|tcp connect error|operation timed out|HTTP status server error"
    if not re.search(unreachable + r"|unable to access '|Could not resolve host", output):
        return None
    address = re.search(r"(?:Failed to fetch: |for url \(|unable to access ')\w+://(?:[^@/\s]*@)?([^/\s')]+)", output)
    reason = _last_cause(output)
    place = _by_text(address[1], wanted) if address else None
    sentence = f"{address[1] if address else 'the package index'} cannot be reached: {reason}"
    return _at(place, sentence, hint="check the network, the proxy and the address of the index", transient=True)


def _not_there(output: str, wanted: list[Requirement]) -> Blame | None:
    """A file, an address or a repository that a requirement names directly."""
    missing = re.search(r"Distribution not found at: (\S+)", output)
    if missing and (place := next((one for one in wanted if one.name and missing[1] in one.text), None)) is not None:
        sentence = f"{place.name} is asked for by a path of the machine where the file was made: {missing[1]}"
        return _at(place, sentence, hint=f"write its version instead, for example {place.name}==1.0")
    if missing:
        name = missing[1].rstrip("/").rpartition("/")[2]
        hint = "files that a requirement installs belong to environment_inputs"
        return _at(_by_text(name, wanted), f"{name} is not among the environment inputs", hint=hint)
    refused = re.search(r"HTTP status client error \((\d+ [^)]+)\) for url \((\S+?)\)", output)
    if refused:
        return _at(_by_text(refused[2], wanted), f"{_public(refused[2])} answered {refused[1]}")
    if "Git operation failed" in output:
        address = re.search(r"(?:Updating|fetch .*') ?'?(\w+://[^\s']+)", output)
        place = _by_text(address[1], wanted) if address else None
        return _at(place, f"git cannot get it: {_last_line(output)}")
    return None


def _hash(output: str, wanted: list[Requirement]) -> Blame | None:
    match = re.search(r"Hash mismatch for `([^`]+)`", output)
    return _at(_of(match[1], wanted), f"{match[1]} does not have the hash that is asked for") if match else None


def _build_backend(output: str, wanted: list[Requirement]) -> Blame | None:
    """A source distribution that does not build: its own words, not the traceback above them."""
    if "build backend returned an error" not in output and "Failed to build `" not in output:
        return None
    match = re.search(r"Failed to build `([^`]+)`", output)
    place = _of(match[1], wanted) if match else next((one for one in wanted if not one.name), None)
    what = match[1] if match else place.text if place else "a package"
    said = re.search(r"\[stderr\]\n(.*?)(?=\n\S|\Z)", output, re.DOTALL)
    lines = [line.strip() for line in said[1].split("\n") if line.strip()] if said else []
    errors = [line for line in lines if re.match(r"(?:[\w.]+(?:Error|Exception|Requirement): |.*\berror: )", line)]
    reason = errors[-1] if errors else lines[0] if lines else _last_cause(output)
    hints = [hint for hint in re.findall(r"^hint: (.+)", output, re.MULTILINE) if "Build failures usually" not in hint]
    hint = hints[0] if hints else "the build log has the rest; a version with a wheel for this Python need not be built"
    return _at(place, f"{what} does not build: {reason}", hint=hint)


def _resolution(output: str, wanted: list[Requirement]) -> Blame | None:
    if "No solution found" not in output:
        return None
    proof = re.split(r"\n\nhint:", output)[0]
    return (
        _absent(proof, wanted)
        or _no_version(proof, wanted)
        or _no_python(proof, output, wanted)
        or _conflict(proof, wanted)
    )


def _absent(proof: str, wanted: list[Requirement]) -> Blame | None:
    match = re.search(r"([\w.-]+) was not found in (?:the package registry|the provided package locations)", proof)
    if match is None:
        return None
    place, sentence = _of(match[1], wanted), f"there is no package {match[1]}"
    if place is None and (places := _required(proof, wanted)[0]):
        place, sentence = places[-1], f"{sentence}, which {places[-1].text} needs"
    return _at(place, sentence, hint="check its spelling; a package of an index of your own needs --index-url")


def _no_version(proof: str, wanted: list[Requirement]) -> Blame | None:
    """Only where that is the whole proof; within a longer one it is a step towards a conflict."""
    if proof.count("we can conclude") > 1:
        return None
    match = re.search(r"you require (.+?), we can conclude", proof)
    none, only = re.search(r"no versions? of ", proof), re.search(r"only (.+?) (?:is|are) available", proof, re.DOTALL)
    if match is None or not (none or only):
        return None
    there_is = f": there is only {' '.join(only[1].split())}" if only else ""
    return _at(_of(match[1], wanted), f"no version satisfies {match[1]}{there_is}")


def _no_python(proof: str, output: str, wanted: list[Requirement]) -> Blame | None:
    """A version that exists, but not for the Python of this environment."""
    needs = re.search(r"(?:and|Because) (\S+) depends on Python(\S+?),?(?: and|,| we| does|$)", proof)
    have = re.search(r"(?:current|requested) Python version \((?:>=)?([\d.]+)\)", proof)
    if needs and have:
        sentence = f"{needs[1]} needs Python {needs[2]}, and this environment has {have[1]}"
        return _at(_of(needs[1], wanted), sentence, hint="runtime.txt chooses the Python, for example python-3.12")
    wheel = re.search(r"(\S+) has no (?:usable )?wheels?(?: with a matching (.+?))?(?: and |, )", proof)
    if wheel is None:
        return None
    sentence, hint = f"{wheel[1]} has no wheel for the Python of this environment", ""
    tags = re.search(r"Python ABI tags?: (.+)", output)
    versions = re.findall(r"`cp(\d)(\d+)", tags[1]) if tags else []
    if found := sorted({(int(major), int(minor)) for major, minor in versions}):
        first, last = (".".join(map(str, version)) for version in (found[0], found[-1]))
        sentence += f", only for Python {first}" + (f" to {last}" if last != first else "")
        hint = f"ask for a newer version, or for Python {last} (runtime.txt: python-{last})"
    return _at(_of(wheel[1], wanted), sentence, hint=hint)


def _conflict(proof: str, wanted: list[Requirement]) -> Blame:
    """Requirements that exclude each other; the last one in the file is blamed, the others are named."""
    places, foreign = _required(proof, wanted)
    if not places:
        return Blame(_last_line(proof))
    last, others = places[-1], places[:-1]
    against = [f"{other.text} of {_line_of(other, last)}" for other in others]
    against += [f"{name}, which the host itself needs" for name in foreign if not others]
    if not against:
        return _at(last, f"{last.text} cannot be satisfied: {_last_line(proof)}")
    step = re.search(r"(?:Because|because|and) (\S+) depends on (\S+?),? (?:and|we)", proof)
    why = f" ({step[1]} needs {step[2]})" if step and others and _of(step[1], others) else ""
    return _at(last, f"{last.text} contradicts {' and '.join(against)}{why}")


def _required(proof: str, wanted: list[Requirement]) -> tuple[list[Requirement], list[str]]:
    """Lines that the proof says are required, in the order of the file, and what is required but not in a file."""
    specs = [
        spec for part in _REQUIRED.findall(proof) for spec in re.split(r",? and |, (?=\w)", " ".join(part.split()))
    ]
    names = {normalize(match[0]): spec for spec in specs if (match := re.match(r"[A-Za-z0-9._-]+", spec))}
    places = [one for one in wanted if one.name in names]
    return places, [spec for name, spec in names.items() if all(one.name != name for one in places)]


def _syntax(output: str, files: Mapping[str, str], root: str) -> Blame | None:
    """What cannot be read: uv tells line and column, or a position in bytes, of included files last."""
    place = re.search(r"error: (.+): ([^\s:]+):(\d+):\d+\s*$", output, re.MULTILINE)
    if place:
        return Blame(place[1], int(place[3]), _shown(place[2], root))
    found = re.findall(r"in `([^`]+)` at position (\d+)(?=\n  cause: (.+(?:\n {9}.+)?))", output)
    if not found:
        return None
    path, position, said = found[-1]
    before = files.get(path, "").encode("utf-8", "surrogateescape")[: int(position)]
    line = before.count(b"\n") + 1
    reason, _, text = said.partition("\n")
    return Blame(f"{text.strip()!r} cannot be read: {reason}" if text else reason, line, _shown(path, root))


def _shown(path: str, root: str) -> str:
    return posixpath.normpath(posixpath.join(root, path))


def _fallback(output: str) -> Blame:
    match = re.search(r"^error: (.+)", output, re.MULTILINE)
    first, last = match[1] if match else "", _last_cause(output)
    return Blame(f"uv failed: {first}: {last}" if first and first != last else f"uv failed: {last or 'without a word'}")


def _at(place: Requirement | None, sentence: str, *, hint: str = "", transient: bool = False) -> Blame:
    if place is None:
        return Blame(sentence, hint=hint, transient=transient)
    return Blame(sentence, place.line, place.path, hint, transient)


def _of(spec: str, wanted: list[Requirement]) -> Requirement | None:
    """The line that asks for the package of *spec*: the very spec if there is one, else the first of that name."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", spec)
    named = [one for one in wanted if match and one.name == normalize(match[0])]
    exact = [one for one in named if one.text.replace(" ", "").lower() == spec.replace(" ", "").lower()]
    return next(iter(exact or named), None)


def _by_text(part: str, wanted: list[Requirement]) -> Requirement | None:
    return next((one for one in wanted if part in one.text), None)


def _line_of(other: Requirement, one: Requirement) -> str:
    return f"line {other.line}" if other.path == one.path else f"{other.path}:{other.line}"


def _last_cause(output: str) -> str:
    causes = re.findall(r"^ +cause: (.+)", output, re.MULTILINE)
    return causes[-1] if causes else _last_line(output)


def _last_line(output: str) -> str:
    return next((line.strip() for line in reversed(output.split("\n")) if line.strip()), "")


def _public(address: str) -> str:
    """An address without the credentials that it may hold."""
    return re.sub(r"//[^@/]*@", "//", address)


_RULES: tuple[Callable[[str, list[Requirement]], Blame | None], ...] = (
    _disk_full,
    _network,
    _not_there,
    _hash,
    _build_backend,
    _resolution,
)
