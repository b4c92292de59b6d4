"""First program of a pod: starts JupyterLab, and again whenever it ends. `python -u pod.py [try]`.

Pachyderm gives a service four tries and takes an exit with 0 for its end, so that it must not see JupyterLab end. With
"try" JupyterLab is started once where it cannot be reached, to see whether it can be: 0 when it answers.
Variables: KAOS_NOTEBOOK, KAOSD_BASE_URL, KAOSD_LISTEN ("0.0.0.0:8888"), KAOSD_TOKEN_FILE. Beside this directory lie, as
the image was made with them, manifest.json {"environment": digest} and context (the paths of the build context).
Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

_IMAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_WORK = "/opt/program"  # the notebook's directory where the image names no working directory
_LONGEST, _STEADY = 30.0, 90.0  # seconds: of a pause before the next start; of a run after which pauses begin again
_TRY = 120.0  # seconds in which JupyterLab must answer when it is tried


def main(arguments: list[str]) -> None:
    """Serve, or try."""
    if arguments == ["try"]:
        _try()
    else:
        _serve()


def _serve() -> None:
    place = os.path.join(tempfile.gettempdir(), "kaosd-host")
    new = not os.path.isdir(place)
    os.makedirs(place, mode=0o700, exist_ok=True)
    root = _root()
    if new:  # a container that was there before holds what persons have made of it
        _clear(os.fsencode(root))
    path = _write(place, root, os.environ["KAOSD_LISTEN"], os.environ["KAOSD_TOKEN_FILE"])
    pause = 1.0
    while True:
        begun = time.monotonic()
        ended = subprocess.run(_command(path), env={**os.environ, "KAOSD_POD": place}, cwd=root, check=False)
        if time.monotonic() - begun > _STEADY:
            pause = 1.0
        _say(f"JupyterLab ended with {ended.returncode}; it is started again in {pause:g} s")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)


def _say(text: str) -> None:
    """A line in the log of the pod."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _root() -> str:
    """The notebook's directory: the image's working directory."""
    found = os.getcwd()
    if found != "/":
        return found
    os.makedirs(_WORK, exist_ok=True)
    return _WORK


def _clear(root: bytes) -> None:
    """Remove the bundle's files that the image has baked in: the code that is deployed comes from the daemon.

    What the build itself has made there stays.
    """
    try:
        with open(os.path.join(_IMAGE, "context"), "rb") as file:
            paths = [path for path in file.read().split(b"\0") if path]
    except FileNotFoundError:
        return
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(root, path))
    above = [path.split(b"/")[:-1] for path in paths]
    directories = {b"/".join(names[: depth + 1]) for names in above for depth in range(len(names))}
    for directory in sorted(directories, key=len, reverse=True):
        with contextlib.suppress(OSError):  # not empty
            os.rmdir(os.path.join(root, directory))


def _write(place: str, root: str, listen: str, token_file: str) -> str:
    """Write what `launch` reads; where."""
    jupyter = os.path.join(place, "jupyter")
    host = {
        "name": os.environ.get("KAOS_NOTEBOOK", "notebook"),
        "base_url": os.environ.get("KAOSD_BASE_URL", "/"),
        "root_dir": root,
        "listen": listen,
        "token_file": token_file,
        "origins": [],
        "jupyter": jupyter,
        "python": sys.executable,
        "checkpoints": os.path.join(jupyter, "checkpoints"),
    }
    path = os.path.join(place, "host.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(host, file)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(os.path.join(_IMAGE, "manifest.json"), os.path.join(place, "manifest.json"))
    return path


def _command(path: str) -> list[str]:
    return [sys.executable, "-u", os.path.join(os.path.dirname(os.path.abspath(__file__)), "launch.py"), path]


def _try() -> None:
    """SystemExit when JupyterLab cannot be started here."""
    with tempfile.TemporaryDirectory() as place, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        token = secrets.token_hex(16)
        token_file = os.path.join(place, "token")
        with open(token_file, "w", encoding="utf-8") as file:
            file.write(token)
        path = _write(place, place, f"127.0.0.1:{port}", token_file)
        process = subprocess.Popen(_command(path), env={**os.environ, "KAOSD_POD": place})
        try:
            _answers(process, f"http://127.0.0.1:{port}{os.environ.get('KAOSD_BASE_URL', '/')}kaosd/pod", token)
        finally:
            process.kill()
            process.wait()
    _say("JupyterLab answers")


def _answers(process: subprocess.Popen[bytes], url: str, token: str) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"token {token}"})  # noqa: S310
    deadline = time.monotonic() + _TRY
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"ERROR: JupyterLab cannot be started in the image: it ended with {process.returncode}")
        with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):  # noqa: S310
            return
        time.sleep(0.1)
    raise SystemExit(f"ERROR: JupyterLab does not answer within {_TRY:g} s in the image")


if __name__ == "__main__":
    main(sys.argv[1:])
