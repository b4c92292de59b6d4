"""Which paths count: one table for `ignored` and for `explain`, held against git itself."""

from __future__ import annotations

import codecs
import os
import subprocess
from pathlib import Path

import pytest

from kaosd.bundle import Matcher, Verdict, walk
from kaosd.errors import BundleError

RULES = "\n".join(
    [
        "# what I do not want deployed",
        "*.log",
        "!keep.log",
        "/scratch/",
        "docs/**/draft",
        "out/**",
        "trailing\\ ",
        "weights-[0-9].bin",
        "!.venv/",
        "only-file",
    ]
)

# path, whether a directory, whether ignored, by which rule, of which origin or line
TABLE = [
    (b"model/train.py", False, False, None, None),
    (b"model/requirements.txt", False, False, None, None),
    (b".git", True, True, ".git", "built-in"),
    (b".git/index.lock", False, True, ".git", "built-in"),
    (b"model/.git", False, True, ".git", "built-in"),
    (b"model/__pycache__", True, True, "__pycache__", "built-in"),
    (b"model/__pycache__/train.cpython-311.pyc", False, True, "__pycache__", "built-in"),
    (b"model/__pycache__", False, False, None, None),
    (b"model/.ipynb_checkpoints/a.ipynb", False, True, ".ipynb_checkpoints", "built-in"),
    (b"model/.train.py.swp", False, True, ".*.sw[a-px]", "built-in"),
    (b"model/.train.py.swx", False, True, ".*.sw[a-px]", "built-in"),
    (b"model/4913", False, False, None, None),
    (b"model/train.py~", False, True, "*~", "built-in"),
    (b"model/.#train.py", False, True, ".#*", "built-in"),
    (b"model/#train.py#", False, True, "#*#", "built-in"),
    (b"model/#train.py", False, False, None, None),
    (b"model/.~a.ipynb", False, True, ".~*", "built-in"),
    (b"data/.~lock.table.ods#", False, True, ".~lock.*#", "built-in"),
    (b"model/tmpaB3xYz", False, True, "tmpXXXXXX", "built-in"),
    (b"model/sedR4nd0m", False, True, "sedXXXXXX", "built-in"),
    (b"model/tmpmodels", False, False, None, None),
    (b"model/tmpReport", False, False, None, None),
    (b"model/tmp202401", False, False, None, None),
    (b"model/sediments", False, False, None, None),
    (b"model/tmpaB3xYz", True, False, None, None),
    (b"model/train.py.1234567", False, True, "*.EDITABLE.NNNNNNN", "built-in"),
    (b"model/model.ckpt.1000000", False, False, None, None),
    (b"data/.nfs000000001", False, True, ".nfs*", "built-in"),
    (b"data/big.csv.part", False, False, None, None),
    (b"data/big.part", True, False, None, None),
    (b"data/big.csv.crdownload", False, False, None, None),
    (b".DS_Store", False, True, ".DS_Store", "built-in"),
    (b"node_modules/x/index.js", False, True, "node_modules", "built-in"),
    (b".kaosd-part", False, True, ".kaosd-*", "built-in"),
    (b"caf\xe9/\xff\xfe.py", False, False, None, None),
    (b"caf\xe9/\xff.pyc", False, True, "*.pyc", "built-in"),
    (b"a\nb.pyc", False, True, "*.pyc", "built-in"),
    (b"model/run.log", False, True, "*.log", 2),
    (b"model/\xff.log", False, True, "*.log", 2),
    (b"model/keep.log", False, False, "!keep.log", 3),
    (b"scratch", True, True, "/scratch/", 4),
    (b"scratch/deep/down.py", False, True, "/scratch/", 4),
    (b"scratch", False, False, None, None),
    (b"model/scratch", True, False, None, None),
    (b"docs/a/b/draft", False, True, "docs/**/draft", 5),
    (b"docs/draft/x", False, True, "docs/**/draft", 5),
    (b"out", True, False, None, None),
    (b"out/a", False, True, "out/**", 6),
    (b"trailing ", False, True, "trailing\\", 7),
    (b"weights-3.bin", False, True, "weights-[0-9].bin", 8),
    (b"weights-x.bin", False, False, None, None),
    (b".venv", True, False, "!.venv/", 9),
    (b".venv/pyvenv.cfg", False, False, None, None),
]  # fmt: skip


