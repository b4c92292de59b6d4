"""What an environment file asks for, by package: to read those that kaosd converts, and to compare two of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from kaosd.declared.pythons import table
from kaosd.declared.requirement_lines import name_of, pin_of

_CONDA_SPEC = re.compile(r"(?:[\w.-]+(?:/[\w-]+)?::)?([A-Za-z0-9_][A-Za-z0-9._-]*)\s*(.*)")
_YAML_MAX = 2**18  # characters; a larger one is not written by a person, and would take long to read
_OFFICIAL = "pypi"  # as pipenv calls it


class Malformed(ValueError):
    """A file that cannot be read; the text says why, after its name."""


@dataclass(frozen=True, slots=True)
class Conda:
    """An environment.yml: its channels, the specs of conda's packages, the lines of its pip section."""

    channels: tuple[str, ...]
    specs: tuple[str, ...]
    pip: tuple[str, ...]


def read_conda(text: str) -> Conda:
    """Read an environment.yml. Malformed says what is wrong with it."""
    import yaml  # noqa: PLC0415 - only a repository with such a file needs it

    if len(text) > _YAML_MAX:
        raise Malformed(f"is larger than {_YAML_MAX // 1024} KiB")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe ones
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise Malformed(f"is not YAML{where}: {getattr(error, 'problem', None) or 'it cannot be read'}") from error
    except (RecursionError, ValueError) as error:
        raise Malformed("is not YAML that can be read") from error
    if not isinstance(found, dict):
        raise Malformed("holds no dependencies" if found is None else "is not a mapping with dependencies")
    dependencies = found.get("dependencies") or []
    if not isinstance(dependencies, list):
        raise Malformed("has dependencies that are not a list")
    pip = [line for one in dependencies if isinstance(one, dict) for line in _texts(one.get("pip"))]
    specs = [str(one) for one in dependencies if isinstance(one, str | int | float)]
    return Conda(tuple(_texts(found.get("channels"))), tuple(specs), tuple(pip))


def _texts(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [value] if isinstance(value, str) else []


def conda_name(spec: str) -> tuple[str, str]:
    """The package and the version of a conda spec, "" for any."""
    match = _CONDA_SPEC.match(spec.strip())
    if match is None:
        return "", ""
    version = re.fullmatch(r"={1,2}\s*([0-9][^=\s*,|<>]*)(?:=.*)?", match[2].strip())
    return match[1].lower(), version[1] if version else ""


def pipfile_lines(text: str, groups: Iterable[str]) -> list[str]:
    """A Pipfile.lock as lines of a requirements file. Malformed says what is wrong with it.

    groups: "develop" and the like, besides "default".
    """
    lock = _json(text)
    found = list(_indexes(lock))
    for group in ("default", *groups):
        packages = lock.get("develop" if group in ("dev", "develop", "dev-packages") else group) or {}
        if not isinstance(packages, dict):
            raise Malformed(f"has a group {group!r} that is not a mapping")
        found += [_pipfile_line(name, value) for name, value in packages.items() if isinstance(value, dict)]
    return list(dict.fromkeys(found))


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise Malformed("is not a mapping")
    return found


def _indexes(lock: dict[str, Any]) -> Iterator[str]:
    """The indexes that it names; the official one is what this machine has configured, so that a mirror is used."""
    meta = lock.get("_meta")
    sources = meta.get("sources") if isinstance(meta, dict) else None
    for one in sources if isinstance(sources, list) else []:
        if isinstance(one, dict) and "url" in one and one.get("name") != _OFFICIAL:
            yield f"--extra-index-url {one['url']}"


def _pipfile_line(name: str, value: dict[str, Any]) -> str:
    extras = f"[{','.join(value['extras'])}]" if value.get("extras") else ""
    marker = f" ; {value['markers']}" if value.get("markers") else ""
    if "path" in value:
        return f"{'-e ' if value.get('editable') else ''}{_dotted(str(value['path']))}{extras}"
    if "git" in value:
        ref = f"@{value['ref']}" if value.get("ref") else ""
        inside = f"#subdirectory={value['subdirectory']}" if value.get("subdirectory") else ""
        return f"{name}{extras} @ git+{str(value['git']).removeprefix('git+')}{ref}{inside}{marker}"
    if "file" in value:
        return f"{name}{extras} @ {value['file']}{marker}"
    version = str(value.get("version", ""))
    hashes = "".join(f" --hash={one}" for one in value.get("hashes") or ())
    return f"{name}{extras}{'' if version == '*' else version}{marker}{hashes}"


def _dotted(path: str) -> str:
    return path if path.startswith((".", "/")) else f"./{path}"


def pyproject_asks(text: str, extras: Iterable[str], groups: Iterable[str]) -> list[str]:
    """The requirements of a pyproject.toml's project, with its *extras* and dependency *groups*."""
    project = table(text, "project")
    optional, by_group = project.get("optional-dependencies"), table(text, "dependency-groups")
    lists = [project.get("dependencies")]
    lists += [optional.get(extra) for extra in extras] if isinstance(optional, dict) else []
    lists += [by_group.get(group) for group in groups]
    return [one for entry in lists if isinstance(entry, list) for one in entry if isinstance(one, str)]


def asked(requirements: Iterable[str]) -> dict[str, str]:
    """By package, the one version that requirements allow, or "" where they allow more."""
    return {name: pin_of(one) for one in requirements if (name := name_of(one))}


def conda_asked(text: str) -> dict[str, str]:
    """The same of an environment.yml; nothing of one that cannot be read."""
    try:
        found = read_conda(text)
    except Malformed:
        return {}
    return dict(conda_name(spec) for spec in found.specs) | asked(found.pip)


def pipfile_asked(text: str) -> dict[str, str]:
    """The same of a Pipfile.lock."""
    try:
        return asked(pipfile_lines(text, ()))
    except (ValueError, TypeError):
        return {}
