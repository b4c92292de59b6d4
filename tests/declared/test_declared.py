"""What the files of a repository declare: which one is in use, what belongs to it, what is not used. A table."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kaosd.declared import Choice, Declared, Project, Texts, declare, lines, name_of, warnings

PROJECT = "[project]\nname = 'p'\ndependencies = ['numpy', 'six==1.0']\n"
BUILD = "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"


@dataclass
class Case:
    """Files, and what is expected of them."""

    files: dict[str, str]
    kind: str
    file: str | None
    root: str = ""
    inputs: set[str] = field(default_factory=set)
    projects: tuple[Project, ...] = ()
    choice: Choice = field(default_factory=Choice)


CASES = {
    "nothing": Case({"a.py": ""}, "none", None),
    "requirements at the top": Case({"requirements.txt": ""}, "requirements", "requirements.txt"),
    "kaos": Case({"model/requirements.txt": ""}, "requirements", "model/requirements.txt", "model"),
    "kaos wins over the top": Case(
        {"model/requirements.txt": "", "requirements.txt": "x", "pyproject.toml": PROJECT},
        "requirements",
        "model/requirements.txt",
        "model",
    ),
    "in kaos's shape the file that makes it one": Case(
        {"model/requirements.txt": "", "model/pyproject.toml": PROJECT},
        "requirements",
        "model/requirements.txt",
        "model",
    ),
    "a project first": Case(
        {"pyproject.toml": PROJECT, "requirements.txt": "", "environment.yml": "", "setup.py": ""},
        "pyproject",
        "pyproject.toml",
    ),
    "a pyproject.toml of tools is none": Case(
        {"pyproject.toml": "[tool.ruff]\n", "requirements.txt": ""}, "requirements", "requirements.txt"
    ),
    "a pyproject.toml that is not TOML is one all the same": Case(
        {"pyproject.toml": "[project]\nname = x\n", "requirements.txt": ""}, "pyproject", "pyproject.toml"
    ),
    "what a pip section includes": Case(
        {
            "environment.yml": "dependencies: [python, {pip: [-r a/r.txt, -e ./own]}]",
            "a/r.txt": "-r s.txt\n",
            "a/s.txt": "",
            "own/setup.py": "",
        },
        "conda",
        "environment.yml",
        inputs={"a/r.txt", "a/s.txt", "own/setup.py"},
        projects=(Project("own", True),),
    ),
    "requirements before conda": Case(
        {"environment.yml": "", "requirements.txt": ""}, "requirements", "requirements.txt"
    ),
    "conda": Case({"environment.yml": "", "Pipfile.lock": "{}", "setup.py": ""}, "conda", "environment.yml"),
    "conda by its other ending": Case({"environment.yaml": ""}, "conda", "environment.yaml"),
    "pipenv": Case({"Pipfile": "", "Pipfile.lock": "{}", "setup.py": ""}, "pipfile", "Pipfile.lock"),
    "setup.py": Case(
        {"setup.py": "", "MANIFEST.in": ""}, "setup", "setup.py", inputs={"MANIFEST.in"}, projects=(Project("", True),)
    ),
    "setup.cfg of tools is none": Case({"setup.cfg": "[flake8]\n"}, "none", None),
    "setup.cfg": Case({"setup.cfg": "[metadata]\nname = a\n"}, "setup", "setup.cfg", projects=(Project("", True),)),
    "a build without [project], as poetry had it": Case(
        {"pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = 'poetry.core.masonry.api'\n"},
        "setup",
        "pyproject.toml",
        projects=(Project("", True),),
    ),
    "binder/": Case(
        {"binder/requirements.txt": "", "requirements.txt": "x"}, "requirements", "binder/requirements.txt"
    ),
    ".binder/": Case({".binder/environment.yml": ""}, "conda", ".binder/environment.yml"),
    "binder/ before .binder/": Case({".binder/environment.yml": "", "binder/apt.txt": ""}, "none", None),
    "what is named": Case(
        {"requirements.txt": "", "envs/gpu.txt": "-r more.txt\n", "envs/more.txt": ""},
        "requirements",
        "envs/gpu.txt",
        inputs={"envs/more.txt"},
        choice=Choice("envs/gpu.txt"),
    ),
    "what is named as seen from the root": Case(
        {"model/requirements.txt": "", "model/gpu.yml": ""}, "conda", "model/gpu.yml", "model", choice=Choice("gpu.yml")
    ),
    "included files, circles too": Case(
        {
            "requirements.txt": "-r a/x.txt  # why\n-ca/c.txt\n--requirement=b.in\n-r https://x.invalid/r.txt\n",
            "a/x.txt": "-r y.txt\n",
            "a/y.txt": "-r ../requirements.txt\n",
            "a/c.txt": "",
            "b.in": "",
            "other.txt": "",
        },
        "requirements",
        "requirements.txt",
        inputs={"a/x.txt", "a/y.txt", "a/c.txt", "b.in"},
    ),
    "wheels and --find-links": Case(
        {
            "requirements.txt": "./w/a.whl\nb @ file:w/b.zip\n-f v\n",
            "w/a.whl": "",
            "w/b.zip": "",
            "v/c.whl": "",
            "v/x": "",
        },
        "requirements",
        "requirements.txt",
        inputs={"w/a.whl", "w/b.zip", "v/c.whl"},
    ),
    "local projects": Case(
        {
            "requirements.txt": "-e .[dev]\n./b ; python_version > '3'\nc @ ./c\n-e git+https://x.invalid/y\n",
            "pyproject.toml": BUILD + "[tool.uv.sources]\nd = { path = 'd' }\n",
            "b/setup.py": "open('needs.txt')",
            "b/needs.txt": "",
            "c/pyproject.toml": "[build-system]\nbuild-backend = 'mesonpy'\n",
            "d/setup.cfg": "",
        },
        "requirements",
        "requirements.txt",
        inputs={"pyproject.toml", "b/setup.py", "b/needs.txt", "c/pyproject.toml", "d/setup.cfg"},
        projects=(Project("", True), Project("d", True), Project("b", True), Project("c", False)),
    ),
    "a project that compiles": Case(
        {"requirements.txt": "-e .\n", "setup.py": "setup(ext_modules=[])"},
        "requirements",
        "requirements.txt",
        inputs={"setup.py"},
        projects=(Project("", False),),
    ),
    "a project above the notebook's root": Case(
        {"model/requirements.txt": "-e ../lib\n", "lib/setup.py": ""},
        "requirements",
        "model/requirements.txt",
        "model",
        inputs={"lib/setup.py"},
        projects=(Project("lib", False),),
    ),
    "a workspace": Case(
        {
            "pyproject.toml": PROJECT + "[tool.uv.workspace]\nmembers = ['packages/*']\n",
            "packages/a/pyproject.toml": PROJECT + BUILD,
            "packages/b/readme": "",
            "uv.lock": "",
        },
        "pyproject",
        "pyproject.toml",
        inputs={"packages/a/pyproject.toml", "uv.lock"},
        projects=(Project("packages/a", True),),
    ),
    "a project of no package": Case({"pyproject.toml": PROJECT}, "pyproject", "pyproject.toml"),
    "settings of uv": Case(
        {"requirements.txt": "", "uv.toml": "", "pyproject.toml": "[tool.uv]\nno-index = false\n"},
        "requirements",
        "requirements.txt",
        inputs={"uv.toml", "pyproject.toml"},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_in_use_and_what_belongs_to_it(case: Case) -> None:
    found = declare(Texts(case.files), case.choice)
    assert (found.kind, found.file, found.root) == (case.kind, case.file, case.root)
    assert set(found.inputs) - {case.file} == case.inputs
    assert found.projects == case.projects
    assert found.problems == ()


@pytest.mark.parametrize(
    ("files", "request_", "place"),
    [
        ({"runtime.txt": "python-3.10\n"}, "3.10", "runtime.txt:1"),
        ({"runtime.txt": "# why\n\npython-3\n"}, "3", "runtime.txt:3"),
        ({"runtime.txt": "3.10.4"}, "3.10.4", "runtime.txt:1"),
        ({"runtime.txt": "the newest"}, "", "runtime.txt:1"),
        ({"runtime.txt": "python-3.10\n", ".python-version": "3.12"}, "3.10", "runtime.txt:1"),
        ({".python-version": "3.12.1\n3.11\n"}, "3.12.1", ".python-version:1"),
        ({".python-version": "cpython-3.12\n"}, "3.12", ".python-version:1"),
        ({".python-version": "my-virtualenv\n", "pyproject.toml": PROJECT}, None, None),
        ({"pyproject.toml": PROJECT + "requires-python = '>=3.9,<3.12'\n"}, ">=3.9,<3.12", "pyproject.toml:4"),
        ({"Pipfile.lock": '{"_meta": {\n"requires": {"python_version": "3.9"}}}'}, "3.9", "Pipfile.lock:2"),
        ({"Pipfile.lock": '{"_meta": {"requires": []}}'}, None, None),
        ({"binder/runtime.txt": "python-3.9", "runtime.txt": "python-3.10"}, "3.9", "binder/runtime.txt:1"),
        ({"model/requirements.txt": "", "model/runtime.txt": "3.9", "runtime.txt": "3"}, "3.9", "model/runtime.txt:1"),
        ({"runtime.txt": "\n"}, None, None),
    ],
)  # fmt: skip
def test_which_python_is_asked_for(files: dict[str, str], request_: str | None, place: str | None) -> None:
    wanted = declare(Texts(files)).python
    found = (None, None) if wanted is None else (wanted.request, f"{wanted.path}:{wanted.line}")
    assert found == (request_, place)


def said(files: dict[str, str], engine: str = "process") -> tuple[str, ...]:
    return warnings(declare(Texts(files)), engine)


WARNED = [
    (
        {"apt.txt": "graphviz\nffmpeg\n"},
        "apt.txt: its packages are not installed (graphviz, ffmpeg); an image",
    ),
    ({"postBuild": "#!/bin/sh\necho\n"}, "postBuild: it is not run"),
    ({"start": "export A=1\n"}, "start: it is not run"),
    ({"binder/start": "export A=1\n"}, "binder/start: it is not run"),
    ({"install.R": "install.packages('x')"}, "install.R: its packages of R are not installed"),
    ({"runtime.txt": "r-4.1-2021-01-01"}, "runtime.txt asks for R (r-4.1-2021-01-01), which is not installed"),
    ({"DESCRIPTION": "Package: a"}, "DESCRIPTION: R and its packages are not installed"),
    ({"Pipfile": "[packages]\nsix = '*'"}, "Pipfile is not used without a Pipfile.lock: run pipenv lock"),
    ({"requirements.txt": "", "poetry.lock": ""}, "poetry.lock: its versions are not used"),
    ({"requirements.txt": "", "uv.lock": ""}, "uv.lock: its versions are not used, because requirements.txt is in use"),
    (
        {"requirements.txt": "", "environment.yml": "dependencies:\n- python=3.12\n- numpy\n- pip:\n  - six\n"},
        "environment.yml is not used, because requirements.txt is: it asks for numpy, six; to use it, deploy "
        "with --environment environment.yml",
    ),
    (
        {"requirements.txt": "numpy==1.0\n", "environment.yml": "dependencies: [numpy=2.0]"},
        "environment.yml is not used, because requirements.txt is: it names other versions (numpy 2.0)",
    ),
    (
        {"pyproject.toml": PROJECT, "requirements.txt": "numpy==1.0\nsix\nidna\n"},
        "requirements.txt is not used, because pyproject.toml is: it asks for idna and names other versions (numpy",
    ),
    (
        {"binder/requirements.txt": "", "environment.yml": ""},
        "environment.yml is not used: environment files count in binder/",
    ),
    (
        {"model/requirements.txt": "", "requirements.txt": "six"},
        "requirements.txt is not used: this bundle has its environment in model/requirements.txt",
    ),
    (
        {"requirements/base.txt": "six"},
        "requirements/base.txt is not used: only JupyterLab is installed; to use it, deploy with --environment requi",
    ),
    ({"code/requirements.txt": "six"}, "code/requirements.txt is not used: only JupyterLab is installed"),
    ({"docs/pyproject.toml": ""}, "docs/pyproject.toml is not used: only JupyterLab is installed"),
    ({"requirements-dev.txt": "six"}, "requirements-dev.txt is not used: only JupyterLab is installed"),
    ({"model/environment.yml": "", "conda.yaml": ""}, "conda.yaml is not used: only JupyterLab is installed"),
    (
        {"requirements.txt": "", "Dockerfile": "FROM a\nRUN apt-get update \\\n && apt-get install -y curl\n"},
        "Dockerfile is not used by the process engine: it has RUN apt-get update, RUN apt-get install -y curl; use",
    ),
]


@pytest.mark.parametrize(("files", "sentence"), WARNED)
def test_what_is_not_honoured_is_said(files: dict[str, str], sentence: str) -> None:
    assert any(text.startswith(sentence) for text in said(files)), said(files)


@pytest.mark.parametrize(
    "files",
    [
        {"requirements.txt": "numpy\n", "environment.yml": "dependencies: [numpy, python=3.9, pip]\n"},
        {"requirements.txt": "-e .\n", "pyproject.toml": PROJECT + BUILD},
        {"pyproject.toml": PROJECT, "requirements.txt": "-e .\nnumpy\n"},
        {"requirements.txt": "numpy==1.0\n", "setup.py": "setup()"},
        {"model/requirements.txt": "", "model/pyproject.toml": "[project]\nname = 'x'\n"},
        {"model/requirements.txt": "", "Dockerfile": "FROM a\nRUN pip install -U jupyterlab -r requirements.txt\n"},
        {"apt.txt": "# nothing\n\n", "postBuild": "\n"},
        {"binder/requirements.txt": "-e .\n", "pyproject.toml": PROJECT + BUILD},
        {"requirements.txt": "", "requirements-dev.txt": "pytest"},
        {"Pipfile": "", "Pipfile.lock": "{}"},
    ],
)  # fmt: skip
def test_what_changes_nothing_is_not_said(files: dict[str, str]) -> None:
    assert said(files) == ()


def test_extras_without_a_project_are_said() -> None:
    (text,) = warnings(declare(Texts({"requirements.txt": ""}), Choice(extras=("plot",))), "process")
    assert text == (
        "the settings extras and groups are not used: they are of a pyproject.toml, and requirements.txt is in use"
    )


def test_a_dockerfile_is_the_whole_answer_where_an_image_is_built() -> None:
    files = {"requirements.txt": "", "Dockerfile": "FROM a\nRUN curl x\n", "apt.txt": "curl", "postBuild": "x"}
    assert said(files, "docker") == ()
    without = {name: text for name, text in files.items() if name != "Dockerfile"}
    assert said(without, "docker") == ()  # the image that is made honours them
    assert len(said(without, "process")) == len(said(without, "pachyderm")) == 2
    assert said({**without, "install.R": "x"}, "docker")[0].startswith("install.R: its packages of R are not installed")


PROBLEMS = [
    (
        {"requirements.txt": "six\n-r base.txt\n"},
        "requirements.txt:2: --requirement base.txt: there is no",
    ),
    ({"requirements.txt": "-c ../c.txt\n"}, "requirements.txt:1: --constraint ../c.txt: it lies outside of the source"),
    ({"requirements.txt": "-e ../lib\n"}, "requirements.txt:1: ../lib lies outside of the source directory"),
    ({"requirements.txt": "-e .\n"}, "requirements.txt:1: the top of the source directory has no pyproject.toml"),
    ({"requirements.txt": "./lib\n", "lib/a.py": ""}, "requirements.txt:1: lib has no pyproject.toml, setup.py or"),
    ({"model/requirements.txt": "x.whl\n"}, "model/requirements.txt:1: there is no model/x.whl"),
    ({"a/r.txt": "-f wheels\n", "requirements.txt": "-r a/r.txt\n"}, "a/r.txt:1: there is no a/wheels"),
]


@pytest.mark.parametrize(("files", "sentence"), PROBLEMS)
def test_what_cannot_be_is_a_sentence_with_its_line(files: dict[str, str], sentence: str) -> None:
    (problem,) = declare(Texts(files)).problems
    assert problem.text.startswith(sentence), problem.text
    assert problem.hint


def test_a_named_file_that_is_not_there_is_a_problem_and_nothing_is_installed_instead() -> None:
    found: Declared = declare(Texts({"requirements.txt": "six"}), Choice("gpu.txt"))
    assert (found.kind, found.file) == ("none", None)
    assert "names gpu.txt, and there is no such file" in found.problems[0].text


def test_lines_are_read_as_pip_reads_them() -> None:
    text = "a \\\n  ==1 # x\n\n# c \\\nb#d\n-e ./x[y]\n--hash=1\n-ir http://i\n\\\n"
    assert [(line.number, line.option, line.value) for line in lines(text)] == [
        (1, "", "a ==1"),
        (5, "", "b#d"),
        (6, "--editable", "./x[y]"),
        (7, "--hash", "1"),
        (8, "--index-url", "r http://i"),
    ]
    names = ["Six==1", "a_b[c] >2", "./x", "https://x/y", "a @ https://x", "a;python_version>'3'", "-r x", "x.whl"]
    assert [name_of(name) for name in names] == ["six", "a-b", "", "", "a", "a", "", "x-whl"]


@pytest.mark.parametrize("text", ["a" * 200_000, " " * 200_000 + "x", "../" * 60_000, "[" * 100_000, "a @ " * 50_000])
def test_a_long_line_costs_no_more_than_its_length(text: str) -> None:
    assert declare(Texts({"requirements.txt": text, "pyproject.toml": text, "Dockerfile": f"RUN {text}"})).kind
