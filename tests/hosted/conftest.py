"""A real JupyterLab to test against: environments built once, hosts started by launch.py, clients of them."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import uv

HERE = Path(__file__).parent
LAUNCH = HERE.parent.parent / "kaosd" / "hosted" / "launch.py"
TOKEN = "secret-" + uuid.uuid4().hex
PATIENCE = 60.0


@pytest.fixture(scope="session")
def environments():
    """Two environments: `shared` with jupyter-collaboration, `other` without it, but with one package more."""
    root = Path(tempfile.mkdtemp(prefix="kh-"))
    contents = {"shared": ["jupyter-collaboration"], "other": ["iniconfig"]}
    for name, packages in contents.items():
        python = root / name / "bin" / "python"
        command = [uv.find_uv_bin(), "--quiet"]
        subprocess.run([*command, "venv", "--python", sys.executable, root / name], check=True)
        subprocess.run(
            [*command, "pip", "install", "--python", python, "jupyterlab", "ipykernel", *packages], check=True
        )
    yield {name: root / name for name in contents}
    shutil.rmtree(root)


class Host:
    """One host in a short directory of its own; `start` it, and `stop` it at the end."""

    def __init__(self, environment, **variables):
        self.place = Path(tempfile.mkdtemp(prefix="kh-"))
        self.root = self.place / "work"
        self.jupyter = self.place / "jupyter"
        self.home = self.place / "home"
        for directory in (self.root, self.jupyter, self.home):
            directory.mkdir()
        self.socket = self.place / "s"
        self.link = self.place / "environment"
        self.kernel_env = self.place / "kernel.json"
        self.log = self.place / "log"
        self.server_environment = environment
        self.variables = variables
        self.process = None
        self.base_url = "/nb/"
        token_file = self.place / "token"
        token_file.write_text(TOKEN + "\n")
        self.point_to(environment)
        self.order = {
            "name": "nb",
            "base_url": self.base_url,
            "root_dir": str(self.root),
            "socket": str(self.socket),
            "token_file": str(token_file),
            "origins": ["127.0.0.1:8890", "localhost:8890"],
            "jupyter": str(self.jupyter),
            "environment_link": str(self.link),
            "kernel_env": str(self.kernel_env),
            "checkpoints": str(self.place / "checkpoints"),
        }

    def point_to(self, environment):
        """Replace the environment link atomically."""
        fresh = self.place / "environment.new"
        fresh.symlink_to(environment)
        fresh.replace(self.link)

    def start(self):
        """Start it, and return when it answers."""
        order = self.jupyter / "host.json"
        order.write_text(json.dumps(self.order))
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "SHELL": "/bin/sh", **self.variables}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [self.server_environment / "bin" / "python", "-u", LAUNCH, order],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.answers, self.log.read_text)
        return self

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        request = f"GET {self.base_url}api HTTP/1.0\r\nHost: localhost\r\n\r\n"
        with socket.socket(socket.AF_UNIX) as connection:
            try:
                connection.connect(str(self.socket))
                connection.sendall(request.encode())
                return connection.recv(64).startswith(b"HTTP/1.1 200")
            except OSError:
                return False

    @asynccontextmanager
    async def client(self):
        connector = aiohttp.UnixConnector(str(self.socket))
        headers = {"Authorization": f"token {TOKEN}"}
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=jar) as session:
            yield Client(self, session)

    def descendants(self):
        """All processes below the server, by /proc."""
        parents = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        found = [self.process.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def terminate(self):
        """Ask it to end, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.place)


