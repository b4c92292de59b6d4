"""Repositories without a Dockerfile on a real Docker: their files make the image, and what they ask for is there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import uv
from conftest import SPEC, Files, Lines
from container_engines import base, engine, environments, extended, twin  # noqa: F401 - fixtures
from containers import Containers
from lab import lab
from test_shapes import PROJECT
from wheels import wheel

from kaosd.engines.base import Order
from kaosd.engines.docker import DockerEngine
from kaosd.errors import BuildFailed, StartFailed

pytestmark = pytest.mark.timeout(900)  # images are built
BASE = "FROM python:3.11\n"
ONE = "import tinyone; print(tinyone.VERSION)"
# The interpreter of an image says of itself what the test wants.
PYTHON = r"""#!/bin/sh
exec python3.11 -c 'import sys; sys.version_info = (3, 7, 17); code = sys.argv[2]; sys.argv[1:3] = []; exec(code)' "$@"
"""


@pytest.fixture(scope="session")
def containers(docker_containers: Containers) -> Containers:
    return docker_containers


def wheels(place: Path, *versions: str) -> dict[str, str | bytes]:
    """Wheels of tinyone as files of a repository."""
    made = [wheel(place / "wheels", "tinyone", version) for version in versions]
    return {f"wheels/{path.name}": path.read_bytes() for path in made}


async def test_apt_the_environment_post_build_and_start_make_one_notebook(
    engine: DockerEngine, order_for: Callable[..., Order], log: Lines, tmp_path: Path
) -> None:
    files = {
        **wheels(tmp_path, "1.0", "2.0"),
        "binder/requirements.txt": "--no-index\n--find-links ../wheels\n-r more.txt\n",
        "binder/more.txt": "# ä\ntinyone<2\n",
        "binder/apt.txt": "# words\nhello  # greets\n",
        "binder/postBuild": "set -e\nhello >greeting.txt\npython -c 'import tinyone' && cat own.txt >copied.txt\n",
        "binder/start": '#!/bin/sh\nexport GREETED="by start"\nexec "$@"\n',
        "own.txt": "code is there\n",
    }
    environment = await engine.build(SPEC, Files(files), log)
    assert log.lines[0] == (
        "Dockerfile made from binder/requirements.txt, binder/apt.txt, binder/postBuild, binder/start:"
    )
    order = order_for(environment)
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        assert await there.run(kernel, ONE) == "1.0"
        assert await there.run(kernel, "print(open('greeting.txt').read())") == "Hello, world!"
        assert await there.run(kernel, "print(open('copied.txt').read())") == "code is there"
        assert await there.run(kernel, "import os; print(os.environ['GREETED'])") == "by start"


async def test_the_code_of_a_project_is_read_in_the_notebook_and_a_lock_is_installed_as_locked(
    engine: DockerEngine, order_for: Callable[..., Order], log: Lines, tmp_path: Path
) -> None:
    source = '[tool.uv.sources]\ntinyone = { path = "wheels/tinyone-1.0-py3-none-any.whl" }\n'
    files: dict[str, str | bytes] = {
        **wheels(tmp_path, "1.0"),
        "pyproject.toml": f'{PROJECT}requires-python = ">=3.11"\ndependencies = ["tinyone"]\n{source}',
        "src/tinyproject/__init__.py": "A = 1\n",
    }
    for name, content in files.items():
        path = tmp_path / "r" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    locking = [uv.find_uv_bin(), "lock", "--project", str(tmp_path / "r")]
    subprocess.run(locking, check=True, capture_output=True, env=dict(os.environ))
    locked = {**files, "uv.lock": (tmp_path / "r/uv.lock").read_text()}
    for one in (files, locked):
        environment = await engine.build(SPEC, Files(one), log)
        order = order_for(environment)
        (order.home.work / "src/tinyproject").mkdir(parents=True, exist_ok=True)
        (order.home.work / "src/tinyproject/__init__.py").write_text("A = 22\n")  # as a sync does
        host = await engine.start(order, log)
        async with lab(host, order) as there:
            kernel = await there.new_kernel()
            assert await there.run(kernel, ONE) == "1.0"
            assert await there.run(kernel, "import tinyproject as t; print(t.A, t.__file__)") == (
                "22 /opt/program/src/tinyproject/__init__.py"
            )
        await engine.stop(host, 0)


async def test_a_pipfile_lock_is_installed(
    engine: DockerEngine, order_for: Callable[..., Order], log: Lines, tmp_path: Path
) -> None:
    packages = {"tinyone": {"path": "./wheels/tinyone-1.0-py3-none-any.whl"}}
    files = {**wheels(tmp_path, "1.0"), "Pipfile.lock": json.dumps({"default": packages})}
    order = order_for(await engine.build(SPEC, Files(files), log))
    async with lab(await engine.start(order, log), order) as there:
        assert await there.run(await there.new_kernel(), ONE) == "1.0"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"apt.txt": "no-such-package-at-all\n"}, "apt.txt: Unable to locate package no-such-package-at-all"),
        (
            {"requirements.txt": "--no-index\ntinynothing==1\n"},
            "requirements.txt: No matching distribution found for tinynothing==1",
        ),
        ({"postBuild": "echo 'ERROR: it is full' && exit 4\n"}, "postBuild: it is full"),
        ({"environment.yml": "dependencies: [gdal]"}, "no image is made out of environment.yml, which asks"),
        ({"runtime.txt": "python-3.7"}, "runtime.txt:1 asks for Python 3.7, and a notebook can be hosted"),
        (
            {
                "Dockerfile": f"{BASE}ADD python /tmp/\nRUN chmod 755 /tmp/python && mv /tmp/python /usr/bin/python3\n",
                "python": PYTHON,
            },
            "the image has Python 3.7.17, and a notebook can be hosted from Python 3.9 on (begin with FROM",
        ),
        (
            {
                "Dockerfile": f"{BASE}ADD METADATA /usr/lib/python3/dist-packages/jupyterlab-0.35.6.dist-info/\n",
                "METADATA": "Metadata-Version: 2.1\nName: jupyterlab\nVersion: 0.35.6\n",
            },
            "the image has JupyterLab 0.35.6, and a notebook can be hosted from JupyterLab 3.6 on (ask for",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_made_is_a_sentence_about_the_file_that_asks_for_it(
    engine: DockerEngine, log: Lines, files: dict[str, str | bytes], said: str
) -> None:
    with pytest.raises(BuildFailed) as failed:
        await engine.build(SPEC, Files(files), log)
    assert str(failed.value).startswith(said), str(failed.value)


async def test_a_start_that_does_not_run_its_arguments_is_a_start_that_fails(
    engine: DockerEngine, order_for: Callable[..., Order], log: Lines
) -> None:
    files = {"start": "#!/bin/sh\necho nothing to do here\n"}
    order = order_for(await engine.build(SPEC, Files(files), log))
    with pytest.raises(StartFailed) as failed:
        await engine.start(order, log)
    assert "nothing to do here" in failed.value.text
    assert failed.value.hint.endswith('; /opt/start of the image is run first and must end with: exec "$@"')
