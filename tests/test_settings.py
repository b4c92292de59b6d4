"""Settings: what is allowed, what it means, and the sentence for what is not. On real files and directories."""

import os
import pwd
import re
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from kaosd.errors import ConfigError
from kaosd.model import DataMode, NotebookSpec, Resources
from kaosd.settings import (
    DockerTable,
    FrontTable,
    HooksTable,
    LogTable,
    PachydermTable,
    Settings,
    WatchTable,
    load,
    prepare,
    spec_from_request,
)
from kaosd.settings.directories import in_other_hands, make_private, refuse_borrowed, tighten_files
from kaosd.settings.line_numbers import line_of

EXAMPLE = Path(__file__).parent.parent / "config" / "kaosd.toml"
LOGIN = re.sub(r"[^A-Za-z0-9_-]+", "-", pwd.getpwuid(os.getuid()).pw_name)
HOME = "/home/ada"
ENVIRON = {"HOME": HOME}


def loaded(tmp_path: Path, text: str, **environ: str) -> Settings:
    """The settings of a file with *text*."""
    file = tmp_path / "kaosd.toml"
    file.write_text(text)
    return load(file, ENVIRON | environ)


def refused(tmp_path: Path, text: str, **environ: str) -> str:
    """The sentence for a file with *text*, with the file's directory cut off."""
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, **environ)
    return str(caught.value).replace(f"{tmp_path}/", "")


# --- what it means


def test_without_a_file_the_defaults_hold() -> None:
    settings = load(environ=ENVIRON)
    assert settings == Settings(
        config=Path(HOME, ".config/kaosd/kaosd.toml"),
        state_dir=Path(HOME, ".local/state/kaosd"),
        socket=Path(HOME, ".local/state/kaosd/kaosd.sock"),
        engine="process",
        front=FrontTable(port=8890),
        watch=WatchTable(mode="auto", quiet=0.05, cap=0.5, build_quiet=0.4, build_cap=5.0, rescan=60.0),
        log=LogTable(level="info", format="auto"),
        hooks=HooksTable(),
        docker=DockerTable(socket=None),
        pachyderm=PachydermTable(),
        swap_when_idle=600.0,
        idle_stop=0.0,
        keep_versions=20,
        stop_hosts_on_exit=False,
        stop_grace=10.0,
        max_backoff=60.0,
        desktop_notices=False,
        python_downloads=False,
        personal_kernels=False,
        personal_settings=False,
        pass_environment=(),
        login=LOGIN,
        notebooks=(),
    )


