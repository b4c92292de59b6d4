"""The daemon's files that the client reads itself: logs and tokens, whether the daemon runs or not."""

from __future__ import annotations

import os

from kaosd.ctl import failure, places
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure
from kaosd.ctl.status import no_such_notebook
from kaosd.stage_logs import StageLog, stage_logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PATIENCE = 2.0  # seconds; who reads logs may do so because the daemon hangs


def status_of(client: Client) -> dict[str, Any] | None:
    """The daemon's status; None where it does not answer soon."""
    try:
        return client.get("/v1/status", timeout=PATIENCE)
    except Failure:
        return None


def state_dir_in(status: dict[str, Any] | None) -> str:
    """The state directory that the daemon of *status* uses; without a status the one that it would use by default."""
    told = status["daemon"].get("state_dir") if status is not None else None
    return str(told) if told else places.state_dir()


def notebook_names(state: str) -> list[str]:
    """The notebooks that have files in the state directory."""
    try:
        return sorted(os.listdir(f"{state}/notebooks"))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        hint = "is it another user's daemon?"
        raise Failure(f"{state}/notebooks cannot be read: {error.strerror}", hint=hint) from None


def logs_of(state: str, names: list[str]) -> list[StageLog]:
    """The log files of the notebooks *names*."""
    return [log for name in names for log in stage_logs(f"{state}/notebooks/{name}/logs", name)]


def daemon_log(state: str) -> StageLog:
    """The daemon's own log."""
    return StageLog(f"{state}/logs/daemon.log", "", 0, "daemon", "")


def chosen_names(state: str, name: str | None) -> list[str]:
    """*name* alone, or all notebooks; Failure (not found) when it, or any, is absent."""
    names = notebook_names(state)
    if name is not None and name not in names:
        raise no_such_notebook(name, names)
    if not names:
        text = f"there is no notebook's log in {state} yet"
        hint = "`kaosctl logs --stage daemon` shows the daemon's own"
        raise Failure(text, hint=hint, exit_code=failure.NOT_FOUND, code="not_found")
    return names if name is None else [name]


def address(state: str, notebook: dict[str, object]) -> str:
    """The address of a notebook with its token; for the person's eyes and browser only."""
    return _signed(str(notebook["url"]), f"{state}/notebooks/{notebook['name']}/token")


def index_address(state: str, front: str) -> str:
    """The address of the page that lists all notebooks, with the daemon's own token."""
    return _signed(f"{front}/", f"{state}/token")


def _signed(url: str, path: str) -> str:
    """*url* with the token in the file *path*."""
    from urllib.parse import quote

    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except OSError as error:
        text = f"the token {path} cannot be read: {error.strerror}"
        raise Failure(text, hint="`kaosctl doctor` checks the state directory") from None
    return f"{url}{'&' if '?' in url else '?'}token={quote(token, safe='')}"