# what is in a data directory, whether it is left out, and by which rule
DATA = [
    (b"4913", None), (b"5036", None), (b"report~", None), (b"x.tmp", None), (b"part-0000.part", None), (b"core", None),
    (b"mod.pyc", None), (b"tmpA1b2C3", None), (b"sedR4nd0m", None), (b"a.py.1234567", None), (b"#a#", None),
    (b"set.crdownload", None), (b"disk.swp", None), (b".swp", None), (b".alone.swp", None), (b".#alone", None),
    (b".nfsrc", None), (b".nfs", None), (b".~x", None), (b".lock", None), (b"~$table.xlsx", None), (b".env", None),
    (b"__pycache__/a.pyc", None), (b"node_modules/a", None), (b".venv/a", None), (b".idea/a", None), (b"d/4913", None),
    (b".table.csv.swp", ".*.sw[a-px]"), (b".table.csv.swx", ".*.sw[a-px]"), (b"d/.deep.csv.swo", ".*.sw[a-px]"),
    (b".table.csv.kate-swp", ".*.kate-swp"), (b".#table.csv", ".#*"), (b".~lock.table.csv#", ".~lock.*#"),
    (b".nfs00000000018c0a5b00000001", ".nfs*"), (b".goutputstream-X1Y2Z3", ".goutputstream-*"),
    (b".DS_Store", ".DS_Store"), (b"Thumbs.db", "Thumbs.db"), (b".git/config", ".git"),
    (b".ipynb_checkpoints/a.csv", ".ipynb_checkpoints"),
]  # fmt: skip


def test_of_data_only_what_nothing_but_a_tool_makes_is_left_out(data, root, store):
    for path in (*(path for path, _ in DATA), b"table.csv", b"d/deep.csv"):
        full = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        Path(os.fsdecode(full)).write_text("x")
    scan = data.scan()
    found = {path for path, entry in walk(store, scan.tree) if entry.kind != "d"}
    assert found == {path for path, rule in DATA if rule is None} | {b"table.csv", b"d/deep.csv"}
    matcher = Matcher.load(root, data=True)
    assert [matcher.explain(path, is_dir=False).rule for path, _ in DATA] == [rule for _, rule in DATA]
    assert data.scan([path for path, _ in DATA]).version == scan.version


def test_a_rule_brings_back_what_is_left_out_of_data(root):
    (root / ".kaosignore").write_text("!.git/\n*~\n")
    matcher = Matcher.load(root, data=True)
    assert not matcher.ignored(b".git/config", is_dir=False)
    assert matcher.ignored(b"report~", is_dir=False)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_rule_file_is_read_by_its_byte_order_mark(tmp_path, encoding, end):
    text = f"*.csv{end}gr\u00f6\u00dfe{end}"
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else b""
    (tmp_path / ".kaosignore").write_bytes(mark + text.encode(encoding))
    matcher = Matcher.load(tmp_path)
    assert matcher.explain(b"big.csv", is_dir=False).line == 1
    assert matcher.explain("gr\u00f6\u00dfe".encode(), is_dir=False).line == 2


@pytest.mark.parametrize(
    "content", [b"\xff\xfe*\0.", b"*\0.\0c\0s\0v\0", "*.csv".encode("utf-16-be"), b"\xef\xbb\xbf\xff"]
)
def test_a_rule_file_that_is_no_text_is_refused_by_name(tmp_path, content):
    (tmp_path / ".kaosignore").write_bytes(content)
    with pytest.raises(BundleError, match=r"/\.kaosignore (is not|holds NUL).*; save it as UTF-8"):
        Matcher.load(tmp_path)


