"""When a wait for a host ends before its time: what is seen of pipeline, pod and lines, as a table."""

from __future__ import annotations

import pytest

from kaosd.engines.pachyderm.answers import refusal
from kaosd.engines.pachyderm.pipelines import FoundPipeline
from kaosd.engines.pachyderm.signs import Signs
from kaosd.errors import StartFailed

NO_GPU = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
RUNNING, PULLING = ("PIPELINE_RUNNING", ""), ("PIPELINE_CRASHING", 'Back-off pulling image "r/x@sha256:0"')
NO_NODE, BROKEN = ("PIPELINE_CRASHING", NO_GPU), ("PIPELINE_FAILURE", "could not create RC")


def waits(reason: str) -> str:
    return f'container "user" in pod "default-x-v1-abcde" is waiting to start: {reason}'


def ended(*codes: int) -> list[str]:
    return [f"JupyterLab ended with {code}; it is started again in 1 s" for code in codes]


def seen(steps: list[object]) -> str | None:
    """Why the wait ends after these observations, each a second after the last; None when it goes on."""
    signs = Signs("x", 3.0, lambda _text: None, no_pod_for=3.0)
    for now, step in enumerate(steps):
        match step:
            case (str(state), str(reason)):
                signs.see(FoundPipeline(1, state, reason, "", {}, False), float(now))
            case str(text) if text.startswith("JupyterLab"):
                signs.line(text)
            case str(text):
                signs.no_lines(refusal("UNKNOWN", text, address="p", what="show"), float(now))
        try:
            signs.check(float(now))
        except StartFailed as error:
            return f"{now}: {error.text}"
    return None


NO_POD = 'no pods belonging to the rc "default-x-v1" were found'


@pytest.mark.parametrize(
    ("steps", "end"),
    [
        ([RUNNING] * 9, None),
        ([RUNNING, PULLING], "1: the pipeline x is PIPELINE_CRASHING: Back-off pulling image"),
        ([BROKEN], "0: the pipeline x is PIPELINE_FAILURE: could not create RC"),
        ([NO_NODE] * 3, None),
        ([NO_NODE] * 4, f"3: the pipeline x is PIPELINE_CRASHING: {NO_GPU}"),
        ([NO_NODE, NO_NODE, RUNNING, NO_NODE, NO_NODE], None),  # the pod before it had what it needs
        ([RUNNING, *ended(127)], "1: JupyterLab cannot be started in the image"),
        ([RUNNING, *ended(126)], "1: JupyterLab cannot be started in the image"),
        ([RUNNING, *ended(1, 1)], None),
        ([RUNNING, *ended(1, 1, 1)], "3: JupyterLab ended 3 times in a row, the last time with 1"),
        ([RUNNING, NO_POD, NO_POD, NO_POD], None),
        ([RUNNING, NO_POD, NO_POD, NO_POD, NO_POD], "4: Kubernetes makes no pod for the pipeline x"),
        ([NO_POD, NO_POD, waits("PodInitializing"), NO_POD, NO_POD], None),
        ([NO_POD, NO_POD, "JupyterLab starts", NO_POD, NO_POD], None),
        ([waits("PodInitializing")] * 9, None),
        ([waits("ContainerCreating")] * 9, None),
        ([waits("CrashLoopBackOff")], "0: the pod of x does not start: CrashLoopBackOff"),
        ([waits("trying and failing to pull image")], "0: the pod of x does not start: trying and failing to pull"),
        ([waits("CreateContainerConfigError")], "0: the pod of x does not start: CreateContainerConfigError"),
        ([NO_NODE, *ended(127)], "1: JupyterLab cannot be started in the image"),
    ],
)
def test_what_ends_a_wait(steps: list[object], end: str | None) -> None:
    found = seen(steps)
    assert found == end if end is None else (found or "").startswith(end)


def test_a_change_of_state_is_reported_once() -> None:
    lines: list[str] = []
    signs = Signs("x", 3.0, lines.append)
    news = [
        signs.see(FoundPipeline(1, *state, "", {}, False), float(now))
        for now, state in enumerate([RUNNING, RUNNING, NO_NODE, NO_NODE, RUNNING])
    ]
    assert news == [True, False, True, False, True]
    assert lines == ["PIPELINE_RUNNING", f"PIPELINE_CRASHING {NO_GPU}", "PIPELINE_RUNNING"]
