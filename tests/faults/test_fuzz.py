"""Properties of what takes in words from outside: whatever comes, it is taken, or refused in a sentence.

The API is fuzzed from its own table of routes, so that a new route is fuzzed as well.
"""

from __future__ import annotations

import json
import os
import re
import string
import tempfile
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaosd import settings as settings_
from kaosd.api.request_checks import parse
from kaosd.api.request_table import ROUTES
from kaosd.bundle import Matcher, mass_change
from kaosd.bundle.read_file import leaves
from kaosd.bundle.tree import Entry, decode, encode
from kaosd.display import printable
from kaosd.engines.pachyderm.names import MANIFEST, in_kubernetes, names_of, refused_because
from kaosd.errors import BundleError, ConfigError, KaosError
from kaosd.journal import Intent, Live, rows
from kaosd.model import NAME_MAX, Version, check_name, parse_memory
from kaosd.settings.schema import NotebookTable
from kaosd.stage_logs import split_line, stamp
from tests.faults.daemon import Struck

FUZZ = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


ANY = st.text(st.characters(codec=None), max_size=60)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY.filter(_is_utf8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(string.ascii_letters, max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
FIELDS = st.sampled_from([*NotebookTable.model_fields, "force", "now", "to", "timeout", "x"])


def is_a_sentence(error: KaosError) -> bool:
    """One line that a person can read."""
    said = str(error)
    return bool(said.strip()) and printable(said) == said and "Traceback" not in said


# -- the API -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api() -> Any:
    """A daemon without notebooks."""
    place = Path(tempfile.mkdtemp(prefix="kz"))
    daemon = Struck(place)
    daemon.start()
    yield daemon
    daemon.close()


def _target(path: str, name: str, query: dict[str, str]) -> str:
    filled = re.sub(r"\{name:[^}]*\}", lambda _: quote(name, safe=""), path)
    return filled + ("?" + urlencode(query) if query else "")


@FUZZ
@given(
    route=st.sampled_from([route for route in ROUTES if route.path != "/v1/stop"]),
    name=st.sampled_from(["nobody", "..", "", "x" * 50, "a b"]) | ANY.filter(_is_utf8),
    query=st.dictionaries(
        st.sampled_from(["after", "timeout", "path", "lines", "deploy", "stage", "y"]),
        ANY.filter(_is_utf8) | st.sampled_from(["-1", "1", "nan", "1e400", "/etc", "0"]),
        max_size=3,
    ),
    body=st.dictionaries(FIELDS, JSON, max_size=5),
)
def test_every_answer_is_json_and_no_request_is_a_bug(
    api: Struck, route: Any, name: str, query: dict[str, str], body: dict[str, Any]
) -> None:
    if "timeout" in query:
        query["timeout"] = "0"
    body.pop("timeout", None)
    sent = None if route.method == "GET" else body
    answer = api.ask(route.method, _target(route.path, name, query), sent, patience=30)
    assert isinstance(answer, dict)
    assert answer.get("code") != "bug", (route, answer, api.output())
    if "status" in answer and "title" in answer:
        assert 400 <= answer["status"] < 500 or answer["status"] == 503, answer
        assert "Traceback" not in json.dumps(answer)
    registered = [one["name"] for one in api.ask("GET", "/v1/status")["notebooks"]]
    for one in registered:  # a request that was fine after all
        api.ask("DELETE", f"/v1/notebooks/{one}")


@FUZZ
@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_a_body_is_an_object_or_refused(body: bytes) -> None:
    try:
        found = parse(body)
    except KaosError as error:
        assert is_a_sentence(error)
    else:
        assert isinstance(found, dict)


# -- settings ----------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(
    [
        "1",
        "-1",
        "0",
        "true",
        '"x"',
        '"4Gi"',
        "[]",
        "{}",
        "1e400",
        "nan",
        '"/tmp"',
        '"\\u0000"',
        "[1, 2]",
        "1979-05-27",
        '"' + "x" * 300 + '"',
    ]
)
KEYS = st.sampled_from(
    [
        "engine",
        "keep_versions",
        "max_backoff",
        "socket",
        "state_dir",
        "front.port",
        "watch.quiet",
        "watch.mode",
        "log.level",
        "pass_environment",
        "stop_grace",
        "nonsense",
        "front",
        "watch",
    ]
)
TABLE = st.lists(
    st.tuples(
        st.sampled_from([*NotebookTable.model_fields, "cpus"]),
        VALUES,
    ),
    max_size=4,
)


@FUZZ
@given(
    top=st.lists(st.tuples(KEYS, VALUES), max_size=4),
    tables=st.lists(TABLE, max_size=2),
    noise=st.sampled_from(["", "\x00", "[[", "= =", "\ufeff", "x = '\x1b[2J'\n"]) | ANY.filter(_is_utf8),
    noisy=st.booleans(),
)
def test_a_configuration_is_taken_or_refused_in_a_sentence_with_its_line(
    tmp_path: Path, top: list[tuple[str, str]], tables: list[list[tuple[str, str]]], noise: str, noisy: bool
) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in top) + (noise if noisy else "")
    text += "".join("\n[[notebook]]\n" + "".join(f"{key} = {value}\n" for key, value in table) for table in tables)
    path = tmp_path / "kaosd.toml"
    path.write_bytes(text.encode())
    environ = {"HOME": "/home/ada", "XDG_RUNTIME_DIR": "/run/user/1"}  # short, whatever pytest makes
    try:
        found = settings_.load(path, environ)
    except ConfigError as error:
        assert is_a_sentence(error), error
        assert str(path) in str(error) or "KAOSD_" in str(error), error
    else:
        names = [spec.name for spec in found.notebooks]
        assert len(set(names)) == len(names)
        assert all(check_name(name) == name for name in names)


