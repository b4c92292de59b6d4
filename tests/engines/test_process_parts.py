"""Small parts of the process engine: which variables pass, what serves, who gets which core. Tables, no processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conftest import Files

from kaosd.engines.process.asking import Sources, sources
from kaosd.engines.process.launchers import ENDED, cause
from kaosd.engines.process.limits import choose
from kaosd.engines.process.pip_settings import for_uv
from kaosd.engines.process.server import Package, of_python, serving
from kaosd.engines.process.surroundings import build_variables, host_variables, outside_environments
from kaosd.errors import BuildFailed

OWN = {
    "PATH": "/bin",
    "HOME": "/home/ada",
    "LC_ALL": "C.UTF-8",
    "https_proxy": "http://proxy",
    "SSL_CERT_FILE": "/ca.pem",
    "OMP_NUM_THREADS": "2",
    "UV_INDEX_URL": "https://index",
    "AWS_SECRET_ACCESS_KEY": "x",
    "SSH_AUTH_SOCK": "/agent",
    "CUDA_VISIBLE_DEVICES": "7",
    "VIRTUAL_ENV": "/venv",
    "PYTHONPATH": "/lib",
    "JUPYTER_TOKEN": "x",
    "KAOSD_STATE_DIR": "/state",
    "NOTIFY_SOCKET": "/notify",
    "LISTEN_FDS": "1",
    "WATCHDOG_USEC": "1",
    "INVOCATION_ID": "1",
    "CREDENTIALS_DIRECTORY": "/c",
}


def test_a_build_gets_the_person_the_network_and_the_index() -> None:
    wanted = {"PATH", "HOME", "LC_ALL", "https_proxy", "SSL_CERT_FILE", "UV_INDEX_URL"}
    assert build_variables({**OWN, "PIP_CONFIG_FILE": os.devnull}).keys() == wanted


@pytest.mark.parametrize(
    ("own", "index"),
    [
        ({"PIP_INDEX_URL": "https://pip"}, "https://pip"),
        ({"PIP_INDEX_URL": "https://pip", "UV_DEFAULT_INDEX": "https://uv"}, "https://uv"),
    ],
)
def test_the_index_of_pip_counts_where_uv_has_none(own: dict[str, str], index: str) -> None:
    assert build_variables(own)["UV_DEFAULT_INDEX"] == index


def test_all_of_pips_settings_are_put_into_the_words_of_uv(tmp_path: Path) -> None:
    home, config = tmp_path / "home", tmp_path / "config"
    for path, text in (
        (home / ".pip/pip.conf", "[global]\nindex-url = https://old\nno-index = yes\n"),
        (
            config / "pip/pip.conf",
            "[global]\nindex_url = https://new\nfind-links =\n  /a\n  ~/b\n[install]\npre = true\n",
        ),
        (tmp_path / "broken.conf", "no section\n"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    own = {"HOME": str(home), "XDG_CONFIG_HOME": str(config), "XDG_CONFIG_DIRS": str(tmp_path / "none")}
    found = for_uv(own)
    assert (
        found
        | {
            "UV_DEFAULT_INDEX": "https://new",
            "UV_FIND_LINKS": f"/a,{os.path.expanduser('~')}/b",
            "UV_PRERELEASE": "allow",
            "UV_NO_INDEX": "1",
        }
        == found
    )
    more = {"PIP_CONFIG_FILE": str(tmp_path / "broken.conf"), "PIP_FIND_LINKS": "/c /d", "PIP_NO_INDEX": "0"}
    found = for_uv({**own, **more, "PIP_TRUSTED_HOST": "h:1", "PIP_CONSTRAINT": "c.txt"})
    assert (found["UV_FIND_LINKS"], found["UV_INSECURE_HOST"], found["UV_CONSTRAINT"]) == ("/c,/d", "h:1", "c.txt")
    assert "UV_NO_INDEX" not in found
    assert for_uv({**own, "PIP_CONFIG_FILE": os.devnull}) == {}


@pytest.mark.parametrize(
    ("passed", "more"),
    [
        ((), set()),
        (("AWS_*", "SSH_AUTH_SOCK"), {"AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK"}),
        (("*",), {"AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "UV_INDEX_URL"}),
    ],
)
def test_a_host_gets_the_person_and_what_is_passed_but_nothing_of_the_daemon(
    passed: tuple[str, ...], more: set[str]
) -> None:
    usual = {"PATH", "HOME", "LC_ALL", "https_proxy", "SSL_CERT_FILE", "OMP_NUM_THREADS"}
    assert host_variables(OWN, passed).keys() == usual | more


# what a daemon that was started from a notebook, a conda shell or an activated environment carries
LEADING = {
    "KAOS_HOST": "/n:1",
    "KAOS_ENVIRONMENT": "/e",
    "CONDA_PREFIX": "/c",
    "_CONDA_ROOT": "/c",
    "PYTHONHOME": "/p",
    "PYTHONUSERBASE": "/p",
    "PIP_TARGET": "/t",
    "PIP_PREFIX": "/t",
    "PIP_USER": "1",
    "UV_PYTHON": "/p",
    "UV_SYSTEM_PYTHON": "1",
    "UV_TARGET": "/t",
    "UV_PROJECT_ENVIRONMENT": "/e",
    "JUPYTER_PATH": "/j",
    "VIRTUAL_ENV_PROMPT": "(e)",
}


@pytest.mark.parametrize("passed", [(), ("*",), ("PIP_*", "UV_*", "PYTHON*", "CONDA_*", "KAOS_*")])
def test_nothing_that_leads_to_another_environment_is_passed(passed: tuple[str, ...]) -> None:
    assert host_variables({"PATH": "/bin", **LEADING}, passed) == {"PATH": "/bin"}


def test_no_python_environment_is_on_the_path_of_a_host(tmp_path: Path) -> None:
    virtual, conda, plain = (tmp_path / name for name in ("virtual", "conda", "plain"))
    for directory in (virtual / "bin", virtual / "scripts/x", conda / "bin", conda / "conda-meta", plain / "bin"):
        directory.mkdir(parents=True)
    (virtual / "pyvenv.cfg").touch()
    (tmp_path / "link").symlink_to(virtual / "bin")
    kept = [str(plain / "bin"), "/usr/bin", "/bin", str(tmp_path / "missing")]
    dropped = [
        virtual / "bin",
        virtual / "scripts/x",
        conda / "bin",
        tmp_path / "link",
        Path(sys.prefix, "bin"),
        ".",
        "",
    ]
    for own in dropped:
        assert outside_environments(":".join([str(own), *kept, str(own)])).split(":") == kept
        assert outside_environments(str(own)) == "/bin:/usr/bin"


def test_a_python_of_the_system_hides_no_directory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("/usr", "/usr/local", "/"):
        monkeypatch.setattr(sys, "prefix", prefix)
        assert outside_environments("/usr/local/bin:/usr/bin:/bin") == "/usr/local/bin:/usr/bin:/bin"
    monkeypatch.setattr(sys, "prefix", "/opt/python")  # without an environment, as of pyenv
    assert outside_environments("/opt/python/bin:/usr/bin") == "/usr/bin"


def package(name: str, *requires: str, serves: bool = False) -> Package:
    return Package(name, "1", requires, serves)


SERVING = {
    "closure of jupyterlab": (
        [package("jupyterlab", "Tornado>=6"), package("tornado"), package("numpy")],
        ["jupyterlab", "tornado"],
    ),
    "a server extension counts with what it needs": (
        [package("lsp", "numpy", serves=True), package("numpy"), package("six")],
        ["lsp", "numpy"],
    ),
    "an extra counts only when it is asked for": (
        [
            package("jupyterlab", "jsonschema[format-nongpl]>=4", 'pytest; extra == "test"'),
            package("jsonschema", 'idna; extra == "format-nongpl"', "fqdn ; extra == 'format'"),
            *(package(name) for name in ("pytest", "idna", "fqdn")),
        ],
        ["idna", "jsonschema", "jupyterlab"],
    ),
    "spelling does not matter": (
        [package("jupyter-collaboration", "Jupyter_Server.ydoc"), package("jupyter-server-ydoc")],
        ["jupyter-collaboration", "jupyter-server-ydoc"],
    ),
    "what another Python or system needs does not count": (
        [
            package(
                "jupyterlab", 'pytz; python_version < "3.9"', 'tomli ; python_version < "3.12"', "win; os_name=='nt'"
            ),
            *(package(name) for name in ("pytz", "tomli", "win")),
        ],
        ["jupyterlab", "tomli"],
    ),
    "an extra and another condition": (
        [
            package("jupyterlab", "a[x]"),
            package("a", 'b; extra == "x" and os_name == "nt"', "c; python_version > '3' and extra == 'x'"),
            *(package(name) for name in ("b", "c")),
        ],
        ["a", "c", "jupyterlab"],
    ),
    "a marker that nobody can read counts": (
        [package("jupyterlab", "a; what is this"), package("a")],
        ["a", "jupyterlab"],
    ),
    "a circle ends": (
        [package("jupyterlab", "a"), package("a", "b"), package("b", "a")],
        ["a", "b", "jupyterlab"],
    ),
}


@pytest.mark.parametrize(("packages", "expected"), SERVING.values(), ids=SERVING)
def test_what_serves(packages: list[Package], expected: list[str]) -> None:
    markers = of_python("3.11.2")
    assert [one.name for one in serving(packages, markers)] == expected


@pytest.mark.parametrize(
    ("available", "taken", "count", "expected"),
    [
        ([0, 1, 2, 3], [], 2, [0, 1]),
        ([0, 1, 2, 3], [[0, 1]], 2, [2, 3]),
        ([0, 1, 2, 3], [[0, 1], [2]], 2, [0, 3]),
        ([0, 1], [[0, 1], [0]], 1, [1]),
        ([4, 7], [], 0, []),
    ],
)
def test_those_used_least_are_chosen(
    available: list[int], taken: list[list[int]], count: int, expected: list[int]
) -> None:
    assert choose(available, taken, count) == expected


@pytest.mark.parametrize(
    ("found", "memory", "told"),
    [
        (("oom-kill", "2", "9"), "20Mi", "it used up its memory of 20Mi, and the system killed JupyterLab"),
        (("oom-kill", "2", "9"), None, "it used up its memory, and the system killed JupyterLab"),
        (("signal", "2", "9"), "20Mi", "JupyterLab was killed, perhaps for want of memory: its limit is 20Mi"),
        (("signal", "2", "9"), None, ""),
        (("signal", "2", "11"), "20Mi", ""),
        (("exit-code", "1", "9"), "20Mi", ""),
        (("success", "1", "0"), "20Mi", ""),
        ((), "20Mi", ""),
    ],
)
def test_a_unit_tells_why_its_host_ended(found: tuple[str, ...], memory: str | None, told: str) -> None:
    assert cause(dict(zip(ENDED, found, strict=False)), memory) == told


def read(top: Path, files: dict[str, bytes]) -> Sources:
    inputs = Files(files)
    inputs.export(top)
    return sources(top, inputs.declared)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_requirements_and_what_they_include_are_read_by_their_mark_and_uv_reads_the_same(
    tmp_path: Path, encoding: str
) -> None:
    lines = {
        "model/requirements.txt": "jupyterlab==3.6.8\r\n-r deps/base.in\r\n",
        "model/deps/base.in": "# größe\r\nipykernel==6.0\r\n-c ../limits.txt\r\n-r base.in\r\n",
        "model/limits.txt": "six<2\r\n",
        "model/runtime.txt": "python-3.11\r\n",
    }
    found = read(tmp_path, {path: text.encode(encoding) for path, text in lines.items()})
    assert found.files == {path.removeprefix("model/"): text for path, text in lines.items() if "runtime" not in path}
    assert [one.name for one in found.asked] == ["jupyterlab", "ipykernel", "six"]
    assert {path: (tmp_path / path).read_bytes() for path in lines} == {p: t.encode() for p, t in lines.items()}


@pytest.mark.parametrize("path", ["requirements.txt", "deps/base.in", "runtime.txt"])
def test_a_requirements_file_that_is_no_text_is_named(tmp_path: Path, path: str) -> None:
    files = {"model/requirements.txt": b"-r deps/base.in\n", "model/deps/base.in": b"six\n"}
    with pytest.raises(BuildFailed, match=rf"^model/{path} is not UTF-8 in line 2; save it as UTF-8"):
        read(tmp_path, files | {f"model/{path}": b"six\n# \xe9\n"})
