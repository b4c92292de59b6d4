"""Real container engines for tests: Docker and Podman of this machine, each started for them with data of its own."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from tests.engines.person import Person

ROOT = Path(__file__).parents[2]
# read before tests get a home of their own
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "kaosd-tests")
BASE = CACHE / "python-3.11.tar"
BASE_IMAGE = "python:3.11"
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PATIENCE = 60.0  # seconds that an engine may take to start


class Containers:
    """One container engine that listens on a socket of its own; may be stopped and started again."""

    def __init__(self, place: Path, kind: str, *options: str) -> None:
        self.place = place
        self.kind = kind
        self.options = options
        self.socket = place / f"{kind}.sock"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"unix://{self.socket}"

    def client(self) -> docker.APIClient:
        return docker.APIClient(base_url=self.address, version="auto", timeout=120)

    def start(self) -> None:
        """Start it and return when it answers."""
        with open(self.place / "log", "ab") as log:
            command, environ = self._command(*(self._docker() if self.kind == "docker" else self._podman()))
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as a system does; Docker ends its containers with it."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.socket.unlink(missing_ok=True)

    def log(self) -> str:
        return (self.place / "log").read_text(errors="replace")[-3000:]

    def import_base(self) -> None:
        """Have python:3.11, as if it had been pulled."""
        subprocess.run([str(ROOT / ".ci/base-image"), str(BASE)], check=True)
        client = self.client()
        changes = ["ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore"]
        # the tag in the name as well: Podman 4.3 does not read it from its own parameter
        client.import_image_from_file(str(BASE), repository=f"docker.io/library/{BASE_IMAGE}", changes=changes)
        client.close()

    def ids(self, **filters: Any) -> list[str]:
        """Ids of all containers, ended ones included."""
        client = self.client()
        try:
            return [one["Id"] for one in client.containers(all=True, filters=filters)]
        finally:
            client.close()

    def clear(self) -> None:
        """Remove every container."""
        client = self.client()
        for one in client.containers(all=True):
            client.remove_container(one["Id"], force=True, v=True)
        client.close()

    def remove(self) -> None:
        """End it if it runs, and take its files away."""
        if self.process is not None and self.process.poll() is None:
            self.stop()
        subprocess.run(
            ["umount", "-q", *map(str, self.place.glob("data/overlay*")), str(self.place / "data")], check=False
        )
        shutil.rmtree(self.place, ignore_errors=True)

    def _command(self, argv: list[str], environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        """How the engine is started, and with which environment."""
        return argv, {**os.environ, **environ, "PATH": PATH}

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            client = self.client()
        except docker.errors.DockerException:
            return False
        client.close()
        return True

    def _docker(self) -> tuple[list[str], dict[str, str]]:
        place = self.place
        options = {
            "host": self.address,
            "data-root": place / "data",
            "exec-root": place / "x",
            "pidfile": place / "pid",
        }
        return ["dockerd", *(f"--{name}={value}" for name, value in options.items()), *self.options], {}

    def _podman(self) -> tuple[list[str], dict[str, str]]:
        storage, settings = self.place / "storage.conf", self.place / "containers.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.place}/data"\nrunroot = "{self.place}/run"\n'
        )
        # by default it raises limits, which a root without that capability may not
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        settings.write_text(
            f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc=4096:4096"]\n'
            '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "runc"\n'
        )
        command = ["podman", "system", "service", "--time=0", self.address]
        return command, {"CONTAINERS_STORAGE_CONF": str(storage), "CONTAINERS_CONF": str(settings)}


class Rootless(Containers):
    """One that runs as a person, without any right of root's."""

    def __init__(self, place: Path, kind: str, person: Person) -> None:
        super().__init__(place, kind)
        self.person = person

    def _docker(self) -> tuple[list[str], dict[str, str]]:
        argv, environ = super()._docker()
        return ["dockerd-rootless.sh", *argv[1:]], environ

    def _command(self, argv: list[str], environ: dict[str, str]) -> tuple[list[str], dict[str, str]]:
        for path in self.place.iterdir():
            if path.name not in ("log", "home", "run"):
                shutil.chown(path, self.person.uid, self.person.gid)
        return self.person.command(*argv), {**self.person.environ, **environ}


@contextmanager
def started_by(person: Person, kind: str) -> Iterator[Rootless]:
    """A running rootless engine with the base image; what is left of it goes with the person."""
    found = Rootless(person.place, kind, person)
    try:
        found.start()
        found.import_base()
        yield found
    finally:
        if found.process is not None:
            found.stop()


@contextmanager
def started(kind: str) -> Iterator[Containers]:
    """A running engine with the base image; all of it goes with the block."""
    place = Path(tempfile.mkdtemp(prefix="kc"))
    place.chmod(0o711)  # other users may have to look below it
    found = Containers(place, kind)
    try:
        found.start()
        found.import_base()
        yield found
    finally:
        if found.socket.exists():
            found.clear()
        found.remove()
