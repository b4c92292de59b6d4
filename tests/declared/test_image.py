"""The Dockerfile that is made of a repository without one, as tables; nothing is built here."""

from __future__ import annotations

import json

import pytest

from kaosd.declared import Choice, Image, Texts, declare, image, made_from, meaning

PROJECT = '[project]\nname = "x"\nversion = "1"\n'
BUILD = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
START = [
    'COPY ["{0}", "/opt/start"]', "RUN chmod 755 /opt/start", "LABEL kaosd.start=/opt/start",
    'ENTRYPOINT ["/bin/sh", "-c", "exec /opt/start \\"$@\\"", "/opt/start"]',
]  # fmt: skip
CODE = "COPY . /opt/program/"
UV = "UV_PYTHON_DOWNLOADS=never uv"


def made(files: dict[str, str], choice: Choice | None = None) -> Image:
    return image(declare(Texts(files), choice), "3.11")


def copied(*names: str) -> list[str]:
    return [f'COPY ["{name}", "/opt/program/{name}"]' for name in names]


MADE: dict[str, tuple[dict[str, str], list[str]]] = {
    "nothing": ({"a.py": ""}, [CODE]),
    "requirements": (
        {"requirements.txt": "-r more/a.txt\n", "more/a.txt": "six"},
        [*copied("more/a.txt", "requirements.txt"), "RUN pip install --no-cache-dir -r requirements.txt", CODE],
    ),
    "requirements of kaos": (
        {"model/requirements.txt": "-c c.txt", "model/c.txt": ""},
        [*copied("c.txt", "requirements.txt"), "RUN pip install --no-cache-dir -r requirements.txt", CODE],
    ),
    "names that mean something to Docker or the shell": (
        {"requirements.txt": "-r '$HOME [1].txt'\n-r ü.txt", "$HOME [1].txt": "six", "ü.txt": ""},
        [
            'COPY ["\\\\$HOME [[]1].txt", "/opt/program/\\\\$HOME [1].txt"]', *copied("requirements.txt", "ü.txt"),
            "RUN pip install --no-cache-dir -r requirements.txt", CODE,
        ],
    ),
    "binder, with a project at the top": (
        {"binder/requirements.txt": "-e .\n", "setup.py": ""},
        [CODE, "RUN pip install --no-cache-dir -r binder/requirements.txt"],
    ),
    "setup.py": ({"setup.py": "setup()"}, [CODE, "RUN pip install --no-cache-dir -e ./."]),
    "setup.py that compiles": ({"setup.py": "Extension()"}, [CODE, "RUN pip install --no-cache-dir ./."]),
    "pyproject without a package": (
        {"pyproject.toml": PROJECT},
        [
            *copied("pyproject.toml"), "RUN pip install --no-cache-dir uv",
            f"RUN {UV} pip install --system --break-system-packages --no-cache -r pyproject.toml", CODE,
        ],
    ),
    "pyproject with a package": (
        {"pyproject.toml": PROJECT + BUILD},
        [
            CODE, "RUN pip install --no-cache-dir uv",
            f"RUN {UV} pip install --system --break-system-packages --no-cache -r pyproject.toml -e ./.",
        ],
    ),
    "uv.lock": (
        {"pyproject.toml": PROJECT, "uv.lock": ""},
        [
            *copied("pyproject.toml", "uv.lock"), "RUN pip install --no-cache-dir uv",
            f"RUN {UV} export --locked --quiet --output-file /tmp/requirements.txt "
            f"&& {UV} pip install --system --break-system-packages --no-cache -r /tmp/requirements.txt", CODE,
        ],
    ),
    "Pipfile.lock in binder": (
        {"binder/Pipfile.lock": json.dumps({"default": {"six": {"version": "==1.0", "markers": "os_name == 'nt'"}}})},
        [
            *copied("binder/Pipfile.lock"),
            "RUN printf '%s\\n' 'six==1.0 ; os_name == '\"'\"'nt'\"'\"'' >>/tmp/requirements.txt",
            "RUN cd binder && pip install --no-cache-dir -r /tmp/requirements.txt", CODE,
        ],
    ),
    "postBuild and start": (
        {"postBuild": "x", "start": "x"},
        [CODE, "RUN chmod +x ./postBuild && ./postBuild", *(line.format("start") for line in START)],
    ),
    "postBuild and start in .binder, and not at the top": (
        {".binder/postBuild": "x", ".binder/start": "x", "start": "y"},
        [
            CODE, "RUN chmod +x ./.binder/postBuild && ./.binder/postBuild",
            *(one.format(".binder/start") for one in START),
        ],
    ),
    "files that say nothing": ({"apt.txt": "# git\n\n", "postBuild": "\n", "start": "#!/bin/sh\n"}, [CODE]),
}  # fmt: skip


