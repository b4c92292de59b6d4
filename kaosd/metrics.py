"""The daemon's figures in the text format of Prometheus (version 0.0.4), out of the status and of what was counted.

Written here and not by prometheus-client, whose registry, HTTP server and collectors would be the larger part: the
format is a line for each value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from kaosd.display import epoch
from kaosd.model import NotebookState, Resources

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = Mapping[str, str]


class Value(NamedTuple):
    """One line. suffix: of the family's name in it, such as "_sum" of a summary."""

    labels: Labels
    number: float
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """All values of one name. unit and kind are parts of the contract; help: one line. A summary has no quantiles."""

    name: str
    kind: Literal["counter", "gauge", "summary"]
    help: str
    values: tuple[Value, ...]


class Counters:
    """What happened since the daemon was started."""

    def __init__(self) -> None:
        self.deployments: Counter[tuple[str, str]] = Counter()  # by notebook and outcome
        self.counts: Counter[tuple[str, str]] = Counter()  # by "build" or "sync", and notebook
        self.seconds: dict[tuple[str, str], float] = {}  # the same

    def deployment(self, notebook: str, outcome: str, action: str, seconds: float) -> None:
        """A deployment ended; one that is live and only synced code counts as a sync."""
        self.deployments[notebook, outcome] += 1
        if (outcome, action) == ("live", "sync"):
            self._took("sync", notebook, seconds)

    def build(self, notebook: str, seconds: float) -> None:
        """A build succeeded."""
        self._took("build", notebook, seconds)

    def _took(self, what: str, notebook: str, seconds: float) -> None:
        key = what, notebook
        self.counts[key] += 1
        self.seconds[key] = self.seconds.get(key, 0.0) + seconds


def text(families: Iterable[Family]) -> str:
    """The families in Prometheus's text format; one without values is left out."""
    lines = []
    for family in families:
        if family.values:
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for labels, value, suffix in family.values:
            pairs = ",".join(f'{name}="{_escaped(label)}"' for name, label in labels.items())
            number = str(int(value)) if value == int(value) else repr(float(value))
            lines.append(f"{family.name}{suffix}{f'{{{pairs}}}' if pairs else ''} {number}")
    return "".join(f"{line}\n" for line in lines)


def families(status: Mapping[str, Any], counted: Counters, store_bytes: int) -> list[Family]:
    """All figures, out of the object of `status --json`."""
    daemon, notebooks = status["daemon"], status["notebooks"]
    return [*_of_daemon(daemon, store_bytes), *_of_counters(counted), *_of_notebooks(notebooks)]


def _of_daemon(daemon: Mapping[str, Any], store_bytes: int) -> list[Family]:
    watch = daemon["watch"]
    return [
        _gauge("kaosd_info", "The running daemon.", [({"version": daemon["version"]}, 1)]),
        _gauge("kaosd_start_time_seconds", "When the daemon was started.", [({}, epoch(daemon["started_at"]) or 0)]),
        _gauge("kaosd_problems", "Problems of the daemon as a whole.", [({}, len(daemon["problems"]))]),
        _gauge("kaosd_store_bytes", "Bytes of the store on disk.", [({}, store_bytes)]),
        _gauge("kaosd_watch_directories", "Watched directories.", [({"mode": watch["mode"]}, watch["directories"])]),
        _gauge("kaosd_watch_files", "Files in the watched directories.", [({}, watch["files"])]),
        _counter("kaosd_watch_overflows_total", "Overflows of the event queue.", [({}, watch["overflows"])]),
        _counter("kaosd_watch_rescans_total", "Directories that were read again.", [({}, watch["rescans"])]),
    ]


def _of_counters(counted: Counters) -> list[Family]:
    outcomes = [({"notebook": name, "outcome": out}, n) for (name, out), n in sorted(counted.deployments.items())]
    found = [_counter("kaosd_deployments_total", "Deployments that ended, by outcome.", outcomes)]
    for what, text in (("build", "Builds that succeeded."), ("sync", "Deployments that only synced code.")):
        values = []
        for (kind, name), number in sorted(counted.counts.items()):
            if kind == what:
                values.append(Value({"notebook": name}, round(counted.seconds[kind, name], 3), "_sum"))
                values.append(Value({"notebook": name}, number, "_count"))
        found.append(Family(f"kaosd_{what}_seconds", "summary", text, tuple(values)))
    return found


def _of_notebooks(notebooks: Iterable[Mapping[str, Any]]) -> list[Family]:
    shown = [({"notebook": one["name"]}, one, one["host"], one["usage"] or {}) for one in notebooks]
    states = Counter(one["state"] for _, one, _, _ in shown)

    limits = [(name, Resources(memory=one["resources"]["memory"]).memory_bytes) for name, one, _, _ in shown]
    return [
        _gauge("kaosd_notebooks", "Notebooks by state.", [({"state": one}, states[one]) for one in NotebookState]),
        _counter("kaosd_host_restarts_total", "Times that a host ended by itself.",
                 [(name, host["restarts"]) for name, _, host, _ in shown]),
        _gauge("kaosd_kernels", "Running kernels.", [(name, host["kernels"]) for name, _, host, _ in shown]),
        _gauge("kaosd_busy_kernels", "Busy kernels.", [(name, host["busy"]) for name, _, host, _ in shown]),
        _gauge("kaosd_memory_bytes", "Memory in use.", [(name, use.get("memory")) for name, _, _, use in shown]),
        _gauge("kaosd_memory_limit_bytes", "Memory limit.", limits),
        _gauge("kaosd_cpu_cores", "Processors in use.", [(name, use.get("cpu")) for name, _, _, use in shown]),
        _gauge("kaosd_gpu_memory_bytes", "GPU memory in use.",
               [(name, use.get("gpu_memory")) for name, _, _, use in shown]),
    ]  # fmt: skip


def _gauge(name: str, text: str, values: Iterable[tuple[Labels, float | None]]) -> Family:
    """A family without those values that are not known."""
    return Family(name, "gauge", text, tuple(Value(labels, number) for labels, number in values if number is not None))


def _counter(name: str, text: str, values: Iterable[tuple[Labels, float]]) -> Family:
    return Family(name, "counter", text, tuple(Value(labels, number) for labels, number in values))


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
