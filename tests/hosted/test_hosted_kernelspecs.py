"""Kernels besides the notebook's own: which are offered, how they are reached, in what environment they run."""

import json
import os
import shutil

import pytest

from kaosd.hosted.kernelspecs import is_missing, started, takes_sockets

pytestmark = pytest.mark.not_quick

START = ["/usr/bin/python3", "-I", "-S", "/kaosd/hosted/start.py", "/h/host.json"]
LAUNCH = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]


@pytest.mark.parametrize(
    ("argv", "sockets"),
    [
        ([*START, "python", *LAUNCH], True),
        (["python", *LAUNCH], True),
        (["/opt/conda/envs/a/bin/python3.9", *LAUNCH], True),
        (["python3", "-Xfrozen_modules=off", "-E", *LAUNCH], True),
        (["python3", "-m", "ipykernel", "-f", "{connection_file}"], True),
        (["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"], False),
        (["/opt/julia/bin/julia", "-i", "kernel.jl", "{connection_file}"], False),
        (["python", "-m", "bash_kernel", "-f", "{connection_file}"], False),
        (["xpython", "-f", "{connection_file}"], False),
        (["conda", "run", "-n", "a", "python", *LAUNCH], False),
        (["docker", "run", "--network=host", "image", "python", *LAUNCH], False),
        (["sh", "-c", "exec python -m ipykernel_launcher -f {connection_file}"], False),
        (["python", "wrapper.py", *LAUNCH], False),
        (["python", "-c", "pass", *LAUNCH], False),
        (["pythonista", *LAUNCH], False),
        (["python", "-m"], False),
        (["python"], False),
        (START, False),
        ([], False),
    ],
)
def test_only_an_ipykernel_that_python_starts_itself_gets_unix_sockets(argv, sockets):
    assert takes_sockets(argv, START) is sockets


def test_the_command_of_each_kernel_begins_with_the_starter(tmp_path):
    environment, link, other = tmp_path / "environment", tmp_path / "link", tmp_path / "environment-2"
    for directory in (environment, other):
        (directory / "bin").mkdir(parents=True)
    link.symlink_to(environment)
    inside, outside = str(environment / "share/jupyter/kernels/x"), str(tmp_path / "home/kernels/x")

    def of(spec, *command):
        return started(command, spec, START, [str(link)])

    assert of(outside, *START, "python", *LAUNCH) == [*START, "python", *LAUNCH]
    assert of(outside, "R", "-e", "main()") == [*START, "--outside", "R", "-e", "main()"]
    assert of(inside, "R", "-e", "main()") == [*START, "R", "-e", "main()"]
    assert of(outside, "/usr/bin/python3", "-m", "x") == [*START, "--outside", "/usr/bin/python3", "-m", "x"]
    for bin_directory in (environment / "bin", link / "bin"):  # the shared Python itself is not started
        assert of(outside, f"{bin_directory}/python3.11", "-m", "x") == [*START, "python", "-m", "x"]
    assert of(outside, f"{other}/bin/python", "-m", "x") == [*START, "--outside", f"{other}/bin/python", "-m", "x"]
    assert of(f"{other}/share/x", "R") == [*START, "--outside", "R"]
    assert started(["R"], inside, START, []) == [*START, "--outside", "R"]


def test_only_a_program_that_is_surely_not_there_is_missing(tmp_path, monkeypatch):
    program = tmp_path / "my-kernel"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("WHERE", str(tmp_path))
    assert not is_missing(str(program), "${PATH}")
    assert not is_missing("my-kernel", "/nowhere:${WHERE}:${PATH}")
    assert not is_missing("sh", "/nowhere:$PATH")
    assert not is_missing("./beside-the-document", "${PATH}")
    assert is_missing("my-kernel", "${PATH}")
    assert is_missing("my-kernel", "${UNKNOWN}")
    assert is_missing(f"{program}-2", "${WHERE}")
    program.chmod(0o644)
    assert is_missing(str(program), "${PATH}")


TINY = """
import json, os, sys
from ipykernel.kernelapp import IPKernelApp
from ipykernel.kernelbase import Kernel

if json.load(open(sys.argv[2]))["transport"] != "tcp":
    sys.exit("this kernel speaks TCP alone")

class Tiny(Kernel):
    implementation, implementation_version, banner = "tiny", "1", "tiny"
    language_info = {"name": "tiny", "mimetype": "text/plain", "file_extension": ".tiny"}

    async def do_execute(self, code, silent, *rest, **options):
        text = json.dumps({name: os.environ.get(name) for name in code.split()})
        self.send_response(self.iopub_socket, "stream", {"name": "stdout", "text": text})
        return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

IPKernelApp.launch_instance(kernel_class=Tiny)
"""


def write_spec(directory, name, argv, **more):
    """A kernelspec below *directory*."""
    path = directory / name / "kernel.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"argv": [str(word) for word in argv], "display_name": name, "language": "x", **more}))


def write_tiny(host, directory, name="tiny"):
    """A kernel that can be reached at ports alone, as those of most other languages."""
    program = host.home / f"{name}-program"
    program.write_text(TINY)
    starter = host.home / name
    starter.write_text(f'#!/bin/sh\nexec {host.server_environment}/bin/python {program} "$@"\n')
    starter.chmod(0o755)
    write_spec(directory, name, [starter.name, "-f", "{connection_file}"], env={"PATH": f"{host.home}:${{PATH}}"})