@pytest.mark.parametrize(("files", "expected"), MADE.values(), ids=MADE)
def test_the_steps_are_made_in_the_order_of_repo2docker(files: dict[str, str], expected: list[str]) -> None:
    found = made(files)
    assert found.problem is None
    lines = [" ".join(step.text.replace("\\\n", " ").split()) for step in found.steps]
    assert lines == ["FROM python:3.11", "WORKDIR /opt/program", *expected]


def test_packages_of_apt_come_before_everything_else() -> None:
    found = made(
        {"apt.txt": "# words\ngit  libgl1:amd64\n\ncurl=7.88.1-10+deb12u12 # for data\n", "requirements.txt": "a"}
    )
    assert found.steps[1].text == (
        "RUN apt-get update \\\n"
        "    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
        "        git \\\n        libgl1:amd64 \\\n        curl=7.88.1-10+deb12u12 \\\n"
        "    && rm -rf /var/lib/apt/lists/*"
    )
    assert found.origins[2] == "apt.txt"
    assert found.origins[8] == ""  # WORKDIR, after the six lines of apt
    assert found.origins[10] == "requirements.txt"


def test_extras_and_groups_are_those_of_the_settings() -> None:
    choice = Choice(extras=("plot",), groups=("dev",))
    text = made({"pyproject.toml": PROJECT}, choice).text
    assert "-r pyproject.toml --extra plot --group pyproject.toml:dev\n" in text
    assert (
        "--quiet --extra plot --group dev --output-file"
        in made({"pyproject.toml": PROJECT, "uv.lock": ""}, choice).text
    )


def test_a_long_lock_is_written_in_instructions_that_a_shell_takes() -> None:
    hashes = [f"sha256:{number:064}" for number in range(40)]
    packages = {f"package-{number}": {"version": "==1", "hashes": hashes} for number in range(100)}
    found = made({"Pipfile.lock": json.dumps({"default": packages})})
    parts = [step.text for step in found.steps if step.text.startswith("RUN printf")]
    assert len(parts) > 1
    assert max(map(len, parts)) < 100_000
    assert sum(part.count("package-") for part in parts) == 100


