"""Which names Pachyderm and Kubernetes take, and what the parts of a notebook are called there. Pure."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from kaosd.display import printable
from kaosd.errors import ConfigError, EngineError

MANIFEST = ".kaosd.json"  # in every repo of ours: a repo must never be empty, and it says what the commit holds
LABEL_MAX = 63  # of Kubernetes
PIPELINE_MAX = 51
_VERSION = "v99"
_REFUSED = re.compile(rb"[^\x20-\x7e]|[*?\[\]{}!()@+^]")
_PROJECT = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,50}")
SHOWN = 5  # names in a sentence


@dataclass(frozen=True, slots=True)
class PartNames:
    """What one notebook's parts are called. host, build, trial: pipelines. source, data: repos."""

    notebook: str
    source: str
    data: str
    build: str
    host: str
    trial: str


def names_of(notebook: str, project: str) -> PartNames:
    """The names for *notebook*; ConfigError when Kubernetes would not take what it makes of them."""
    if not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"pachyderm.project {project!r} is not a project of Pachyderm",
            hint="letters, digits, - and _, starting with a letter, at most 51 characters",
        )
    names = PartNames(notebook, *repos_of(notebook), f"build-{notebook}", notebook, f"try-{notebook}")
    longest = max(f"{project}-{notebook}-{_VERSION}-user", f"{project}-{names.build}-{_VERSION}", key=len)
    spare = min(LABEL_MAX - len(longest), PIPELINE_MAX - len(names.build))
    if spare < 0:
        raise ConfigError(
            f"the notebook name {notebook!r} in project {project!r} makes names that are too long for Kubernetes",
            hint=f"shorten one of them by {-spare} characters",
        )
    return names


def repos_of(notebook: str) -> tuple[str, str]:
    """What the repos of its source and its data are called."""
    return f"source-{notebook}", f"data-{notebook}"


def secret_of(notebook: str, token: str) -> str:
    """What the Kubernetes secret with this token is called; another token is another secret, so none ever changes."""
    plain = re.sub("[^a-z0-9]", "-", notebook.lower()).strip("-")
    return f"kaosd-{plain}-{hashlib.sha256(token.encode()).hexdigest()[:8]}"


def in_kubernetes(project: str, pipeline: str) -> str:
    """What Kubernetes objects of a pipeline start with; pipelines that share it disturb each other."""
    return f"{project}-{pipeline}".lower().replace("_", "-")


def refused_because(path: bytes) -> str | None:
    """Why PFS does not take a path as a bundle has it; None when it does."""
    bad = _REFUSED.search(path)
    if bad is None:
        return "is kaosd's own name" if path == MANIFEST.encode() else None
    character = bad[0].decode("ascii", "replace")
    return f"has {character}" if character.isprintable() and character.isascii() else "has a character outside ASCII"


def check_paths(paths: Iterable[bytes], repo: str) -> None:
    """EngineError that names the paths that PFS would refuse, before any byte of them is sent."""
    refused = [(path, why) for path in paths if (why := refused_because(path)) is not None]
    if not refused:
        return
    shown = ", ".join(f"{printable(os.fsdecode(path))} {why}" for path, why in refused[:SHOWN])
    more = f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else ""
    raise EngineError(
        f"Pachyderm does not take {len(refused)} file name{'s' if len(refused) > 1 else ''} for {repo}: {shown}{more}",
        hint="rename them or leave them out with .kaosignore; printable ASCII without * ? [ ] { } ! ( ) @ + ^ is taken",
    )
