"""The person's own kernels and settings of JupyterLab: found where Jupyter keeps them, passed where that is set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import Lines
from lab import lab

from kaosd.engines.base import Order
from kaosd.engines.process import ProcessEngine
from kaosd.engines.process.personal import kernel_directories, lab_settings
from kaosd.model import Environment


@pytest.mark.parametrize(
    ("own", "directories"),
    [
        ({"HOME": "/h"}, ["/h/.local/share/jupyter/kernels"]),
        ({"HOME": "/h", "XDG_DATA_HOME": "/x"}, ["/x/jupyter/kernels"]),
        ({"HOME": "/h", "XDG_DATA_HOME": ""}, ["/h/.local/share/jupyter/kernels"]),
        ({"HOME": "/h", "JUPYTER_DATA_DIR": "/d", "XDG_DATA_HOME": "/x"}, ["/d/kernels"]),
        (
            {"HOME": "/h", "JUPYTER_PATH": "/a:b::/c:/a"},
            ["/a/kernels", "/c/kernels", "/h/.local/share/jupyter/kernels"],
        ),
        ({"JUPYTER_DATA_DIR": "/d", "JUPYTER_PATH": "/d"}, ["/d/kernels"]),
    ],
)
def test_the_persons_kernels_are_where_jupyter_looks_for_them(own: Mapping[str, str], directories: list[str]) -> None:
    assert kernel_directories(own) == directories


@pytest.mark.parametrize(
    ("own", "directory"),
    [
        ({"HOME": "/h"}, "/h/.jupyter/lab/user-settings"),
        ({"HOME": "/h", "JUPYTER_CONFIG_DIR": "/c"}, "/c/lab/user-settings"),
        ({"HOME": "/h", "JUPYTER_CONFIG_DIR": "/c", "JUPYTERLAB_SETTINGS_DIR": "/s"}, "/s"),
    ],
)
def test_the_persons_settings_are_where_jupyterlab_looks_for_them(own: Mapping[str, str], directory: str) -> None:
    assert lab_settings(own) == directory


THEMES = "lab/api/settings/@jupyterlab/apputils-extension:themes"


@pytest.mark.parametrize("asked", [True, False])
async def test_what_is_the_persons_own_is_passed_where_that_is_set(
    environments: Path,
    order_for: Callable[..., Order],
    base: Environment,
    extended: Environment,
    log: Lines,
    short: Path,
    asked: bool,
) -> None:
    home = short / "home"
    kernels = home / ".local/share/jupyter/kernels"
    argv = [f"{extended.handle}/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    for name in ("python3", "theirs"):
        (kernels / name).mkdir(parents=True)
        spec = {"argv": argv, "display_name": name, "language": "python"}
        (kernels / name / "kernel.json").write_text(json.dumps(spec))
    themes = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension/themes.jupyterlab-settings"
    themes.parent.mkdir(parents=True)
    themes.write_text(json.dumps({"theme": "JupyterLab Dark"}))
    variables = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": ""}
    engine = ProcessEngine(environments, variables=variables, personal_kernels=asked, personal_settings=asked)
    order = order_for(base)
    host = await engine.start(order, log)
    try:
        async with lab(host, order) as there:
            _, offered = await there.request("GET", "api/kernelspecs")
            assert set(offered["kernelspecs"]) == ({"python3", "theirs"} if asked else {"python3"})
            where = "import os, sys; print(sys.prefix, os.environ.get('VIRTUAL_ENV'), os.environ['KAOS_DATA'])"
            own = f"{order.home.root}/environments/"
            assert (await there.run(await there.new_kernel(), where)).startswith(own)
            if asked:
                printed = await there.run(await there.new_kernel("theirs"), where)
                assert printed == f"{extended.handle} None {order.home.data}"
            _, settings = await there.request("GET", THEMES)
            assert settings["settings"] == ({"theme": "JupyterLab Dark"} if asked else {})
    finally:
        await engine.stop(host, 0)
        await engine.close()


async def test_a_kernel_that_a_package_brings_installs_for_the_notebook_alone(
    engine: ProcessEngine, order_for: Callable[..., Order], extended: Environment, log: Lines
) -> None:
    spec = Path(extended.handle) / "share/jupyter/kernels/brought/kernel.json"
    argv = [f"{extended.handle}/bin/python", "-c", "from ipykernel.kernelapp import launch_new_instance as go; go()"]
    spec.parent.mkdir()
    spec.write_text(
        json.dumps({"argv": [*argv, "-f", "{connection_file}"], "display_name": "brought", "language": "python"})
    )
    try:
        order = order_for(extended)
        host = await engine.start(order, log)
        async with lab(host, order) as there:
            kernel = await there.new_kernel("brought")
            own = f"{order.home.root}/environments/"
            assert (await there.run(kernel, "import sys; print(sys.prefix)")).startswith(own)
            assert (await there.run(kernel, "!command -v pip")).startswith(own)
            (file,) = (order.home.jupyter / "runtime").glob(f"*{kernel}.json")
            assert json.loads(file.read_text())["transport"] == "tcp"
    finally:
        spec.unlink()
        spec.parent.rmdir()