def test_names_in_a_rule_file_without_a_mark_may_be_any_bytes(tmp_path):
    (tmp_path / ".kaosignore").write_bytes(b"caf\xe9\n")
    assert Matcher.load(tmp_path).ignored(b"caf\xe9", is_dir=False)


@pytest.fixture
def ruled(tmp_path: Path) -> Path:
    (tmp_path / ".kaosignore").write_text(RULES)
    return tmp_path


@pytest.mark.parametrize(("path", "is_dir", "ignored", "rule", "origin"), TABLE)
def test_a_path_counts_and_why_says_the_same(ruled, path, is_dir, ignored, rule, origin):
    matcher = Matcher.load(ruled)
    expected = (
        Verdict(ignored, rule, str(ruled / ".kaosignore"), origin)
        if isinstance(origin, int)
        else Verdict(ignored, rule, origin)
    )
    assert matcher.explain(path, is_dir) == expected
    assert matcher.ignored(path, is_dir) is ignored


@pytest.mark.parametrize(("path", "is_dir"), [row[:2] for row in TABLE if not isinstance(row[4], int)])
def test_without_a_rule_file_only_the_built_in_rules_hold(tmp_path, path, is_dir):
    verdict = Matcher.load(tmp_path).explain(path, is_dir)
    assert verdict.ignored is (verdict.origin == "built-in")


PATHS = ["a", "b.log", "keep.log", "d/a", "d/b.log", "d/keep.log", "d/e/a", "d/e/keep.log", "logs/x", "logs/y.log"]
GIT_RULES = [
    "*.log\n!keep.log\n",
    "d/\n!d/e/\n",
    "d/*\n!d/e/\n",
    "*.log\n!logs/\n",
    "/*\n!/d\n",
    "/*\n!/d\nd/*\n!d/e\n",
    "d/**\n!d/keep.log\n",
    "**/e\n",
    "d/**/a\n",
    "[ab]\n!d/a\n",
    "\\!x\nlogs\n",
    "*\n!*/\n!*.log\n",
    "*\n!d\n!d/e\n",
    "/**\n!/a\n",
    "**\n",
    "*/\n",
    "?\n",
    "d/**/*.log\n",
]


@pytest.mark.parametrize("rules", GIT_RULES)
def test_rules_mean_what_git_takes_them_to_mean(tmp_path, rules):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    for path in PATHS:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    for name in (".gitignore", ".kaosignore"):
        (tmp_path / name).write_text(rules)
    listed = subprocess.run(
        ["git", "-C", tmp_path, "ls-files", "-o", "-z", "--exclude-standard"], check=True, capture_output=True
    )
    matcher = Matcher.load(tmp_path)
    counted = {path for path in PATHS if not matcher.ignored(path.encode(), is_dir=False)}
    assert counted == set(os.fsdecode(listed.stdout).split("\0")) & set(PATHS)


@pytest.mark.parametrize("line", ["!", "/", "\\", "[a", "[[:letter:]]", "a[/]b", "!a\\/"])
def test_a_broken_rule_is_named_with_file_and_line(tmp_path, line):
    (tmp_path / ".kaosignore").write_text(f"*.log\n\n{line}\n")
    with pytest.raises(BundleError, match=r"\.kaosignore, line 3: .* is not a valid rule"):
        Matcher.load(tmp_path)


def test_a_rule_file_that_is_no_file_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / ".kaosignore")
    with pytest.raises(BundleError, match="is not a file of ignore rules"):
        Matcher.load(tmp_path)


def test_several_rule_files_are_read_in_order(tmp_path):
    (tmp_path / ".kaosignore").write_text("*.bin\n")
    (tmp_path / ".dockerignore").write_text("!keep.bin\nnotes\n")
    matcher = Matcher.load(tmp_path, (".kaosignore", ".dockerignore"))
    assert matcher.ignored(b"x.bin", is_dir=False)
    assert not matcher.ignored(b"keep.bin", is_dir=False)
    assert matcher.explain(b"notes", is_dir=False).origin == str(tmp_path / ".dockerignore")