def test_a_notebook_table_becomes_a_spec(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        swap_when_idle = "1m"
        [[notebook]]
        workspace = "mnist"
        user = "ada"
        source = "~/projects/example"
        data = "../data"
        data_mode = "link"
        cpu = 2
        memory = "4Gi"
        gpu = 1
        environment_inputs = ["model/setup.cfg"]
        [[notebook]]
        name = "other"
        memory = 1000000
        swap_when_idle = 0
        """,
    )
    first, second = settings.notebooks
    assert first == NotebookSpec(
        name="notebook-mnist-ada",
        workspace="mnist",
        user="ada",
        source=Path(HOME, "projects/example"),
        data=tmp_path / "../data",
        data_mode=DataMode.LINK,
        resources=Resources(cpu=2.0, memory="4Gi", gpu=1),
        environment_inputs=("model/setup.cfg",),
        swap_when_idle=60.0,
    )
    assert second == NotebookSpec(
        name="other", workspace="default", user=LOGIN, resources=Resources(memory="1000000"), swap_when_idle=0.0
    )


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(environ=ENVIRON)
    with pytest.raises(AttributeError):
        settings.engine = "docker"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        settings.front.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("600", 600.0),
        ("0.5", 0.5),
        ('"10m"', 600.0),
        ('"500ms"', 0.5),
        ('"1.5 h"', 5400.0),
        ('"2d"', 172800.0),
        ('"7s"', 7.0),
    ],
)
def test_durations(tmp_path: Path, text: str, seconds: float) -> None:
    assert loaded(tmp_path, f"swap_when_idle = {text}").swap_when_idle == seconds


@pytest.mark.parametrize(
    ("variable", "value", "key", "expected"),
    [
        ("KAOSD_FRONT_PORT", "9000", "front.port", 9000),
        ("KAOSD_FRONT_HOSTS", "lab.example.org, box:8080", "front.hosts", ("lab.example.org", "box:8080")),
        ("KAOSD_WATCH_MODE", "poll", "watch.mode", "poll"),
        ("KAOSD_WATCH_BUILD_QUIET", "1.5", "watch.build_quiet", 1.5),
        ("KAOSD_LOG_LEVEL", "debug", "log.level", "debug"),
        ("KAOSD_SWAP_WHEN_IDLE", "5m", "swap_when_idle", 300.0),
        ("KAOSD_KEEP_VERSIONS", "3", "keep_versions", 3),
        ("KAOSD_STOP_HOSTS_ON_EXIT", "yes", "stop_hosts_on_exit", True),
        ("KAOSD_PASS_ENVIRONMENT", "A, B_2 C", "pass_environment", ("A", "B_2", "C")),
        ("KAOSD_STATE_DIR", "/srv/state", "state_dir", Path("/srv/state")),
        ("KAOSD_SOCKET", "~/k.sock", "socket", Path(HOME, "k.sock")),
        ("KAOSD_STATE_DIR", "below", "state_dir", Path.cwd() / "below"),
        ("KAOSD_FRONT_PORT", "", "front.port", 8891),
    ],
)
def test_a_variable_overrides_its_key(tmp_path: Path, variable: str, value: str, key: str, expected: object) -> None:
    settings: object = loaded(tmp_path, "keep_versions = 5\n[front]\nport = 8891\n", **{variable: value})
    for name in key.split("."):
        settings = getattr(settings, name)
    assert settings == expected


def test_a_variable_that_sets_nothing_is_a_warning(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "", KAOSD_FRONT_PROT="1", KAOSD_SERVICE_HOST="10.0.0.1")
    assert settings.warnings == (
        "the variable KAOSD_FRONT_PROT sets nothing; did you mean KAOSD_FRONT_PORT?",
        "the variable KAOSD_SERVICE_HOST sets nothing",
    )


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "kaosd.toml").write_bytes(b"\xef\xbb\xbfkeep_versions = 3\r\n")
    assert load(tmp_path / "kaosd.toml", ENVIRON).keep_versions == 3


# --- places


@pytest.mark.parametrize(
    ("environ", "config", "state", "socket"),
    [
        ({}, f"{HOME}/.config/kaosd/kaosd.toml", f"{HOME}/.local/state/kaosd", f"{HOME}/.local/state/kaosd/kaosd.sock"),
        (
            {"XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"},
            "/c/kaosd/kaosd.toml", "/s/kaosd", "/r/kaosd/kaosd.sock",
        ),
        (
            {"XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "", "XDG_RUNTIME_DIR": "./r"},
            f"{HOME}/.config/kaosd/kaosd.toml", f"{HOME}/.local/state/kaosd", f"{HOME}/.local/state/kaosd/kaosd.sock",
        ),
        (
            {"INVOCATION_ID": "1", "XDG_RUNTIME_DIR": "/r", "STATE_DIRECTORY": f"{HOME}/.config/kaosd"},
            f"{HOME}/.config/kaosd/kaosd.toml", f"{HOME}/.local/state/kaosd", "/r/kaosd/kaosd.sock",
        ),
        (
            {"INVOCATION_ID": "1", "STATE_DIRECTORY": "/var/lib/kaosd/ada:/var/lib/more"},
            "/etc/kaosd/kaosd.toml", "/var/lib/kaosd/ada", f"/run/kaosd-{LOGIN}/kaosd.sock",
        ),
        (
            {"INVOCATION_ID": "1", "RUNTIME_DIRECTORY": "/run/kaosd-x"},
            "/etc/kaosd/kaosd.toml", f"{HOME}/.local/state/kaosd", "/run/kaosd-x/kaosd.sock",
        ),
        ({"STATE_DIRECTORY": "/elsewhere"}, f"{HOME}/.config/kaosd/kaosd.toml", f"{HOME}/.local/state/kaosd",
         f"{HOME}/.local/state/kaosd/kaosd.sock"),
    ],
    ids=["home", "xdg", "relative-xdg-ignored", "user-unit", "system-unit", "system-unit-runtime", "no-unit"],
)  # fmt: skip
def test_default_places(environ: Mapping[str, str], config: str, state: str, socket: str) -> None:
    settings = load(environ=ENVIRON | environ)
    assert (str(settings.config), str(settings.state_dir), str(settings.socket)) == (config, state, socket)


def test_the_socket_follows_a_state_dir_of_ones_own(tmp_path: Path) -> None:
    assert loaded(tmp_path, 'state_dir = "/srv/k"').socket == Path("/srv/k/kaosd.sock")


def test_a_configuration_that_was_named_must_exist(tmp_path: Path) -> None:
    for named, environ in ((tmp_path / "no.toml", {}), (None, {"KAOSD_CONFIG": str(tmp_path / "no.toml")})):
        with pytest.raises(ConfigError, match=r"no\.toml does not exist"):
            load(named, ENVIRON | environ)


def test_the_variable_names_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "k.toml").write_text("keep_versions = 7")
    assert load(environ=ENVIRON | {"KAOSD_CONFIG": str(tmp_path / "k.toml")}).keep_versions == 7


def test_a_configuration_must_be_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is not a regular file"):
            load(path, ENVIRON)


# --- what is refused

LONG = "x" * 45


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = \n", "kaosd.toml:1: not TOML: Invalid value"),
        ("[front]\nport = 1\nport = 2\n", "kaosd.toml:3: not TOML: Cannot overwrite a value"),
        ("[front]\nport = [1,\n", "kaosd.toml:2: not TOML: Invalid value"),
        ("x = " + "[" * 5000, "kaosd.toml:1: not TOML: nested too deeply"),
        ("\n[[notebook]]\nengine = 'pachyderm'\n[pachyderm]", "kaosd.toml:4: pachyderm.registry: notebooks of the"),
        ("[pachyderm]\naddress = 'pachd'", "kaosd.toml:2: pachyderm.address: 'pachd' is not the address of a pachd;"),
        ("[pachyderm]\nregistry = 'A B'", "kaosd.toml:2: pachyderm.registry: 'A B' is not the start of an image"),
        ("[pachyderm]\nservice_address = '{host}'", "kaosd.toml:2: pachyderm.service_address: '{host}' has braces"),
        ("[pachyderm]\nservice_address = 'x'", "kaosd.toml:2: pachyderm.service_address: 'x' is not http"),
        ("[pachyderm]\nservice_type = 'NodePort'\nservice_port = 80", "kaosd.toml:3: pachyderm.service_port: 80 is no"),
        ("\nengin = 'process'", "kaosd.toml:2: engin: there is no such key; did you mean engine?"),
        ("[front]\n\nprt = 1", "kaosd.toml:3: front.prt: there is no such key; did you mean port?"),
        ("[[notebook]]\n[[notebook]]\nzzz = 1", "kaosd.toml:3: zzz: there is no such key; known here: cpu, data, "),
        (
            "_env_file = '/etc/passwd'",
            "kaosd.toml:1: _env_file: there is no such key; known here: desktop_notices, docker, engine, front, ",
        ),
        ("front = 3", "kaosd.toml:1: front: 3 is not allowed; write a table: [front]"),
        ("[notebook]\nname = 'a'", "kaosd.toml:1: notebook: {'name': 'a'} is not allowed; write tables: [[notebook]]"),
        ("[front]\nport = '8890'", "kaosd.toml:2: front.port: '8890' is not allowed; write a whole number from"),
        ("[front]\nport = true", "kaosd.toml:2: front.port: true is not allowed; write a whole"),
        ("[front]\nport = 0", "kaosd.toml:2: front.port: 0 is not allowed; write a whole number from 1 to 65535"),
        ("[front]\nport = 65536", "kaosd.toml:2: front.port: 65536 is not allowed"),
        ("engine = 'lxc'", "kaosd.toml:1: engine: 'lxc' is not an engine; write one of: process, docker"),
        (
            "[docker]\nsocket = 'tcp://box:2375'",
            "kaosd.toml:2: docker.socket: 'tcp://box:2375' is not the path of a Unix socket;"
            ' write the socket of a container engine, for example "unix:///run/podman/podman.sock"',
        ),
        ("[[notebook]]\nengine = 'vm'", "kaosd.toml:2: engine: 'vm' is not an engine; write one of: process, docker"),
        ("[[notebook]]\ncpu = 0", "kaosd.toml:2: cpu: 0 is not allowed; write a number of cores greater than 0"),
        ("[[notebook]]\ncpu = -1.5", "kaosd.toml:2: cpu: -1.5 is not allowed; write a number of cores"),
        ("[[notebook]]\ncpu = inf", "kaosd.toml:2: cpu: inf is not a finite number; write a number of cores"),
        ("[[notebook]]\ncpu = '2'", "kaosd.toml:2: cpu: '2' is not allowed; write a number of cores"),
        ("[[notebook]]\ngpu = -1", "kaosd.toml:2: gpu: -1 is not allowed; write a whole number, 0 or more"),
        ("[[notebook]]\ngpu = 0.5", "kaosd.toml:2: gpu: 0.5 is not allowed; write a whole number, 0 or more"),
        ("[[notebook]]\nmemory = '4GB'", "kaosd.toml:2: memory: '4GB' is not a quantity; write a positive number"),
        ("[[notebook]]\nmemory = '-1'", "kaosd.toml:2: memory: '-1' is not a quantity; write a positive number"),
        ("[[notebook]]\nmemory = -1", "kaosd.toml:2: memory: '-1' is not a quantity; write a positive number"),
        ("[[notebook]]\nmemory = 'lots'", "kaosd.toml:2: memory: 'lots' is not a quantity; write a positive number"),
        ("[[notebook]]\nmemory = '" + "9" * 400 + "'", "kaosd.toml:2: memory: '999"),
        ("[[notebook]]\nmemory = 4.5", 'kaosd.toml:2: memory: 4.5 is not allowed; write a quantity such as "512Mi"'),
        ("[[notebook]]\nname = 'a b'", "kaosd.toml:2: name: 'a b' is not valid; use letters, digits, - and _"),
        ("[[notebook]]\nname = '../x'", "kaosd.toml:2: name: '../x' is not valid; use letters"),
        ("[[notebook]]\nname = 'kaosd'", "kaosd.toml:2: name: 'kaosd' is reserved, because the front has its own"),
        ("[[notebook]]\nname = ''", "kaosd.toml:2: name: '' is not valid; use letters"),
        (f"[[notebook]]\nname = '{LONG}'", f"kaosd.toml:2: name: '{LONG}' has 45 characters; at most 44 are allowed"),
        (f"[[notebook]]\nworkspace = '{LONG[:40]}'\nuser='ada'", "kaosd.toml:1: name: the name made of workspace"),
        ("[[notebook]]\nname = 'a'\n[[notebook]]\nname = 'a'",
         "kaosd.toml:4: name: 'a' is the name of the notebook in line 1 already; give this one another"),
        ("[[notebook]]\n\n[[notebook]]\n", "kaosd.toml:3: name: 'notebook-default-"),
        ("[[notebook]]\nsource = ''", "kaosd.toml:2: source: '' is not a path; write the path of a directory"),
        ("[[notebook]]\nsource = 'a\\u0000'".replace("'", '"'), "kaosd.toml:2: source: 'a\\x00' is not a path"),
        ("[[notebook]]\nsource = 3", "kaosd.toml:2: source: 3 is not allowed; write the path of a directory"),
        ("[[notebook]]\ndata = '~nobody-here/x'", "kaosd.toml:2: data: there is no user 'nobody-here' here"),
        ("[[notebook]]\ndata_mode = 'copy'", "kaosd.toml:2: data_mode: 'copy' is not allowed; write \"snapshot\" or"),
        ("[[notebook]]\nenvironment_inputs = 'x'", "kaosd.toml:2: environment_inputs: 'x' is not allowed; write an"),
        ("[[notebook]]\nenvironment_inputs = ['x', 1]", "kaosd.toml:2: environment_inputs: 1 is not allowed; write"),
        ("swap_when_idle = 'soon'", "kaosd.toml:1: swap_when_idle: 'soon' is not allowed; write seconds or a duration"),
        ("swap_when_idle = -1", "kaosd.toml:1: swap_when_idle: -1.0 is not allowed; write seconds or a duration"),
        ("swap_when_idle = nan", "kaosd.toml:1: swap_when_idle: nan is not"),
        ("keep_versions = 0", "kaosd.toml:1: keep_versions: 0 is not allowed; write a whole number, 1 or more"),
        ("stop_hosts_on_exit = 'yes'", "kaosd.toml:1: stop_hosts_on_exit: 'yes' is not allowed; write true or false"),
        ("pass_environment = ['A=B']", "kaosd.toml:1: pass_environment: 'A=B' is not the name of a variable; write an"),
        ("[watch]\nmode = 'fast'", "kaosd.toml:2: watch.mode: 'fast' is not allowed; write \"auto\" or \"poll\""),
        ("[watch]\nquiet = 2", "kaosd.toml:1: watch.cap: 0.5 is shorter than the quiet time of 2; write"),
        ("[watch]\nbuild_cap = 0.1", "kaosd.toml:2: watch.build_cap: 0.1 is shorter than the quiet time of 0.4"),
        ("[log]\nlevel = 'loud'", "kaosd.toml:2: log.level: 'loud' is not allowed; write debug, info,"),
        (f"\nsocket = '/{'s' * 107}'", f"kaosd.toml:2: socket: /{'s' * 107} has 108 bytes; at most 107 are allowed"),
        (f"state_dir = '/{'ü' * 43}'", f"kaosd.toml:1: state_dir: /{'ü' * 43} has 87 bytes; at most 85 are allowed"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_line_and_field(tmp_path: Path, text: str, sentence: str) -> None:
    assert refused(tmp_path, text).startswith(sentence)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("KAOSD_FRONT_PORT", "http", "KAOSD_FRONT_PORT: 'http' is not a number; write a whole number from 1 to 65535"),
        ("KAOSD_FRONT_PORT", "70000", "KAOSD_FRONT_PORT: 70000 is not allowed; write a whole number"),
        ("KAOSD_ENGINE", "vm", "KAOSD_ENGINE: 'vm' is not an engine; write one of: process, docker"),
        ("KAOSD_SWAP_WHEN_IDLE", "soon", "KAOSD_SWAP_WHEN_IDLE: 'soon' is not a number; write seconds or a duration"),
        ("KAOSD_STOP_HOSTS_ON_EXIT", "maybe", "KAOSD_STOP_HOSTS_ON_EXIT: 'maybe' is not allowed; write true or false"),
        ("KAOSD_PASS_ENVIRONMENT", "A,B=1", "KAOSD_PASS_ENVIRONMENT: 'B=1' is not the name of a variable"),
        ("KAOSD_SOCKET", "/" + "s" * 107, "KAOSD_SOCKET: /sss"),
        ("KAOSD_STATE_DIR", "~nobody-here", "KAOSD_STATE_DIR: there is no user 'nobody-here' here"),
    ],
)
def test_a_mistake_in_a_variable_is_named_with_the_variable(
    tmp_path: Path, variable: str, value: str, sentence: str
) -> None:
    assert refused(tmp_path, "[front]\nport = 8891\n", **{variable: value}).startswith(sentence)


def test_a_default_that_does_not_suit_is_named_without_a_line() -> None:
    with pytest.raises(ConfigError, match=r"^socket: /rrr.*has 125 bytes; at most 107 are allowed"):
        load(environ=ENVIRON | {"XDG_RUNTIME_DIR": "/" + "r" * 107})


def test_the_first_mistake_is_told_and_the_others_are_counted(tmp_path: Path) -> None:
    text = "[[notebook]]\ncpu = 0\nmemory = 'x'\n[front]\nport = 0\n"
    assert refused(tmp_path, text).startswith("kaosd.toml:2: cpu: 0 is not allowed")
    assert refused(tmp_path, text).endswith("(and 2 more mistakes)")
    assert refused(tmp_path, text.replace("[front]\nport = 0\n", "")).endswith("(and 1 more mistake)")


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "kaosd.toml").write_bytes(b"# fine\nengine = 'pr\xf6cess'\n")
    with pytest.raises(ConfigError, match=r"kaosd\.toml is not UTF-8 in line 2; save it as UTF-8"):
        load(tmp_path / "kaosd.toml", ENVIRON)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_file_is_read_by_its_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "kaosd.toml").write_bytes("# größer\r\nkeep_versions = 7\r\n".encode(encoding))
    assert load(tmp_path / "kaosd.toml", ENVIRON).keep_versions == 7


def test_state_and_watched_directories_may_not_contain_each_other(tmp_path: Path) -> None:
    (tmp_path / "real" / "state").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    head = f"state_dir = '{tmp_path}/real/state'\n[[notebook]]\n"
    inside = refused(tmp_path, head + f"source = '{tmp_path}/link'")
    assert inside.startswith("kaosd.toml:3: source: the state directory real/state lies in link; set state_dir")
    around = refused(tmp_path, head + f"data = '{tmp_path}/link/state/data'")
    assert around.startswith("kaosd.toml:3: data: link/state/data lies in the state directory real/state; move it")
    assert loaded(tmp_path, head + f"source = '{tmp_path}/real/states'").notebooks[0].source


def test_directories_that_do_not_exist_are_no_mistake(tmp_path: Path) -> None:
    (spec,) = loaded(tmp_path, f"[[notebook]]\nsource = '{tmp_path}/gone'\ndata = '{tmp_path}/gone-too'").notebooks
    assert (spec.source, spec.data) == (tmp_path / "gone", tmp_path / "gone-too")


# --- requests


def test_a_request_becomes_a_registered_spec(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "swap_when_idle = 5")
    body = {"workspace": "mnist", "user": "ada", "source": "/src", "data": None, "cpu": 1.5, "memory": "1Gi", "gpu": 0}
    assert spec_from_request(body, settings) == NotebookSpec(
        name="notebook-mnist-ada",
        workspace="mnist",
        user="ada",
        source=Path("/src"),
        resources=Resources(cpu=1.5, memory="1Gi"),
        swap_when_idle=5.0,
        registered=True,
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"memory": "4GB"}, "memory: '4GB' is not a quantity; write a positive number"),
        ({"cpu": 0}, "cpu: 0 is not allowed; write a number of cores greater than 0"),
        ({"gpu": -1}, "gpu: -1 is not allowed; write a whole number, 0 or more"),
        ({"name": "a b"}, "name: 'a b' is not valid; use letters"),
        ({"workspace": LONG}, "workspace: 'xxx"),
        ({"source": "relative"}, "source: 'relative' is not an absolute path; write it from / on"),
        ({"source": ["/x"]}, "source: ['/x'] is not allowed; write the path of a directory"),
        ({"sauce": "/x"}, "sauce: there is no such key; did you mean source?"),
        ({"engine": "vm"}, "engine: 'vm' is not an engine; write one of: process, docker"),
        ({"source": "/"}, "source: the state directory "),
    ],
)
def test_a_bad_request_is_refused_with_the_field(tmp_path: Path, body: dict[str, object], sentence: str) -> None:
    settings = loaded(tmp_path, "")
    with pytest.raises(ConfigError) as caught:
        spec_from_request(body, settings)
    assert str(caught.value).startswith(sentence)


# --- lines

TOML = '''\
# comment
a = 1
"quoted key" = 2

text = """
[[notebook]]
a = 2
"""
array = [
  1, # one
  2,
]
front.port = 3
inline = { x = 1, y = { z = 2 } }

[table]
a = 1
[table.sub]
a = 2

[[notebook]]
name = "first"
[[notebook]] # second
  name = "second"
  [notebook.deep]
  b = 1
[[notebook]]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("a",), 2),
        (("quoted key",), 3),
        (("text",), 5),
        (("array",), 9),
        (("array", 1), 9),
        (("front", "port"), 13),
        (("inline", "y", "z"), 14),
        (("table",), 16),
        (("table", "a"), 17),
        (("table", "sub", "a"), 19),
        (("notebook",), 21),
        (("notebook", 0), 21),
        (("notebook", 0, "name"), 22),
        (("notebook", 1), 23),
        (("notebook", 1, "name"), 24),
        (("notebook", 1, "deep", "b"), 26),
        (("notebook", 2), 27),
        (("notebook", 2, "name"), 27),
        (("notebook", 3), 21),
        (("absent",), 1),
        (("table", "absent"), 16),
        (("a", "below"), 2),
        ((), 1),
    ],
)
def test_the_line_of_a_key(path: tuple[str | int, ...], line: int) -> None:
    assert line_of(TOML, path) == line


# --- the example


def test_the_example_changes_nothing() -> None:
    assert load(EXAMPLE, ENVIRON) == load(environ=ENVIRON | {"KAOSD_CONFIG": str(EXAMPLE)})
    assert load(EXAMPLE, ENVIRON).notebooks == ()


def test_the_example_shows_every_key_with_its_default(tmp_path: Path) -> None:
    """Uncommented it is accepted; outside of [[notebook]] it says what holds anyway, and no key is missing."""
    text = re.sub(r"(?m)^#(?=[a-z_\[])", "", EXAMPLE.read_text())
    shown = loaded(tmp_path, text)
    (notebook,) = shown.notebooks
    defaults = load(environ=ENVIRON)
    for key in Settings.__slots__:
        if key in ("docker", "pachyderm"):  # what has no default is shown with an example
            example, plain = getattr(shown, key), getattr(defaults, key)
            unset = {name for name, value in plain if value is None}
            assert example.model_dump(exclude=unset) == plain.model_dump(exclude=unset)
            assert {name for name, value in example if value is None} == set()
        elif key not in ("config", "notebooks"):
            assert getattr(shown, key) == getattr(defaults, key), key
    assert notebook.name == "notebook-default-ada"
    own = {"config", "login", "notebooks", "warnings"}
    keys = {key for key in Settings.__slots__ if key not in own} | {
        *FrontTable.model_fields, *WatchTable.model_fields, *LogTable.model_fields,
        "workspace", "user", "name", "source", "data", "data_mode", "cpu", "memory", "gpu", "environment_inputs",
    }  # fmt: skip
    missing = [key for key in keys if not re.search(rf"(?m)^\[?{key}\]?( =|$)", text)]
    assert missing == []


# --- directories


def test_prepare_makes_private_directories(tmp_path: Path) -> None:
    settings = loaded(tmp_path, f"state_dir = '{tmp_path}/a/b/state'\nsocket = '{tmp_path}/run/kaosd/k.sock'")
    before = os.umask(0)
    try:
        prepare(settings)
        prepare(settings)
    finally:
        os.umask(before)
    for made in ("a", "a/b", "a/b/state", "run", "run/kaosd"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700, made
    assert list(settings.state_dir.iterdir()) == []


def test_an_existing_state_directory_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    prepare(loaded(tmp_path, f"state_dir = '{tmp_path}/state'"))
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_the_directory_of_the_socket_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o755)
    prepare(loaded(tmp_path, f"state_dir = '{tmp_path}/state'\nsocket = '{tmp_path}/home/k.sock'"))
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o755


def refused_directory(directory: Path) -> str:
    """The sentence for a state directory."""
    with pytest.raises(ConfigError) as caught:
        make_private(directory, "state directory", tighten=True)
    return str(caught.value)


def test_directories_that_others_have_a_hand_in_are_refused(tmp_path: Path) -> None:
    for name, mode in (("group", 0o770), ("world", 0o1777)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        assert refused_directory(tmp_path / name) == (
            f"the state directory {tmp_path / name} can be written by others (chmod go-w {tmp_path / name})"
        )


def test_links_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    (tmp_path / "file").touch()
    assert "is a symbolic link" in refused_directory(tmp_path / "link")
    assert "is a symbolic link" in refused_directory(tmp_path / "dangling")
    assert "is not a directory" in refused_directory(tmp_path / "file")
    assert "cannot be made: Not a directory" in refused_directory(tmp_path / "file" / "below")


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    assert refused_directory(Path("/proc/kaosd")).startswith("the state directory /proc/kaosd cannot be made: ")
    directory = Path("/proc") if os.geteuid() == 0 else tmp_path / "mine"  # root may write whatever is writable
    directory.mkdir(mode=0o500, exist_ok=True)
    with pytest.raises(ConfigError, match=f"the state directory {directory} cannot be written: "):
        make_private(directory, "state directory", tighten=False)


AS_NOBODY = """
import os, sys
from pathlib import Path
from kaosd.settings.directories import make_private
from kaosd.errors import ConfigError
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    make_private(Path(sys.argv[1]), "state directory", tighten=True)
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("directory", "sentence"),
    [
        ("/usr", "the state directory /usr belongs to user id 0, and kaosd runs as "),
        ("/usr/kaosd", "the state directory /usr/kaosd cannot be made: Permission denied"),
    ],
)
def test_an_ordinary_user_cannot_use_directories_of_others(directory: str, sentence: str) -> None:
    said = subprocess.run([sys.executable, "-c", AS_NOBODY, directory], capture_output=True, text=True, check=True)
    assert said.stdout.startswith(sentence)