@pytest.mark.parametrize(
    ("files", "python"),
    [
        ({"runtime.txt": "python-3.10"}, "3.10"),
        ({"runtime.txt": "python-3.10.4"}, "3.10.4"),
        ({"runtime.txt": "python-3"}, "3.11"),
        ({"runtime.txt": "r-4.1-2021-01-01"}, "3.11"),
        ({".python-version": "3.12\n"}, "3.12"),
        ({"pyproject.toml": f'{PROJECT}requires-python = ">=3.9"'}, "3.11"),
        ({"pyproject.toml": f'{PROJECT}requires-python = ">=3.12,<3.14"'}, "3.13"),
        ({"pyproject.toml": f'{PROJECT}requires-python = "<3.11"'}, "3.10"),
        ({"pyproject.toml": f'{PROJECT}requires-python = "==3.10.4"'}, "3.10.4"),
        ({"Pipfile.lock": '{"_meta": {"requires": {"python_version": "3.9"}}, "default": {}}'}, "3.9"),
    ],
)
def test_the_base_image_has_the_python_that_the_files_ask_for(files: dict[str, str], python: str) -> None:
    assert made(files).steps[0].text == f"FROM python:{python}"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"runtime.txt": "latest"}, "runtime.txt:1: 'latest' names no Python"),
        ({"runtime.txt": "python-3.7"}, "runtime.txt:1 asks for Python 3.7, and a notebook can be hosted from"),
        ({"runtime.txt": "python-2"}, "runtime.txt:1 asks for Python 2, and"),
        ({"pyproject.toml": f'{PROJECT}requires-python = "<3.8"'}, "pyproject.toml:4 asks for Python <3.8, and"),
        ({"pyproject.toml": f'{PROJECT}requires-python = "new"'}, "pyproject.toml:4 asks for Python new, and"),
        ({"apt.txt": "git\ncurl;reboot\n"}, "apt.txt:2: 'curl;reboot' names no package"),
        ({"apt.txt": "--purge"}, "apt.txt:1: '--purge' names no package"),
        ({"environment.yml": "dependencies: [gdal]"}, "no image is made out of environment.yml, which asks for"),
        ({"Pipfile.lock": "{"}, "Pipfile.lock cannot be read"),
        ({"requirements.txt": "-r a.txt"}, "requirements.txt:1: --requirement a.txt: there is no file a.txt"),
        (
            {"model/requirements.txt": "-r ../a.txt", "a.txt": ""},
            "model/requirements.txt refers to a.txt, and an image is made out of model/ alone",
        ),
        (
            {"model/requirements.txt": "-e ..", "setup.py": ""},
            "model/requirements.txt refers to setup.py, and an image is made out of model/ alone",
        ),
        ({"requirements.txt": "-r \udce4.txt", "\udce4.txt": ""}, "the name '\\udce4.txt' cannot be written into a"),
    ],
)  # fmt: skip
def test_what_no_image_can_be_made_of_is_a_sentence_and_a_step(files: dict[str, str], said: str) -> None:
    found = made(files)
    assert found.steps == ()
    assert found.problem is not None
    assert found.problem.text.startswith(said), found.problem.text
    assert found.problem.hint


ALL = {"requirements.txt": "six", "apt.txt": "git # x\ncurl", "postBuild": "x", "start": "x", "install.R": "x"}
NO_FILE = "it is not there: the image is made from requirements.txt, apt.txt, postBuild, start; `kaosctl env NAME"


@pytest.mark.parametrize(
    ("files", "engine", "path", "said"),
    [
        (ALL, "docker", "apt.txt", "its packages are installed into the image: git, curl"),
        (ALL, "docker", "postBuild", "it is run at the end of the build of the image"),
        (ALL, "docker", "start", "it is run before JupyterLab"),
        (ALL, "docker", "Dockerfile", NO_FILE),
        ({"model/requirements.txt": ""}, "docker", "Dockerfile", "it is not there: the image is made from model/requi"),
        ({"binder/postBuild": "x"}, "docker", "binder/Dockerfile", "it is not there: the image is made from binder/p"),
        ({"a.py": ""}, "docker", "Dockerfile", "it is not there: the image is made from nothing but JupyterLab"),
        (ALL, "docker", "install.R", "its packages of R are not installed"),
        (ALL, "process", "apt.txt", "its packages are not installed (git, curl); an image of its own can: "),
        (ALL, "pachyderm", "start", "it is not run; an image of its own can: use --engine docker"),
        ({"requirements.txt": "", "environment.yml": "dependencies: [gdal]"}, "docker", "environment.yml", "it is not"),
    ],
)  # fmt: skip
def test_why_says_what_a_file_does_on_this_engine(files: dict[str, str], engine: str, path: str, said: str) -> None:
    assert meaning(declare(Texts(files)), engine, path).startswith(said), meaning(declare(Texts(files)), engine, path)


@pytest.mark.parametrize(
    ("files", "engine", "path"),
    [
        (ALL, "docker", "requirements.txt"),
        (ALL, "docker", "a.py"),
        (ALL, "process", "Dockerfile"),
        ({**ALL, "Dockerfile": "FROM a"}, "docker", "Dockerfile"),
        ({**ALL, "Dockerfile": "FROM a"}, "docker", "apt.txt"),  # the Dockerfile may read it
    ],
)
def test_why_says_nothing_of_other_files(files: dict[str, str], engine: str, path: str) -> None:
    assert meaning(declare(Texts(files)), engine, path) == ""


def test_what_an_image_is_made_from_is_named_once() -> None:
    files = {"pyproject.toml": f'{PROJECT}requires-python = ">=3.11"', "uv.lock": "", "apt.txt": "git"}
    assert made_from(declare(Texts(files))) == ("pyproject.toml", "uv.lock", "apt.txt")
