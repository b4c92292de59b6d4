"""Requirements added to the text of an environment file: what changes is one line, and nothing else."""

from __future__ import annotations

import pytest

from kaosd.declared.adding import add
from kaosd.errors import ConfigError

# kind, text, requirements, text after
TABLE = {
    "the first line": ("requirements", "", ["scipy"], "scipy\n"),
    "behind the last line": ("requirements", "a\n# b\n", ["scipy>=1.11", "rich"], "a\n# b\nscipy>=1.11\nrich\n"),
    "a last line without an end": ("requirements", "a", ["b"], "a\nb\n"),
    "line ends of Windows": ("requirements", "a\r\nb\r\n", ["c"], "a\r\nb\r\nc\r\n"),
    "a last line that is continued": ("requirements", "a \\\n", ["b"], "a \\\n\nb\n"),
    "another version, its comment stays": (
        "requirements", "x\nNumPy<2  # why\ny\n", ["numpy>=2"], "x\nnumpy>=2  # why\ny\n",
    ),
    "extras": ("requirements", "pandas\n", ["pandas[excel]==2.2"], "pandas[excel]==2.2\n"),
    "a marker stays": (
        "requirements", 'numpy<2; python_version < "3.12"\n', ["numpy<3"], 'numpy<3 ; python_version < "3.12"\n',
    ),
    "a name that is there": ("requirements", "numpy<2\n", ["numpy"], "numpy<2\n"),
    "the same in other words": ("requirements", "my.pkg>=1,<2\n", ["My_Pkg<2, >=1"], "my.pkg>=1,<2\n"),
    "options and links": (
        "requirements", "-i https://i.example/s\n-r b.txt\n./w.whl\n", ["a"],
        "-i https://i.example/s\n-r b.txt\n./w.whl\na\n",
    ),
    "an address": ("requirements", "a\n", ["b @ https://h.example/b.zip"], "a\nb @ https://h.example/b.zip\n"),
    "twice in one go": ("requirements", "", ["a", "a>=1"], "a>=1\n"),
    "an array in one line": (
        "pyproject", '[project]\nname = "x"\ndependencies = ["a"] # c\n', ["b"],
        '[project]\nname = "x"\ndependencies = ["a", "b"] # c\n',
    ),
    "an empty array": ("pyproject", "[project]\ndependencies = []\n", ["b"], '[project]\ndependencies = ["b"]\n'),
    "an array over lines": (
        "pyproject", '[project]\ndependencies = [\n  "a", # first\n]\nname = "x"\n', ["b>=1"],
        '[project]\ndependencies = [\n  "a", # first\n  "b>=1",\n]\nname = "x"\n',
    ),
    "no comma behind the last one": (
        "pyproject", "[project]\ndependencies = [\n    'a' # last\n]\n", ["b"],
        "[project]\ndependencies = [\n    'a', # last\n    'b'\n]\n",
    ),
    "the bracket behind the last one": (
        "pyproject", '[project]\ndependencies = [\n\t"a"]\n', ["b"], '[project]\ndependencies = [\n\t"a",\n\t"b"]\n',
    ),
    "only comments in the array": (
        "pyproject", "[project]\r\ndependencies = [\r\n  # none\r\n]\r\n", ["b"],
        '[project]\r\ndependencies = [\r\n    "b",\r\n  # none\r\n]\r\n',
    ),
    "no dependencies yet": (
        "pyproject", '[build-system]\nrequires = []\n\n[project]\nname = "x"\n\n[tool.y]\na = 1\n', ["b"],
        '[build-system]\nrequires = []\n\n[project]\nname = "x"\ndependencies = [\n    "b",\n]\n\n[tool.y]\na = 1\n',
    ),
    "what only looks like the table": (
        "pyproject", 'x = """\n[project]\n"""\n[tool.project]\ndependencies = ["z"]\n[project]\ndependencies = ["a"]\n',
        ["b"],
        'x = """\n[project]\n"""\n[tool.project]\ndependencies = ["z"]\n[project]\ndependencies = ["a", "b"]\n',
    ),
    "optional dependencies are others": (
        "pyproject", '[project]\nname = "x"\n[project.optional-dependencies]\ndependencies = ["z"]\n', ["z>1"],
        '[project]\nname = "x"\ndependencies = [\n    "z>1",\n]\n[project.optional-dependencies]\n'
        'dependencies = ["z"]\n',
    ),
    "another version in a pyproject": (
        "pyproject", "[project]\ndependencies = [\n  'a<2', # c\n  \"b\",\n]\n", ["a>=2"],
        "[project]\ndependencies = [\n  'a>=2', # c\n  \"b\",\n]\n",
    ),
    "a marker in a pyproject": (
        "pyproject", "[project]\ndependencies = []\n", ['b; python_version < "3.12"'],
        "[project]\ndependencies = ['b; python_version < \"3.12\"']\n",
    ),
    "packages of conda": (
        "conda", "name: x\ndependencies:\n  - python=3.11 # p\n  - numpy\n", ["SciPy >=1, <2"],
        "name: x\ndependencies:\n  - python=3.11 # p\n  - numpy\n  - scipy>=1,<2\n",
    ),
    "another version of conda": (
        "conda", "dependencies:\n- numpy=1.26 # n\n- x\n", ["numpy==2.1"], "dependencies:\n- numpy==2.1 # n\n- x\n",
    ),
    "a pip section": (
        "conda", "dependencies:\n- python\n- pip:\n  - a\n  - -r b.txt\nname: x\n", ["c[d]>=1"],
        "dependencies:\n- python\n- pip:\n  - a\n  - -r b.txt\n  - c[d]>=1\nname: x\n",
    ),
    "another version in the pip section": (
        "conda", "dependencies:\n- pip:\n  - \"a<2\"\n", ["a>=2"], "dependencies:\n- pip:\n  - \"a>=2\"\n",
    ),
    "of conda, although there is a pip section": (
        "conda", "dependencies:\n- numpy\n- pip:\n  - a\n", ["numpy>=2"], "dependencies:\n- numpy>=2\n- pip:\n  - a\n",
    ),
    "a name that conda has": ("conda", "dependencies:\n- numpy=1.26\n", ["numpy"], "dependencies:\n- numpy=1.26\n"),
    "a last item without an end": ("conda", "dependencies:\n - a", ["b"], "dependencies:\n - a\n - b\n"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "requirements", "after"), TABLE.values(), ids=TABLE.keys())
