"""Patterns mean what git takes them to mean, whatever they are, and no pattern takes long."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kaosd import globs
from kaosd.engines.docker import child

FILES = [
    b"a", b"b", b"ab", b"a.b", b"aXb", b"!a", b"#a", b"a ", b"a-b", b"]", b"[a]", b"a\\b", b"a*", b"\xc3\xa9", b"\xff",
    b"7", b"d/a", b"d/b", b"d/ab", b"d/a.b", b"d/e/a", b"d/e/b", b"d/e/ab", b"d/e/e/a", b"d/a b/a", b"e/d/e/b", b"ae/b",
    b"a\nb/a",
]  # fmt: skip
WORDS = ["a", "b", "d", "e", ".", "!", "#", " ", "-", "^", "\\", "[", "]", "*", "**", "?", "/", "é", "7",
         "[ab]", "[!a]", "[a-c]", "[[:alpha:]]", "[^[:digit:]]", "[]-]", "**/", "/**", "/**/", "\\*", "\\/",
         "\\ "]  # fmt: skip
# Before 2.41 git compares addresses to find out what this is (its commit "wildmatch: avoid undefined behavior").
UNDEFINED = re.compile(r"[^/*]\*\*+(?:\\?/|$)|\\\*\*")


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", top], check=True)
    for path in FILES:
        full = os.path.join(os.fsencode(top), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        Path(os.fsdecode(full)).touch()
    return top


def everything() -> list[tuple[bytes, bool]]:
    """Every path with whether it is a directory, parents first."""
    found = dict.fromkeys(FILES, False)
    for path in FILES:
        above = os.path.dirname(path)
        while above:
            found[above] = True
            above = os.path.dirname(above)
    return sorted(found.items())


def ignored_by_git(repository: Path, rules: bytes) -> set[bytes]:
    (repository / ".git/info/exclude").write_bytes(rules)
    asked = b"".join(path + b"\0" for path, _ in everything())
    told = subprocess.run(
        ["git", "-C", repository, "check-ignore", "--stdin", "-z"], input=asked, capture_output=True, check=False
    )
    assert told.returncode in (0, 1), told.stderr
    return {path for path in told.stdout.split(b"\0") if path}


def ignored_by_us(lines: list[bytes]) -> set[bytes]:
    rules = []
    for line in lines:
        try:
            rules.append(globs.gitignore(line))
        except ValueError:
            continue  # it can match nothing
    out: set[bytes] = set()
    for path, is_dir in everything():
        name = os.path.basename(path)
        hits = [rule.excludes for rule in rules if rule is not None and rule.matches(path, name, is_dir=is_dir)]
        if os.path.dirname(path) in out or (hits and hits[-1]):
            out.add(path)
    return out


lines = (
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=7)
    .map("".join)
    .filter(lambda line: not UNDEFINED.search(line))
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(lines, min_size=1, max_size=3))
@example(["**/e/**/a"])
@example(["d/**\\/a"])
@example(["/**/e", "!e"])
@example(["[z-a]"])
@example(["[a-\\c]b"])
@example(["[[:alpha:]-z]"])
@example(["[[:x]"])
@example(["a\\ ", "b  ", "\\ a"])
@example(["*a*b", "?*?"])
def test_a_pattern_means_what_it_means_to_git(repository, patterns):
    encoded = [os.fsencode(pattern) for pattern in patterns]
    assert ignored_by_us(encoded) == ignored_by_git(repository, b"\n".join(encoded) + b"\n")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        (b"x/a**/b", b"x/ac/b", True),  # as documented: other consecutive asterisks are regular ones
        (b"x/a**/b", b"x/a/c/b", False),
        (b"a**/b", b"ab", False),
        (b"x/a**", b"x/a/b", False),
    ],
)
def test_asterisks_beside_other_characters_are_one(pattern, path, matches):
    rule = globs.gitignore(pattern)
    assert rule.matches(path, os.path.basename(path), is_dir=False) is matches


LONG = b"a" * 4000
DEEP = b"/".join([b"ab" * 20] * 90)
HARD = [
    b"*a" * 60 + b"*b",
    b"**/" + b"*a" * 40 + b"*b",
    b"*?" * 100 + b"b",
    b"*[a-z]" * 60 + b"/b",
    b"**/a*" * 40 + b"/c",
    b"/**/*" * 80 + b"c",
    b"x*/" * 50 + b"c",
    b"**/*b/" * 60 + b"c",
    b"/" + b"**/" * 2000 + b"c",
    b"*" * 3000 + b"c",
    b"[" + b"a-z" * 900 + b"]*" * 300 + b"c",
]


@pytest.mark.parametrize("pattern", HARD)
@pytest.mark.parametrize("path", [LONG, DEEP, b"/".join([b"a" * 250] * 16), b"/".join([b"a"] * 2000)])
def test_no_pattern_takes_long(pattern, path):
    """A pattern that backtracks would hold the interpreter until the test's own limit of time."""
    rule = globs.gitignore(pattern)
    assert not rule.matches(path, path.rpartition(b"/")[2], is_dir=False)
    assert globs.dockerignore(pattern.strip(b"/")).match(path) is None


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.log", "a.log", True),
        ("*.log", "d/a.log", False),
        ("**/*.log", "d/e/a.log", True),
        ("**/*.log", "a.log", True),
        ("d/**", "d/e/a", True),
        ("d/**/a", "d/a", True),
        ("d/**/a", "d/e/e/a", True),
        ("**file", "d/file", True),
        ("d**", "deep/down", True),
        ("?.txt", "a.txt", True),
        ("?.txt", "/.txt", False),
        ("[ab].txt", "b.txt", True),
        ("[^ab].txt", "b.txt", False),
        ("a\\*", "a*", True),
        ("a\\*", "ab", False),
        ("[a", "[a", True),
        ("\udcff*", "\udcffx", True),
    ],
)
def test_a_pattern_for_the_build_context_means_what_docker_documents(pattern, path, matches):
    assert child.ignored(path, pattern) is matches


def test_the_build_context_is_chosen_by_these_patterns(tmp_path):
    from docker.utils.build import exclude_paths  # noqa: PLC0415 - as the child does, after it

    for name in ("a" * 200 + ".csv", "keep.csv", "train.py"):
        (tmp_path / name).touch()
    found: list[set[str]] = []
    patterns = ["*a*a*a*a*a*a*a*a*a*a*a*a*b", "*.csv", "!keep.csv"]
    asking = threading.Thread(target=lambda: found.append(exclude_paths(str(tmp_path), patterns)), daemon=True)
    asking.start()
    asking.join(60)
    assert found == [{"keep.csv", "train.py"}]
