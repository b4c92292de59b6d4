"""Which paths count: one table for `ignored` and for `explain`, held against git itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from kaosd.bundle import Matcher, Verdict
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
    (b"model/4913", False, True, "4913", "built-in"),
    (b"model/train.py~", False, True, "*~", "built-in"),
    (b"model/.#train.py", False, True, ".#*", "built-in"),
    (b"model/#train.py#", False, True, "#*#", "built-in"),
    (b"model/#train.py", False, False, None, None),
    (b"model/.~a.ipynb", False, True, ".~*", "built-in"),
    (b"data/.~lock.table.ods#", False, True, ".~*", "built-in"),
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
    (b"data/big.csv.part", False, True, "*.part", "built-in"),
    (b"data/big.part", True, False, None, None),
    (b"data/big.csv.crdownload", False, True, "*.crdownload", "built-in"),
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