def test_a_requirement_is_added(kind: str, text: str, requirements: list[str], after: str) -> None:
    found = add(kind, "FILE", text, requirements)
    assert found.text == after
    assert bool(found.added or found.changed) == (text != after)
    again = add(kind, "FILE", after, requirements[-1:])
    assert (again.text, again.added, again.changed) == (after, (), ()), "a second time changes nothing"


# kind, text, requirement, what is said
REFUSED = {
    "no requirement": ("requirements", "", "not a name", "'not a name' is not a requirement"),
    "a path": ("requirements", "", "./wheel.whl", "is not a requirement"),
    "two lines with an address": ("requirements", "", "a @ http://x/a.whl\n--pre", "line break"),
    "two lines": ("requirements", "", "a\n-r /etc/passwd", "is not a requirement"),
    "hashes": ("requirements", "a==1 --hash=sha256:00\n", "b", "pins its packages by hash"),
    "two lines for one package": (
        "requirements", "a<2; python_version < '3.9'\na>2; python_version > '3.8'\n", "a>3", "names a 2 times",
    ),
    "a line over lines": ("requirements", "a \\\n  >=1\n", "a>2", "spans several lines"),
    "dynamic": ("pyproject", "[project]\ndynamic = ['dependencies']\n", "b", "are dynamic"),
    "an inline table": ("pyproject", "project = {name = 'x', dependencies = []}\n", "b", "in another form"),
    "dotted keys": ("pyproject", "project.name = 'x'\n", "b", "in another form"),
    "broken TOML": ("pyproject", "[project]\ndependencies = [\n", "b", "no [project] that can be read"),
    "a list in a line": ("conda", "dependencies: [a]\n", "b", "one in each line"),
    "no list": ("conda", "name: x\n", "b", "one in each line"),
    "broken YAML": ("conda", "dependencies: [a\n", "b", "is not YAML"),
    "what conda cannot say": ("conda", "dependencies:\n- a\n", "b[c]", "conda cannot say 'b[c]'"),
    "a lock": ("pipfile", "{}", "b", "FILE cannot take a requirement"),
    "a program": ("setup", "", "b", "FILE cannot take a requirement"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "requirement", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_added_is_refused_with_a_way_out(kind: str, text: str, requirement: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        add(kind, "FILE", text, [requirement])
    assert said in caught.value.text
    assert caught.value.hint
