"""The shipped templates, for real: the example runs top to bottom in an environment made from its requirements."""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.not_quick

TEMPLATES = Path(__file__).parent.parent / "kaosd" / "templates"
DATA = TEMPLATES / "mnist"
NOTEBOOKS = sorted(TEMPLATES.rglob("*.ipynb"))
PNG = b"\x89PNG\r\n\x1a\n"
RUN = """
import sys
import nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(book)
NotebookClient(book, timeout=120).execute()
nbformat.write(book, sys.argv[1])
"""


def environment(tmp: Path, requirements: Path) -> Path:
    """The Python of a new environment with *requirements* and what runs a notebook."""
    uv = Path(sys.executable).parent / "uv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp / "environment"], check=True)
    python = tmp / "environment" / "bin" / "python"
    packages = ["-r", requirements, "ipykernel", "nbclient", "nbformat"]
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *packages], check=True)
    return python


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's environment; the notebooks for GPUs and without packages need nothing else."""
    return environment(tmp_path_factory.mktemp("template"), TEMPLATES / "notebook" / "model" / "requirements.txt")


def run(python: Path, model: Path, name: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Execute a notebook in place, with nothing of this project or of a person's Jupyter in its environment."""
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    places = {key: str(model / key) for key in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    return subprocess.run(
        [python, "-c", RUN, name], cwd=model, env=kept | places | environ, capture_output=True, text=True, check=False
    )


def outputs(notebook: Path) -> tuple[str, list[bytes]]:
    """All text that a notebook printed, and the images that it drew."""
    found = [output for cell in json.loads(notebook.read_text())["cells"] for output in cell.get("outputs", [])]
    text = "".join("".join(output.get("text", "")) for output in found)
    images = [output["data"]["image/png"] for output in found if "image/png" in output.get("data", {})]
    return text, [base64.b64decode("".join(image)) for image in images]


def copied(template: str, tmp_path: Path) -> Path:
    """The model/ directory of a copy of a template."""
    return shutil.copytree(TEMPLATES / template, tmp_path / template) / "model"


def test_the_example_runs_to_its_end_against_the_attached_data(python: Path, tmp_path: Path) -> None:
    model = copied("notebook", tmp_path)
    done = run(python, model, "example.ipynb", KAOS_DATA=str(DATA))
    assert done.returncode == 0, done.stderr
    text, images = outputs(model / "example.ipynb")
    assert f"data: {DATA}" in text
    assert "training    1097 images of 8 x 8 pixels" in text
    accuracy = re.search(r"accuracy: ([0-9.]+)%", text)
    assert accuracy
    assert float(accuracy[1]) > 95
    assert len(images) == 3
    assert all(image.startswith(PNG) and len(image) > 2000 for image in images)


def test_the_example_says_when_no_data_is_attached(python: Path, tmp_path: Path) -> None:
    done = run(python, copied("notebook", tmp_path), "example.ipynb")
    assert done.returncode != 0
    assert "no data is attached: give the notebook a data directory" in done.stderr


def test_the_example_says_when_the_data_is_something_else(python: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    done = run(python, copied("notebook", tmp_path), "example.ipynb", KAOS_DATA=str(tmp_path / "data"))
    assert done.returncode != 0
    assert f"{tmp_path}/data/features/training holds no *_mini.csv" in done.stderr


def test_the_notebook_for_gpus_runs_without_one(python: Path, tmp_path: Path) -> None:
    model = copied("notebook-gpu", tmp_path)
    done = run(python, model, "example.ipynb", KAOS_DATA=str(DATA), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    text, images = outputs(model / "example.ipynb")
    assert "torch is not installed" in text
    assert "accuracy: 9" in text
    assert len(images) == 1


def test_the_empty_notebook_runs(python: Path, tmp_path: Path) -> None:
    model = copied("empty", tmp_path)
    done = run(python, model, "welcome.ipynb")
    assert done.returncode == 0, done.stderr
    assert outputs(model / "welcome.ipynb")[0].startswith("Python 3.")


def requirements(template: str) -> list[str]:
    """The lines of model/requirements.txt that ask for something."""
    lines = (TEMPLATES / template / "model" / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_the_empty_notebook_asks_for_nothing() -> None:
    assert requirements("empty") == []


@pytest.mark.parametrize("template", ["notebook", "notebook-gpu"])
def test_requirements_are_bounded(template: str) -> None:
    assert requirements(template)
    assert all(re.fullmatch(r"[a-z]+>=[0-9.]+,<[0-9]+", line) for line in requirements(template))


@pytest.mark.parametrize("template", ["notebook", "notebook-gpu"])
def test_the_image_is_built_as_in_kaos(template: str) -> None:
    lines = (TEMPLATES / template / "Dockerfile").read_text().splitlines()
    assert "WORKDIR /opt/program" in lines
    assert "ADD . /opt/program/" in lines
    (install,) = [
        number
        for number, line in enumerate(lines)
        if line.startswith("RUN pip install") and line.endswith("-r requirements.txt")
    ]
    # a change of code does not install anything again
    assert lines.index("COPY requirements.txt /opt/program/") < install < lines.index("ADD . /opt/program/")


def test_both_notebooks_share_their_code() -> None:
    """A template is whole in itself, so the file is there twice; it stays the same one."""
    first, second = (TEMPLATES / name / "model" / "digits.py" for name in ("notebook", "notebook-gpu"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.parent.parent.name)
def test_notebooks_are_stored_clean(path: Path) -> None:
    """No outputs and counts, ids in every cell, and the same text that JupyterLab would save."""
    book: dict[str, Any] = json.loads(path.read_text())
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in book["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(cell["outputs"] == [] for cell in book["cells"] if cell["cell_type"] == "code")
    assert all(cell["execution_count"] is None for cell in book["cells"] if cell["cell_type"] == "code")
    assert path.read_text() == json.dumps(book, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(("part", "count"), [("training", 1097), ("validation", 300), ("test", 400)])
def test_the_data_is_what_its_readme_says(part: str, count: int) -> None:
    with (DATA / "features" / part / f"{part}_mini.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == ["label", *(f"pixel_{number}" for number in range(64))]
    assert len(rows) == count
    assert {row[0] for row in rows} == set("0123456789")
    assert all(len(row) == 65 and all(0 <= int(value) <= 16 for value in row[1:]) for row in rows)
    assert f"{count} |" in (DATA / "README.md").read_text()


def test_no_image_is_in_two_parts() -> None:
    lines = [line for path in DATA.rglob("*_mini.csv") for line in path.read_text().splitlines()[1:]]
    assert len(lines) == len(set(lines)) == 1797


def test_the_wheel_holds_the_templates_and_all_modules(tmp_path: Path) -> None:
    """What is installed without a checkout is the same as with one."""
    root = TEMPLATES.parent.parent
    tracked = subprocess.run(
        ["git", "-c", f"safe.directory={root}", "ls-files", "-z", "kaosd"],
        cwd=root, capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    expected = {name for name in tracked if name and (root / name).is_file()}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=root, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    packed = {str(path.relative_to(tmp_path / "unpacked")) for path in (tmp_path / "unpacked").rglob("*")}
    assert expected - packed == set()
