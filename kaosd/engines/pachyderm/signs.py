"""What tells that a host will not come up, before the time for it is over: its pipeline, its pod, its lines. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kaosd.engines.pachyderm.answers import Kind, PachydRefusal, no_image
from kaosd.engines.pachyderm.pipelines import STUCK, FoundPipeline
from kaosd.errors import StartFailed

ENDS = 3  # ends of JupyterLab in a row after which it will not stay up either
_ENDED = re.compile(r"JupyterLab ended with (\d+)")
_MISSING = {"126", "127"}  # what a shell says when there is no such program
_POD = re.compile(r"is waiting to start: (.+)")
_POD_FAILED = re.compile(r"CrashLoop|Image|pull|CreateContainer|RunContainer|InvalidImage", re.IGNORECASE)


@dataclass(slots=True)
class Signs:
    """What was seen of a host that is coming up. stuck_for: seconds after which what may pass is believed.

    no_pod_for: the same for a pipeline without a pod, which each has for a while when it is changed.
    report: is given a line when the pipeline's state changes. found: the pipeline as it was seen last.
    """

    notebook: str
    stuck_for: float
    report: Callable[[str], None]
    no_pod_for: float = 30.0
    found: FoundPipeline | None = None
    _stuck_since: float | None = None
    _no_pod_since: float | None = None
    _ends: int = 0
    _refused: str = ""  # for good, and why

    def line(self, text: str) -> None:
        """Take in one line that the host printed."""
        self._no_pod_since = None
        ended = _ENDED.search(text)
        if ended is None:
            return
        self._ends += 1
        if ended[1] in _MISSING:
            self._refused = f"JupyterLab cannot be started in the image: its command ended with {ended[1]} (not found)"
        elif self._ends >= ENDS:
            self._refused = f"JupyterLab ended {self._ends} times in a row, the last time with {ended[1]}"

    def no_lines(self, error: PachydRefusal, now: float) -> None:
        """Take in why there are no lines to be had, at loop time *now*."""
        waiting = _POD.search(error.text)
        if error.kind is Kind.NO_LOGS:
            self._no_pod_since = now if self._no_pod_since is None else self._no_pod_since
        else:
            self._no_pod_since = None
        if error.kind is Kind.WAITING and waiting and _POD_FAILED.search(waiting[1]):
            self._refused = f"the pod of {self.notebook} does not start: {waiting[1]}"

    def see(self, found: FoundPipeline | None, now: float) -> bool:
        """Take in the pipeline as it is at loop time *now*, and say whether that is news."""
        before, self.found = self.found, found
        if found is not None and (before is None or found.state != before.state):
            self.report(f"{found.state} {found.reason}".rstrip())
        if found is None or found.state not in STUCK:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        return found != before

    def check(self, now: float) -> None:
        """StartFailed when the host will not come up, with the reason that is known best."""
        found, since = self.found, self._stuck_since
        if found is not None and since is not None:
            final = found.state == "PIPELINE_FAILURE" or no_image(found.reason)
            if final or now - since >= self.stuck_for:  # a node may still come, or what held it may end
                raise StartFailed(
                    f"the pipeline {self.notebook} is {found.state}: {found.reason or 'it says no reason'}"
                )
        if self._refused:
            raise StartFailed(self._refused)
        if self._no_pod_since is not None and now - self._no_pod_since >= self.no_pod_for:
            raise StartFailed(
                f"Kubernetes makes no pod for the pipeline {self.notebook}",
                hint="a quota or a limit range may forbid it: `kubectl describe rc` in pachd's namespace says so",
            )