def test_root_does_not_write_into_the_home_of_another(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    directory = tmp_path / "state" / "kaosd"
    with pytest.raises(
        ConfigError, match=f"kaosd runs as root, but its state directory {directory} lies in a directory"
    ):
        refuse_borrowed(directory, "state directory", 0)
    refuse_borrowed(directory, "state directory", 65534)
    refuse_borrowed(Path("/usr/kaosd"), "state directory", 0)


@pytest.mark.parametrize("name", ["http://x", "a b", "x/y", "x:port", "", "*", "[::1]"])
def test_a_host_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not the name of a host"):
        loaded(tmp_path, f'[front]\nhosts = ["{name}"]\n')


@pytest.mark.parametrize(
    ("owner", "group", "mode", "why"),
    [
        (1000, 1000, 0o755, ""),
        (0, 0, 0o755, ""),
        (65534, 65534, 0o755, "belongs to user id 65534"),
        (1001, 1000, 0o755, "belongs to user id 1001"),
        (1001, 1000, 0o1777, "belongs to user id 1001"),
        (0, 0, 0o1777, ""),
        (0, 0, 0o777, "is writable by everybody"),
        (1000, 1000, 0o702, "is writable by everybody"),
        (1000, 1000, 0o775, ""),
        (0, 0, 0o775, ""),
        (1000, 50, 0o775, "is writable by group id 50"),
        (1000, 50, 0o1775, ""),
    ],
)
def test_who_could_replace_what_lies_in_a_directory(owner: int, group: int, mode: int, why: str) -> None:
    found = os.stat_result((stat.S_IFDIR | mode, 1, 1, 2, owner, group, 0, 0, 0, 0))
    assert in_other_hands(found, {0, 1000}, 1000) == why


@pytest.mark.parametrize("depth", ["open/state", "open/deep/er/state", "link/state"])
@pytest.mark.parametrize("what", ["state directory", "directory of the socket"])
def test_a_directory_that_others_could_replace_is_refused_and_not_made(tmp_path: Path, depth: str, what: str) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open/target").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "open/target")
    with pytest.raises(ConfigError, match=f"cannot lie below {tmp_path / 'open'}, which is writable by everybody"):
        make_private(tmp_path / depth, what, tighten=True)
    assert not (tmp_path / depth).exists()
    (tmp_path / "open").chmod(0o1777)
    make_private(tmp_path / depth, what, tighten=True)


def test_private_files_that_others_could_read_are_tightened(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o644)
    state = tmp_path / "state"
    loose = [state / name for name in ("token", "journal.sqlite", "lock", "logs/daemon.log", "notebooks/n/token")]
    loose += [state / "notebooks/n/logs/000001.host.-.log"]
    for path in loose:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
        path.chmod(0o666)
    (state / "link").symlink_to(outside)
    os.mkfifo(state / "pipe", 0o600)
    tighten_files(state)
    assert {oct(path.stat().st_mode & 0o777) for path in loose} == {"0o600"}
    assert oct(outside.stat().st_mode & 0o777) == "0o644"
    assert (state / "notebooks/n").is_dir()
