"""A build in flight: what it makes, for what, and the task that does it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from kaosd.model import Environment, Job
from kaosd.notebook.record import LogFile
from kaosd.planner import Target


@dataclass(slots=True)
class Making:
    """A build in flight. digest: of the environment inputs."""

    digest: str
    target: Target
    job: Job
    log: LogFile
    task: asyncio.Task[Environment]
