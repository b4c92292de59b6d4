"""What stands on our own pages: the parts of a notebook's page, of the index, and of a refusal."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from kaosd.front.markup import Markup, element, join
from kaosd.front.routes import DescribedRoute
from kaosd.front.summary import FAILED, RESTING, WORKING, Summary, field, summarise
from kaosd.front.verbs import PAGE_ACTIONS
from kaosd.model import NotebookState

LOG_LINES = 20
_LEVEL = re.compile(r"(\bwarn(?:ing)?\b)|\b(?:error|failed|traceback|critical)\b", re.IGNORECASE)
_STAMP = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z ")


@dataclass(frozen=True)
class View:
    """A page's title and its parts, by the id of the element that holds each; they alone change while it is open.

    ready: the notebook's host answers.
    """

    title: str
    parts: dict[str, Markup]
    ready: bool = False

    @property
    def tag(self) -> str:
        """Differs when anything of the view does."""
        return hashlib.sha256(json.dumps([self.title, self.parts, self.ready]).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """What a page that is open asks for."""
        return {"tag": self.tag, "title": self.title, "ready": self.ready, "parts": self.parts}


def notebook_view(route: DescribedRoute, log: list[str], *, answering: bool) -> View:
    """The page of one notebook: where it stands, what went wrong, the last lines of the log."""
    summary = summarise(route, answering=answering)
    parts = {
        "headline": _headline(route, summary),
        "progress": _progress(summary),
        "trouble": _trouble(summary),
        "next": _next(route),
        "link": element("p", element("a", "Open JupyterLab", href=f"/{route.name}/lab")) if answering else Markup(),
        "log": _log(log) if summary.tone in (FAILED, WORKING) else Markup(),
        "facts": _facts(route),
    }
    return View(f"{summary.title} · {route.name}", parts, ready=answering)


def _headline(route: DescribedRoute, summary: Summary) -> Markup:
    words = [element("h1", summary.title), element("p", route.name, class_="name")]
    steps = [element("li", one.label, class_=one.mark, aria_current=_current(one.mark)) for one in summary.steps]
    path = element("ol", *steps, class_="steps") if summary.tone != RESTING else Markup()
    return element("div", *words, path, class_=summary.tone)


def _progress(summary: Summary) -> Markup:
    """How far the work in hand is; the page itself counts on from *since*."""
    if not summary.since:
        return Markup()
    elapsed = element("time", summary.since, datetime=summary.since, data_elapsed=True)
    limit = {"max": f"{summary.expected:.1f}", "value": "0"} if summary.expected else {}
    usual = f" of usually {_seconds(summary.expected)}" if summary.expected else ""
    bar = element("progress", aria_label="Progress", data_since=summary.since, **limit)
    doing = element("span", summary.doing, class_="doing")
    return join(bar, element("p", element("span", elapsed, usual), doing, class_="quiet pace"))


def _seconds(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60} s"


def _current(mark: str) -> str | bool:
    return "step" if mark in ("now", "failed") else False


def _trouble(summary: Summary) -> Markup:
    parts: list[Markup | str] = []
    if summary.error:
        kind = "error" if summary.tone == "failed" else "note"
        parts.append(element("pre", summary.error, class_=kind, tabindex="0", aria_label="Reason"))
    if summary.next:
        parts.append(element("p", summary.next))
    return join(*parts)


def _next(route: DescribedRoute) -> Markup:
    """What the person can do: a button where this page can ask for it, else the command."""
    found: list[Markup] = []
    if route.state == NotebookState.BUILDING:
        found.append(_button("cancel", {}, "Cancel build"))
    for one in route.status.get("next") or ():
        label, action = str(one["label"]).capitalize(), one.get("action") or {}
        if action.get("verb") in PAGE_ACTIONS:
            found.append(_button(action["verb"], action.get("body") or {}, label))
        else:
            found.append(element("span", f"{label}: ", element("code", one["command"])))
    told = element("p", id="said", role="status", class_="quiet")
    return join(element("div", *found, class_="next"), told) if found else Markup()


def _button(verb: str, body: dict[str, Any], label: str) -> Markup:
    return element("button", label, data_verb=verb, data_body=json.dumps(body), id=f"do-{verb}-{label}")


def _log(lines: list[str]) -> Markup:
    if not lines:
        return Markup()
    shown = [element("span", f"{_STAMP.sub('', line)}\n", class_=_level(line)) for line in lines]
    text = element("pre", *shown, class_="log", id="lines", tabindex="0", aria_label="Last log lines")
    return join(element("h2", "Last log lines"), text)


def _level(line: str) -> str | bool:
    found = _LEVEL.search(line)
    return False if found is None else "warn" if found[1] else "bad"


def _facts(route: DescribedRoute) -> Markup:
    number, causes = field(route, "deployment", "number"), (route.status.get("deployment") or {}).get("cause") or []
    facts: list[tuple[str, Markup | str]] = [
        ("State", route.state),
        ("Source", _version(route, "source")),
        ("Data", _version(route, "data")),
        ("Deployment", " · ".join([number, *map(str, causes[:5])]) if number else ""),
    ]
    facts += [("Warning", str(text)) for text in route.status.get("warnings") or ()]
    shown = [join(element("dt", label), element("dd", value)) for label, value in facts if value]
    return join(element("h2", "Details"), element("dl", *shown))


def _version(route: DescribedRoute, kind: str) -> Markup:
    live, disk = field(route, kind, "live"), field(route, kind, "disk")
    if not (live or disk):
        return Markup()
    if live == disk:
        return element("code", live)
    shown = [join(element("code", one), where) for one, where in ((live, " live"), (disk, " on disk")) if one]
    return join(shown[0], *(join(", ", one) for one in shown[1:]))
