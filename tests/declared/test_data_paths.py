"""Which data directories code reads: literals that are paths, where they are read, and nothing else. Tables."""

from __future__ import annotations

import json

import pytest

from kaosd.declared.data_paths import Code, code_of, worth

READS = {
    'import pandas as pd\npd.read_csv("../input/titanic/train.csv")': ("line 2", "../input/titanic/train.csv"),
    "pd.read_csv(r'./data/x.csv')": ("line 1", "./data/x.csv"),
    'pd.read_csv(f"data/{name}.csv")': ("line 1", "data/{name}.csv"),
    'pd.read_csv(\n    "input/x.csv",\n    sep=";",\n)': ("line 2", "input/x.csv"),
    'open("data/x")': ("line 1", "data/x"),
    'with open("data/x", "rb", 0) as file: pass': ("line 1", "data/x"),
    'gzip.open("data/x.gz")': ("line 1", "data/x.gz"),
    'np.load("../data/x.npy")': ("line 1", "../data/x.npy"),
    'Path("data") / "x"': ("line 1", "data"),
    'os.listdir("data")': ("line 1", "data"),
    'pd.read_csv(os.path.join("data", "x.csv"))': ("line 1", "data"),
    'open(path.join("data", "x.csv"))': None,  # what opens is not looked for through another call
    "for top, _, files in os.walk('/kaggle/input'):": ("line 1", "/kaggle/input"),
    'DATA_DIR = "data/"\nNEXT = 1': ("line 1", "data/"),
    "input_path = 'input'": ("line 1", "input"),
    "ROOT = '../input/'": ("line 1", "../input/"),
    'if True:\n    os.makedirs("out")\n    open("data/x")': ("line 3", "data/x"),
    '"""Says open("data/x")\n"""\nopen("data/y")': ("line 3", "data/y"),
}
SILENT = [
    '# open("data/x")',
    '"""\nopen("data/x")\n"""',
    'print("data/x")',
    'data = "data"',
    'columns = ["data", "input"]',
    'frame["data"]',
    'kind == "../input"',
    '"../input" == kind',
    'if "../input" in os.getcwd(): pass',
    'open("data/x", "w")',
    'open("data/x", mode="ab")',
    'open("database/x"); open("inputs/x"); open("mydata/x"); open("some/data/x")',
    'archive.open("data/x")',
    'json.load("data/x")',
    'run(data_dir="data/")',
    'def run(data_dir="data/"): pass',
    'parser.add_argument("--data", default="data/x.csv")',
    'requests.get("data/x")',
    'os.path.join(os.path.dirname(__file__), "data/x")',
    'open(b"data/x")',
    'open("data/x\nopen(\'\'\'data/x',
    "",
]  # fmt: skip
MAKES = [
    'os.makedirs("data", exist_ok=True)\nopen("data/x")',
    'os.makedirs(target)\nopen("data/x")',
    'Path("data").mkdir()\nopen("data/x")',
    'DATA_DIR = "data/"\nMNIST(DATA_DIR, download=True)',
    'if not os.path.exists("data"): fetch()\nopen("data/x")',
    'if Path("data/x").is_file(): pass\nopen("data/x")',
]


def said(text: str) -> list[tuple[str, str]]:
    """Where code reads data that it does not make, and which."""
    code = code_of(text, notebook=False)
    return [(read.where, read.path) for read in code.reads if read.places[0] not in code.made]


@pytest.mark.parametrize(("text", "expected"), READS.items(), ids=range(len(READS)))
def test_a_path_that_is_read(text: str, expected: tuple[str, str] | None) -> None:
    assert said(text) == ([expected] if expected else [])
    assert worth(text.encode())


@pytest.mark.parametrize("text", SILENT)
def test_what_is_no_path_or_is_not_read(text: str) -> None:
    assert code_of(text, notebook=False) == Code()


@pytest.mark.parametrize("text", MAKES)
def test_what_the_code_makes_or_copes_without(text: str) -> None:
    assert said(text) == []
    assert code_of(text, notebook=False).made == {"data"}


def test_a_check_of_one_directory_is_not_one_of_another() -> None:
    text = 'os.path.isdir("/kaggle/input")\nopen("data/x")'
    assert (said(text), code_of(text, notebook=False).made) == ([("line 2", "data/x")], {"input"})


def notebook(*cells: object) -> str:
    """A notebook of a heading and code cells."""
    heading = {"cell_type": "markdown", "source": ['open("data/x")']}
    return json.dumps({"cells": [heading, *({"cell_type": "code", "source": one} for one in cells)]})


def test_in_a_notebook_the_cell_is_told() -> None:
    text = notebook(["import pandas\n", "!ls ../input\n"], 'pandas.read_csv("../input/x")', "%%bash\ncat '../input'")
    (read,) = code_of(text, notebook=True).reads
    assert (read.where, read.path, read.places) == ("cell 3", "../input/x", ("../input",))
    assert worth(text.encode())


@pytest.mark.parametrize("where", ["%cd ..", "os.chdir(top)"])
def test_a_notebook_that_goes_elsewhere_may_mean_its_root(where: str) -> None:
    (read,) = code_of(notebook(where, 'open("data/x")'), notebook=True).reads
    assert read.places == ("data", "/data")


@pytest.mark.parametrize("line", ["!mkdir -p data", "!wget -P ./data https://example.org/x", "os.makedirs(name)"])
def test_a_cell_makes_it_for_the_others(line: str) -> None:
    text = notebook([line], ['open("data/x")'])
    assert code_of(text, notebook=True).made == {"data"}
    assert worth(line.encode()) == line.startswith("!")  # the others have a literal besides


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"cells": 1}', '{"cells": [{}]}', "[" * 100_000])
def test_what_is_no_notebook_says_nothing(text: str) -> None:
    assert code_of(text, notebook=True) == Code()


def test_code_that_no_person_wrote_is_not_looked_at() -> None:
    assert code_of('open("data/x")\n' * 50_000, notebook=False) == Code()