def connection(host, kernel):
    (file,) = (host.jupyter / "runtime").glob(f"*{kernel}.json")
    return json.loads(file.read_text())


def tree(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


async def test_the_persons_kernels_are_offered_behind_the_notebooks_own(new_host, environments):
    host = new_host()
    theirs, elsewhere = host.home / ".local/share/jupyter/kernels", host.home / "more/kernels"
    host.order["kernels"] = [str(theirs), str(elsewhere), str(host.home / "missing/kernels")]
    host.kernel_env.write_text(json.dumps({"KAOS_TRIAL": "given"}))
    write_tiny(host, theirs)
    write_spec(theirs, "python3", ["false"])
    write_spec(theirs, "PYTHON3", ["false"])
    write_spec(theirs, "gone", [host.home / "not-there", "{connection_file}"])
    write_spec(theirs, "unknown", ["no-such-program", "{connection_file}"])
    write_spec(elsewhere, "other", [environments["other"] / "bin" / "python", *LAUNCH])
    (theirs / "broken").mkdir()
    (theirs / "broken" / "kernel.json").write_text("{")
    before = tree(host.home)
    host.start()
    async with host.client() as client:
        offered = await client.call("GET", "api/kernelspecs")
        assert offered["default"] == "python3"
        assert set(offered["kernelspecs"]) == {"python3", "tiny", "gone", "unknown", "other"}
        assert "start.py" in " ".join(offered["kernelspecs"]["python3"]["spec"]["argv"])

        own = await client.kernel()
        assert await client.run(own, "import sys; print(sys.prefix)") == f"{environments['shared'].resolve()}\n"

        tiny = await client.kernel("tiny")
        assert connection(host, tiny)["transport"] == "tcp"
        for _ in range(2):
            printed = json.loads(await client.run(tiny, "KAOS_TRIAL PATH VIRTUAL_ENV"))
            assert (printed["KAOS_TRIAL"], printed["VIRTUAL_ENV"]) == ("given", None)
            assert str(environments["shared"] / "bin") not in printed["PATH"].split(os.pathsep)
            await client.call("POST", f"api/kernels/{tiny}/restart")

        other = await client.kernel("other")
        assert connection(host, other)["transport"] == "ipc"
        assert await client.run(other, "import sys; print(sys.prefix)") == f"{environments['other']}\n"

        for name, program in {"gone": str(host.home / "not-there"), "unknown": "no-such-program"}.items():
            async with client.session.post(client.url("api/kernels"), json={"name": name}) as answer:
                assert answer.status == 500
                assert f"{program} is not there; install it, or correct {theirs}/{name}" in await answer.text()
        async with client.session.get(client.url("kernelspecs/tiny/kernel.json")) as answer:
            assert answer.status == 200
        write_tiny(host, theirs, "later")
        assert "later" in (await client.call("GET", "api/kernelspecs"))["kernelspecs"]
        assert json.loads(await client.run(await client.kernel("later"), "KAOS_TRIAL")) == {"KAOS_TRIAL": "given"}
    assert before.items() <= tree(host.home).items()


async def test_a_kernel_that_a_package_brings_runs_in_the_environment_of_the_notebook(new_host, environments):
    environment, others = environments["shared"], environments["other"]
    brought = [one / "share" / "jupyter" / "kernels" / "brought" for one in (environment, others)]
    host = new_host()
    try:
        for one in brought:
            write_spec(one.parent, one.name, ["python", "wrapped.py", *LAUNCH])
        (host.root / "wrapped.py").write_text("from ipykernel.kernelapp import launch_new_instance as go; go()")
        host.start()
        async with host.client() as client:
            kernel = await client.kernel("brought")
            assert connection(host, kernel)["transport"] == "tcp"
            show = "import sys, os; print(sys.prefix, os.environ['VIRTUAL_ENV'])"
            assert await client.run(kernel, show) == f"{environment.resolve()} {environment.resolve()}\n"
            host.point_to(others)
            await client.call("POST", f"api/kernels/{kernel}/restart")
            assert await client.run(kernel, show) == f"{others.resolve()} {others.resolve()}\n"
    finally:
        for one in brought:
            shutil.rmtree(one)


async def test_settings_of_jupyterlab_are_the_persons_where_that_is_asked_for(new_host):
    themes = "@jupyterlab/apputils-extension:themes"
    hosts = [new_host(), new_host()]
    for host, asked in zip(hosts, (True, False), strict=True):
        theirs = host.home / ".jupyter" / "lab" / "user-settings"
        file = theirs / "@jupyterlab" / "apputils-extension" / "themes.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text('{"theme": "JupyterLab Dark"} // mine')
        if asked:
            host.order["lab_settings"] = str(theirs)
        before = tree(host.home)
        host.start()
        async with host.client() as client:
            found = await client.call("GET", f"lab/api/settings/{themes}")
            assert found["settings"] == ({"theme": "JupyterLab Dark"} if asked else {})
            assert tree(host.home) == before
            await client.call("PUT", f"lab/api/settings/{themes}", {"raw": '{"theme": "JupyterLab Light"}'})
        assert ("Light" in file.read_text()) is asked


async def test_a_kernel_that_was_installed_by_hand_has_the_environment_of_the_notebook(new_host, environments):
    host = new_host()
    write_tiny(host, host.jupyter / "data" / "kernels")
    host.start()
    async with host.client() as client:
        printed = json.loads(await client.run(await client.kernel("tiny"), "VIRTUAL_ENV"))
        assert printed == {"VIRTUAL_ENV": str(environments["shared"].resolve())}