class Client:
    """Requests to one host, within one test."""

    def __init__(self, host, session):
        self.host = host
        self.session = session
        self.token = TOKEN

    def url(self, path):
        return f"http://localhost{self.host.base_url}{path}"

    async def call(self, method, path, body=None):
        """The JSON that a request is answered with; the request must succeed."""
        async with self.session.request(method, self.url(path), json=body) as answer:
            text = await answer.text()
            assert answer.status < 300, (answer.status, text)
            return json.loads(text) if text else None

    async def kernel(self, name="python3"):
        """Start a kernel and return its id."""
        return (await self.call("POST", "api/kernels", {"name": name}))["id"]

    @asynccontextmanager
    async def channels(self, kernel):
        async with self.session.ws_connect(self.url(f"api/kernels/{kernel}/channels")) as channels:
            yield channels

    async def run(self, kernel, source):
        """What *source* prints, or the name and text of its exception."""
        async with self.channels(kernel) as channels:
            return "".join([text async for text in self.printed(channels, source)])

    async def printed(self, channels, source):
        """The pieces of text that *source* prints, as they come."""
        name = uuid.uuid4().hex
        content = {"code": source, "silent": False, "store_history": False, "user_expressions": {}}
        header = {"msg_id": name, "msg_type": "execute_request", "username": "", "session": name, "version": "5.3"}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        await channels.send_json(message)
        while True:
            answer = json.loads((await channels.receive(PATIENCE)).data)
            if answer["parent_header"].get("msg_id") != name:
                continue
            content = answer["content"]
            if answer["msg_type"] == "stream":
                yield content["text"]
            elif answer["msg_type"] == "error":
                yield f"{content['ename']}: {content['evalue']}"
            elif answer["msg_type"] == "status" and content["execution_state"] == "idle":
                return

    @asynccontextmanager
    async def editor(self, path, kind="notebook"):
        """A second editor that has the shared document of *path* open."""
        how = {"format": "json" if kind == "notebook" else "text", "type": kind}
        session = await self.call("PUT", f"api/collaboration/session/{path}", how)
        room = f"{how['format']}:{kind}:{session['fileId']}"
        address = self.url(f"api/collaboration/room/{room}?sessionId={session['sessionId']}&token={self.token}")
        python = self.host.server_environment / "bin" / "python"
        process = await asyncio.create_subprocess_exec(
            python,
            HERE / "peer.py",
            str(self.host.socket),
            address.replace("http:", "ws:"),
            "notebook" if kind == "notebook" else "file",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=2**24,
        )
        editor = Editor(process)
        try:
            assert await editor.answer() == {"synchronised": True}
            yield editor
        finally:
            process.stdin.close()
            await process.wait()
            process._transport.close()


class Editor:
    """Orders to peer.py."""

    def __init__(self, process):
        self.process = process

    async def order(self, do, **details):
        self.process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
        await self.process.stdin.drain()

    async def answer(self):
        return json.loads(await asyncio.wait_for(self.process.stdout.readline(), PATIENCE))

    async def synchronise(self):
        """Return when the server has all that was done here, and the other way round."""
        await self.order("synchronise")
        assert await self.answer() == {"synchronised": True}

    async def type(self, text, after, cell=None):
        """Type *text* behind the text *after*."""
        await self.order("type", cell=cell, after=after, text=text, pause=0)
        assert await self.answer() == {"typed": after + text}
        await self.synchronise()

    async def content(self):
        """The shared document, as it is on the server as well."""
        await self.synchronise()
        await self.order("read")
        return (await self.answer())["content"]


def wait_until(condition, evidence=lambda: ""):
    """Return when *condition* holds; fail with *evidence* when it does not within PATIENCE."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, evidence()
        time.sleep(0.02)


@pytest.fixture
def new_host(environments):
    """Make hosts that are stopped after the test."""
    hosts = []

    def new(environment="shared", **variables):
        hosts.append(Host(environments[environment], **variables))
        return hosts[-1]

    yield new
    for host in hosts:
        host.stop()


@pytest.fixture(scope="module")
def host(environments):
    """A running host that the tests of a module share."""
    host = Host(environments["shared"])
    yield host.start()
    assert host.process.poll() is None, host.log.read_text()[-8000:]
    host.stop()


@pytest.fixture
async def client(host):
    """Requests to the shared host."""
    async with host.client() as client:
        yield client


@pytest.fixture
def eventually():
    """Await a condition."""

    async def wait(condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    return wait
