"""What a notebook uses: rates out of samples, the warning before the limit, GPU memory by process, package changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaosd.engines.gpus import Gpus, parsed
from kaosd.model import PackageChanges, Usage
from kaosd.notebook.package_changes import changed
from kaosd.notebook.resource_use import KEPT, Rate, Sample, kept, kernel_rates, near_limit, rate

GI, MI = 2**30, 2**20


def sample(at: float, seconds: float, memory: int = GI, **kernels: float) -> Sample:
    each = {kernel: Usage(MI, used) for kernel, used in kernels.items()}
    return Sample(at, Usage(memory, seconds), each)


@pytest.mark.parametrize(
    ("samples", "cores"),
    [
        ([], None),
        ([sample(10, 5)], None),
        ([sample(10, 5), sample(10.1, 5.1)], None),
        ([sample(10, 5), sample(12, 8)], 1.5),
        ([sample(10, 5), sample(20, 5)], 0.0),
        ([sample(10, 5), sample(12, 4)], 0.0),  # a child that ended took its time with it
        ([sample(10, 5), sample(11, 99), sample(14, 6)], 0.25),
    ],
)
def test_processors_are_counted_between_the_first_and_the_last_sample(
    samples: list[Sample], cores: float | None
) -> None:
    found = rate(samples)
    assert found == (None if cores is None else Rate(GI, cores))


def test_samples_are_kept_as_long_as_they_are_of_use() -> None:
    samples: list[Sample] = []
    for number in range(100):  # a page that asks very often
        samples = kept([*samples, sample(number / 10, number / 10)], number / 10)
    assert 9 <= len(samples) <= 12
    assert rate(samples) == Rate(GI, 1.0)
    old = sample(0, 0)
    assert kept([old], KEPT) == [old]
    assert kept([old, sample(KEPT + 1, 1)], KEPT + 1) == [sample(KEPT + 1, 1)]


def test_kernels_that_were_there_for_long_enough_have_a_rate_of_their_own() -> None:
    samples = [sample(0, 0, a=1.0, gone=1.0), sample(2, 0, a=2.0, fresh=1.0)]
    assert kernel_rates(samples) == {"a": Rate(MI, 0.5)}
    assert kernel_rates([]) == {}


@pytest.mark.parametrize(
    ("memory", "limit", "warning"),
    [
        (int(3.7 * GI), 4 * GI, "memory 3.7 of 4.0 Gi"),
        (int(3.5 * GI), 4 * GI, ""),
        (500 * MI, 512 * MI, "memory 500.0 of 512.0 Mi"),
        (4 * GI, None, ""),
        (4 * GI, 0, ""),
    ],
)
def test_the_warning_comes_before_the_limit(memory: int, limit: int | None, warning: str) -> None:
    assert near_limit(Rate(memory, 0.0), limit) == warning
    assert near_limit(None, limit) == ""


def test_gpu_memory_is_added_up_by_process() -> None:
    assert parsed("12, 100\n12, 28\n7, 5\n8, [N/A]\n\nNo running processes\n") == {12: 128 * MI, 7: 5 * MI}


async def test_nvidia_smi_is_asked_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "fake-smi"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho "12, 100"\n')
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    gpus = Gpus("fake-smi")
    assert gpus.used([12]) is None
    for _ in range(3):
        await gpus.refresh()
    assert (gpus.used([12, 13]), gpus.used([])) == (100 * MI, 0)
    assert (tmp_path / "asked").read_text().count("\n") == 1


async def test_without_nvidia_smi_or_an_answer_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Gpus("there-is-no-such-program")
    await absent.refresh()
    assert absent.used([1]) is None
    program = tmp_path / "fake-smi"
    program.write_text("#!/bin/sh\necho 12, 100; exit 9\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    broken = Gpus("fake-smi")
    await broken.refresh()
    assert broken.used([12]) is None


def test_a_change_of_the_environment_names_what_differs() -> None:
    before, after = {"numpy": "2.1", "six": "1", "old": "1"}, {"numpy": "2.2", "six": "1", "scipy": "1.16"}
    assert changed(before, after) == PackageChanges(("scipy",), ("old",), (("numpy", "2.1", "2.2"),))
    assert changed(before, before) == PackageChanges()
