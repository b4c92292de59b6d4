"""`kaosctl why, doctor, reload, version`: questions and orders to the daemon as a whole."""

from __future__ import annotations

from typing import Any

from kaosd import __version__
from kaosd.ctl import command_output, failure, places
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

COSTS = {
    "nothing": "a change of it costs nothing",
    "sync": "a change of it is copied into the running host",
    "attach": "a change of it attaches the data again",
    "build": "a change of it builds the environment again",
}
NARROW = 60  # columns below which no findings are written beside what they are about
SIGNS = {"ok": ("●", "good"), "warning": ("!", "busy"), "error": ("✗", "bad")}


def why(path: str, *, as_json: bool = False) -> int:
    """Explain whether a path counts."""
    from urllib.parse import quote

    encoded = quote(places.absolute(path).encode("utf-8", "surrogateescape"))
    answer = Client().get(f"/v1/why?path={encoded}")
    where = command_output.here()
    counts = ("good", "counts") if answer["counts"] else ("busy", "does not count")
    lines = where.flow([("strong", answer["path"]), counts, ("", answer.get("notebook") or "")], 4)
    lines += where.flow([("", f"    {answer['text']}")], 4)
    if answer.get("rule"):
        origin = answer.get("origin") or "built in"
        place = f"{origin}:{answer['line']}" if answer.get("line") else origin
        lines += where.flow([("dim", f"    rule {answer['rule']}"), ("dim", place)], 4)
    lines.append(where.paint("", f"    {COSTS.get(answer['costs'], answer['costs'])}"))
    command_output.tell(answer, lines, as_json=as_json)
    return 0


def doctor(*, bundle: str | None = None, as_json: bool = False) -> int:
    """Print what the daemon finds of its surroundings; 1 when something is an error. bundle: also write that file."""
    if bundle is not None:
        return _bundle(bundle, as_json=as_json)
    answer = Client().get("/v1/doctor", timeout=60.0)
    command_output.tell(answer, _findings(answer), as_json=as_json)
    return _judged(answer)


def _bundle(target: str, *, as_json: bool) -> int:
    """Write the bundle whether or not the daemon answers; what is wrong with the daemon is reported after that."""
    from kaosd.ctl import diagnosis

    gone: Failure | None = None
    answer: dict[str, Any] = {"checks": []}
    try:
        answer = Client().get("/v1/doctor", timeout=60.0)
    except Failure as error:
        gone = error
    written = diagnosis.write(target, answer if gone is None else {"error": {"code": gone.code, "text": gone.text}})
    where = command_output.here()
    told = where.flow(
        [("good", f"● {target} written"), ("", f"{len(written)} files"), ("dim", "secrets are masked")], 4
    )
    command_output.tell({**answer, "bundle": target, "members": written}, [*_findings(answer), *told], as_json=as_json)
    if gone is not None and not as_json:
        raise gone
    return gone.exit_code if gone is not None else _judged(answer)


def _findings(answer: dict[str, Any]) -> list[str]:
    where = command_output.here()
    lines: list[str] = []
    for check in sorted(answer["checks"], key=lambda one: one["severity"] == "ok"):  # problems come first
        sign, role = SIGNS.get(check["severity"], ("?", "bad"))
        head = f"{sign} {check['severity']:<7} {check['code']:<11}  "
        words = [("", word) for word in check["text"].split(" ")]
        lines += where.flow([(role, head), *words], len(head) + 1 if where.width >= NARROW else 4, gap=" ")
        if check.get("mend"):
            lines += where.flow([("strong", f"    {check['mend']}")], 4)
    return lines


def _judged(answer: dict[str, Any]) -> int:
    return failure.FAILED if any(check["severity"] == "error" for check in answer["checks"]) else 0


def reload(*, as_json: bool = False) -> int:
    """Have the daemon read its configuration again."""
    answer = Client().post("/v1/reload")
    changed = ", ".join(map(str, answer["changed"]))
    line = f"changed: {changed}" if changed else "read again, nothing has changed"
    command_output.tell(answer, [command_output.here().paint("", line)], as_json=as_json)
    return 0


def version(*, as_json: bool = False) -> int:
    """Print the versions of client and daemon; a daemon that is not running is not an error here."""
    try:
        answer = Client().get("/v1/version")
    except Failure as error:
        if error.exit_code != failure.NOT_RUNNING:
            raise
        answer = {}
    running = answer.get("version")
    where = command_output.here()
    lines = [f"kaosctl {__version__}", where.paint("", f"kaosd {running}" if running else "kaosd is not running")]
    command_output.tell(
        {"client": __version__, "daemon": running, "schema": answer.get("schema")}, lines, as_json=as_json
    )
    return 0
