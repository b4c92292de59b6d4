"""A Dockerfile: what it needs, its labels, and what its build said as one sentence with the line to fix. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaosd.errors import BuildFailed, EngineUnavailable

STEP = re.compile(r"step (\d+)/(\d+)\s*: (.*)", re.IGNORECASE)
_PARSE = re.compile(r"(?:dockerfile )?parse error (?:on )?line (\d+): (.*)", re.IGNORECASE)
_NO_IMAGE = re.compile(
    r"manifest unknown|manifest for .* not found|pull access denied|repository does not exist|name unknown"
    r"|no such image|invalid reference format|short-name .* did not resolve|requested access to the resource is denied"
    r"|reading manifest",
    re.IGNORECASE,
)
_NO_REGISTRY = re.compile(
    r"dial tcp|no such host|connection refused|timeout|timed out|TLS handshake|server misbehaving|: EOF"
    r"|pinging container registry|x509|proxyconnect|unreachable|context deadline",
    re.IGNORECASE,
)
_NO_NETWORK = re.compile(
    r"Temporary failure (?:in name resolution|resolving)|Failed to establish a new connection|ReadTimeoutError"
    r"|NewConnectionError|Connection timed out|Could not resolve host",
)
_SAYS_WHY = re.compile(r"\s*(?:ERROR|error|E|fatal|Error|npm ERR!)\s?:\s*(.*\S)")
_SHOWN = 80  # characters of an instruction
# What only BuildKit reads, by instruction; https://docs.docker.com/reference/dockerfile
_BUILDKIT = re.compile(
    r"(?:RUN\s+(?:--\S+\s+)*(?P<run>--(?:mount|network|security))"
    r"|(?:COPY|ADD)\s+(?:--\S+\s+)*(?P<copy>--(?:link|chmod|parents|exclude|keep-git-dir|checksum)))",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(r"(?<!<)<<(?P<tabs>-?)(?P<quote>[\"']?)(?P<end>[A-Za-z_]\w*)(?P=quote)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: the line (from 1) where it starts, its text with all continuations, the line where it ends.

    document: a here-document follows, whose lines are not instructions.
    """

    line: int
    text: str
    last: int
    document: bool = False

    @property
    def place(self) -> str:
        """Where it is and how it starts, for people."""
        shown = self.text if len(self.text) <= _SHOWN else self.text[: _SHOWN - 1] + "…"
        return f"Dockerfile:{self.line}: {shown}"


def instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, in their order; comments and blank lines are none."""
    lines = text.splitlines()
    found: list[Instruction] = []
    parts: list[str] = []
    begin = number = 0
    while number < len(lines):
        stripped = lines[number].strip()
        number += 1
        if not stripped or stripped.startswith("#"):
            continue
        begin = begin or number
        goes_on = stripped.endswith("\\")
        parts.append(stripped.removesuffix("\\").strip() if goes_on else stripped)
        if not goes_on:
            end = _end_of_documents(lines, number, " ".join(parts))
            found.append(Instruction(begin, " ".join(parts), end, document=end > number))
            parts, begin, number = [], 0, end
    return [*found, Instruction(begin, " ".join(parts), begin)] if parts else found


def _end_of_documents(lines: Sequence[str], number: int, instruction: str) -> int:
    """The last line of the here-documents of an instruction that ends at line *number*; that itself for none."""
    if not re.match(r"(?:RUN|COPY|ADD)\s", instruction, re.IGNORECASE):
        return number
    end = number
    for one in _DOCUMENT.finditer(instruction):
        ends = [
            at for at in range(end, len(lines)) if (lines[at].lstrip("\t") if one["tabs"] else lines[at]) == one["end"]
        ]
        end = ends[0] + 1 if ends else end
    return end


def refuse_buildkit(text: str) -> None:
    """Raise BuildFailed for what Docker builds only by BuildKit, which its API has no part for."""
    for one in instructions(text):
        found = _BUILDKIT.match(one.text)
        if found or one.document:
            what = found["run"] or found["copy"] if found else "a here-document"
            raise BuildFailed(
                f"{one.place}: {what} needs BuildKit, which kaosd does not use",
                hint="write the instruction without it, or use Podman",
            )


def labelled(text: str, labels: Mapping[str, str]) -> str:
    """*text* with *labels* at the start of each stage, so that each layer has them, also those of a failed build."""
    words = " ".join(f"{name}={value}" for name, value in labels.items())
    lines = text.splitlines()
    for line in reversed(_ends_of_from(text)):
        lines.insert(line, f"LABEL {words}")
    return "\n".join(lines) + "\n"


def _ends_of_from(text: str) -> list[int]:
    return [one.last for one in instructions(text) if re.match(r"FROM\s", one.text, re.IGNORECASE)]


def _unlabelled_line(text: str, number: int) -> int:
    """The line of *text* that stands at *number* in labelled(text)."""
    return number - sum(end + before < number for before, end in enumerate(_ends_of_from(text)))


def failure(dockerfile: str, output: Sequence[str], message: str) -> BuildFailed | EngineUnavailable:
    """What a build means that ended with *message* after the lines of *output*."""
    if "no space left on device" in (message + "".join(output[-20:])).lower():
        return EngineUnavailable(
            "the disk of the container engine is full", hint="free some space, for example: docker system prune"
        )
    parse = _PARSE.search(message)
    if parse is not None:
        return BuildFailed(f"Dockerfile:{_unlabelled_line(dockerfile, int(parse[1]))}: {parse[2]}")
    number = next((i for i in range(len(output) - 1, -1, -1) if STEP.search(output[i])), None)
    step = STEP.search(output[number]) if number is not None else None
    if number is None or step is None:
        at = instructions(dockerfile)
        return _of_step(at[0] if at else Instruction(1, "", 1), [], message)
    return _of_step(_find(dockerfile, int(step[1]), step[3]), output[number + 1 :], message)


def named(dockerfile: str, origins: Mapping[int, str], said: str) -> str:
    """*said*, with the line of an instruction in a generated Dockerfile replaced by its origin."""
    for one in instructions(dockerfile):
        if said.startswith(one.place):
            return (origins.get(one.line) or one.text) + said[len(one.place) :]
    return said


def _find(dockerfile: str, number: int, text: str) -> Instruction:
    """The instruction of a step: the one with its text, else the one of its number."""
    known = instructions(dockerfile)
    same = [one for one in known if _plain(one.text) == _plain(text)]
    if same:
        return same[0]
    end = len(dockerfile.splitlines()) or 1
    return known[number - 1] if 0 < number <= len(known) else Instruction(end, text, end)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("\\", " ")).strip().lower()


def _of_step(at: Instruction, output: Sequence[str], message: str) -> BuildFailed | EngineUnavailable:
    where = at.place
    words = at.text.split()
    if words and words[0].upper() == "FROM":
        return _of_base(where, words, message)
    network = next((line for line in output if _NO_NETWORK.search(line)), None)
    if network is not None:
        return EngineUnavailable(f"{where}: the network failed: {network.strip()[:200]}")
    why = _last_words(output)
    if why is None or words[0].upper() not in ("RUN",):
        why = message.strip().splitlines()[-1] if message.strip() else "failed"
    return BuildFailed(f"{where}: {why[:300]}")


def _of_base(where: str, words: Sequence[str], message: str) -> BuildFailed | EngineUnavailable:
    image = next((word for word in words[1:] if not word.startswith("--")), "")
    if _NO_IMAGE.search(message) and not _NO_REGISTRY.search(message):
        return BuildFailed(
            f"{where}: there is no image {image}", hint="check its name; a private one needs `docker login` first"
        )
    if _NO_REGISTRY.search(message):
        return EngineUnavailable(f"{where}: the registry of {image} cannot be reached: {message.strip()[-200:]}")
    return BuildFailed(f"{where}: {message.strip()[:300]}")


def _last_words(output: Sequence[str]) -> str | None:
    """The line by which a program says why it ended."""
    lines = [line.strip() for line in output if line.strip() and not line.startswith(" --->")]
    said = [match[1] for line in lines if (match := _SAYS_WHY.match(line))]
    quiet = [line for line in lines if not re.match(r"Removing intermediate|The command |\[notice\]|WARNING", line)]
    return said[-1] if said else quiet[-1] if quiet else None