@FUZZ
@given(ANY)
def test_a_name_is_safe_in_paths_and_addresses_or_refused(name: str) -> None:
    try:
        check_name(name)
    except ConfigError as error:
        assert is_a_sentence(error) or not _is_utf8(name)
    else:
        assert len(name) <= NAME_MAX
        assert set(name) <= set(string.ascii_letters + string.digits + "-_")
        assert name[0] in string.ascii_letters + string.digits


@FUZZ
@given(ANY | st.from_regex(r"[0-9.]{1,25}[kKMGTPi]{0,3}", fullmatch=True))
def test_a_quantity_is_positive_or_refused(text: str) -> None:
    try:
        assert parse_memory(text) > 0
    except ConfigError as error:
        assert is_a_sentence(error) or not _is_utf8(text)


@FUZZ
@given(st.integers(1, 10**12), st.sampled_from(["", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"]))
def test_a_whole_quantity_is_its_number_times_its_factor(number: int, unit: str) -> None:
    factor = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15} | {
        f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", 1)
    }
    assert parse_memory(f"{number}{unit}") == pytest.approx(number * factor[unit], rel=1e-12)


# -- bundles -----------------------------------------------------------------------------------------------------------


@FUZZ
@given(
    rules=st.binary(max_size=80)
    | st.lists(st.text("ab*?![]/\\ #.-", max_size=10), max_size=6).map(lambda r: "\n".join(r).encode()),
    path=st.lists(
        st.binary(min_size=1, max_size=6).map(lambda b: b.replace(b"/", b"_").replace(b"\0", b"_")),
        min_size=1,
        max_size=4,
    ),
    is_dir=st.booleans(),
)
def test_rules_judge_every_path_and_say_the_same_twice(
    tmp_path: Path, rules: bytes, path: list[bytes], is_dir: bool
) -> None:
    (tmp_path / ".kaosignore").write_bytes(rules)
    try:
        matcher = Matcher.load(tmp_path, (".kaosignore",))
    except BundleError as error:
        assert is_a_sentence(error)
        return
    whole = b"/".join(path)
    verdict = matcher.explain(whole, is_dir)
    assert verdict.ignored == matcher.ignored(whole, is_dir)
    if verdict.ignored:
        below = matcher.ignored(whole + b"/below", False)
        assert below or not is_dir, "nothing below an ignored directory counts"


@FUZZ
@given(
    depth=st.integers(0, 3),
    parts=st.lists(st.sampled_from([b"..", b".", b"", b"a", b"..a", b"\xff"]), min_size=1, max_size=7),
    absolute=st.booleans(),
)
def test_a_link_that_is_taken_never_leads_out(depth: int, parts: list[bytes], absolute: bool) -> None:
    inside = b"/".join([b"d"] * depth)
    target = (b"/" if absolute else b"") + b"/".join(parts)
    if leaves(inside, target) is None and target:
        top = "/top"
        led = os.path.normpath(os.path.join(top, os.fsdecode(inside), os.fsdecode(target)))
        assert led == top or led.startswith(top + "/")


@FUZZ
@given(
    st.dictionaries(
        st.binary(min_size=1, max_size=12).filter(
            lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
        ),
        st.tuples(st.sampled_from("fxld"), st.binary(min_size=32, max_size=32), st.integers(0, 2**60)),
        max_size=6,
    )
)
def test_a_directory_node_comes_back_as_it_was(entries: dict[bytes, tuple[Any, bytes, int]]) -> None:
    node = tuple(
        sorted(
            Entry(name, kind, digest.hex(), 0 if kind == "d" else size)
            for name, (kind, digest, size) in entries.items()
        )
    )
    assert decode(encode(node)) == node


@FUZZ
@given(st.binary(max_size=120))
def test_bytes_that_are_no_directory_node_are_told_apart(data: bytes) -> None:
    try:
        node = decode(data)
    except ValueError:
        return
    assert encode(node) == data


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_guard_is_asked_exactly_when_more_than_half_is_gone(before: int, after: int) -> None:
    asked = mass_change(before, after) is not None
    assert asked == ((before > 0 and after == 0) or (before >= 10 and after * 2 < before))


# -- names of Pachyderm -----------------------------------------------------------------------------------------------

# The rule as Pachyderm 2 documents and enforces it: printable ASCII, no glob characters, no "." and ".." elements.
PFS_PATH = re.compile(r"[ -~]+")
PFS_GLOB = set("*?[]{}!()@+^")
PIPELINE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{0,50}")
REPO = re.compile(r"[a-zA-Z0-9_-]+")
ELEMENT = st.binary(min_size=1, max_size=8) | st.text(" abc.~$%&;:,=#'\"\\\\+@!^(*[{", min_size=1, max_size=8).map(
    str.encode
)


@FUZZ
@given(
    st.lists(
        ELEMENT.filter(lambda e: b"/" not in e and b"\0" not in e and e not in (b".", b"..")), min_size=1, max_size=4
    )
)
def test_a_path_is_taken_exactly_when_pfs_takes_it(parts: list[bytes]) -> None:
    path = b"/".join(parts)
    text = path.decode("latin-1")
    documented = PFS_PATH.fullmatch(text) is not None and not PFS_GLOB & set(text) and path != MANIFEST.encode()
    assert (refused_because(path) is None) == documented


@FUZZ
@given(
    ANY | st.text(string.ascii_letters + string.digits + "-_", max_size=50),
    st.text(string.ascii_letters + "-_", max_size=55),
)
def test_the_parts_of_a_notebook_have_names_that_pachyderm_and_kubernetes_take(notebook: str, project: str) -> None:
    try:
        names = names_of(check_name(notebook), project)
    except ConfigError:
        return
    assert all(PIPELINE.fullmatch(pipeline) for pipeline in (names.build, names.host))
    assert all(REPO.fullmatch(repo) for repo in (names.source, names.data))
    assert len({names.build, names.host, names.source, names.data}) == 4
    assert all(len(f"{project}-{pipeline}-v99") <= 63 for pipeline in (names.build, names.host))
    assert len(f"{project}-{names.host}-v99-user") <= 63
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", in_kubernetes(project, names.host) + "-v1")


# -- text --------------------------------------------------------------------------------------------------------------


@FUZZ
@given(ANY)
def test_what_is_shown_is_one_printable_line(text: str) -> None:
    shown = printable(text)
    harmless = {"\t", "\u200d"}
    bad = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # controls, directions, halves of characters, line breaks
    assert not [each for each in shown if unicodedata.category(each) in bad and each not in harmless], repr(shown)
    shown.encode()


@FUZZ
@given(ANY, st.floats(0, 4e9))
def test_every_line_is_stamped_and_comes_back(text: str, at: float) -> None:
    lines = stamp(text, at).split("\n")
    given_lines = text.rstrip("\n").split("\n")
    assert len(lines) == len(given_lines)
    for line, given_line in zip(lines, given_lines, strict=True):
        found, rest = split_line(line)
        assert found == pytest.approx(at, abs=0.002)
        assert rest == printable(given_line.rstrip())


@FUZZ
@given(
    st.text(string.ascii_letters, min_size=1, max_size=10),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.booleans(),
    st.integers(0, 99),
)
def test_what_the_journal_holds_comes_back(root: str, digest: str, flag: bool, number: int) -> None:
    version = Version(root, digest)
    assert Version.parse(version.full) == version
    for value in (
        Live(source=version, syncing=digest, left=(digest,), attaching=flag, restarts=number),
        Intent(flag, version),
    ):
        assert rows.decode(type(value), rows.encode(value)) == value


@FUZZ
@given(JSON)
def test_a_row_of_something_else_is_an_error_with_a_sentence(value: Any) -> None:
    try:
        rows.decode(Live, json.dumps(value))
    except KaosError as error:
        assert str(error)
