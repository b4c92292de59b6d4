"""`kaosctl why, doctor, reload, stop, version`: questions and orders to the daemon as a whole."""

from __future__ import annotations

from kaosd import __version__
from kaosd.ctl import failure, output, places
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

COSTS = {
    "nothing": "a change of it costs nothing",
    "sync": "a change of it is copied into the running host",
    "attach": "a change of it attaches the data anew",
    "build": "a change of it builds the environment anew",
}
SIGNS = {"ok": ("●", "good"), "warning": ("!", "busy"), "error": ("✗", "bad")}


def why(path: str, *, as_json: bool = False) -> int:
    """Explain whether a path counts."""
    from urllib.parse import quote

    encoded = quote(places.absolute(path).encode("utf-8", "surrogateescape"))
    answer = Client().get(f"/v1/why?path={encoded}")
    where = output.here()
    counts = ("good", "counts") if answer["counts"] else ("busy", "does not count")
    lines = where.flow([("strong", answer["path"]), counts, ("", answer.get("notebook") or "")], 4)
    lines += where.flow([("", f"    {answer['text']}")], 4)
    if answer.get("rule"):
        origin = answer.get("origin") or "built in"
        place = f"{origin}:{answer['line']}" if answer.get("line") else origin
        lines += where.flow([("dim", f"    rule {answer['rule']}"), ("dim", place)], 4)
    lines.append(where.paint("", f"    {COSTS.get(answer['costs'], answer['costs'])}"))
    output.tell(answer, lines, as_json=as_json)
    return 0


def doctor(*, as_json: bool = False) -> int:
    """Print what the daemon finds of its surroundings; 1 when something is an error."""
    answer = Client().get("/v1/doctor", timeout=60.0)
    where = output.here()
    lines: list[str] = []
    for check in answer["checks"]:
        sign, role = SIGNS.get(check["severity"], ("?", "bad"))
        lines += where.flow([(role, f"{sign} {check['severity']:<7} {check['code']:<10}"), ("", check["text"])], 4)
        if check.get("mend"):
            lines += where.flow([("strong", f"    {check['mend']}")], 4)
    output.tell(answer, lines, as_json=as_json)
    return failure.FAILED if any(check["severity"] == "error" for check in answer["checks"]) else 0


def reload(*, as_json: bool = False) -> int:
    """Have the daemon read its configuration again."""
    answer = Client().post("/v1/reload")
    changed = ", ".join(map(str, answer["changed"]))
    line = f"changed: {changed}" if changed else "read again, nothing has changed"
    output.tell(answer, [output.here().paint("", line)], as_json=as_json)
    return 0


def stop(*, as_json: bool = False) -> int:
    """Have the daemon end."""
    answer = Client().post("/v1/stop")
    output.tell(answer, ["kaosd is stopping; hosts go on unless stop_hosts_on_exit is set"], as_json=as_json)
    return 0


def version(*, as_json: bool = False) -> int:
    """Print the versions of client and daemon; a daemon that is not running is no error here."""
    try:
        answer = Client().get("/v1/version")
    except Failure as error:
        if error.exit_code != failure.NOT_RUNNING:
            raise
        answer = {}
    running = answer.get("version")
    where = output.here()
    lines = [f"kaosctl {__version__}", where.paint("", f"kaosd {running}" if running else "kaosd is not running")]
    output.tell({"client": __version__, "daemon": running, "schema": answer.get("schema")}, lines, as_json=as_json)
    return 0
