"""The daemon's figures in Prometheus's text format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaosd import metrics
from kaosd.bundle import Store
from kaosd.metrics import Counters, Family, Value


@pytest.mark.parametrize(
    ("family", "lines"),
    [
        (Family("a", "gauge", "An a.", (Value({}, 3),)), ["# HELP a An a.", "# TYPE a gauge", "a 3"]),
        (Family("a", "gauge", "An a.", ()), []),
        (
            Family("a", "counter", "An a.", (Value({"x": 'q"\\\n', "y": "z"}, 0.25),)),
            ["# HELP a An a.", "# TYPE a counter", 'a{x="q\\"\\\\\\n",y="z"} 0.25'],
        ),
        (
            Family("a", "summary", "An a.", (Value({}, 1.5, "_sum"), Value({}, 2, "_count"))),
            ["# HELP a An a.", "# TYPE a summary", "a_sum 1.5", "a_count 2"],
        ),
    ],
)
def test_the_text_format(family: Family, lines: list[str]) -> None:
    assert metrics.text([family]).splitlines() == lines


def notebook(name: str, state: str, **facts: Any) -> dict[str, Any]:
    host = {"restarts": 1, "kernels": 2, "busy": 1}
    return {"name": name, "state": state, "host": host, "usage": None, "resources": {"memory": None}, **facts}


def shown(counted: Counters, *notebooks: dict[str, Any]) -> list[str]:
    watch = {"mode": "inotify", "directories": 7, "files": 8, "overflows": 0, "rescans": 1}
    daemon = {"version": "1", "started_at": "1970-01-01T00:01:40.000Z", "problems": [], "watch": watch}
    found = metrics.families({"daemon": daemon, "notebooks": list(notebooks)}, counted, 4096)
    return [line for line in metrics.text(found).splitlines() if not line.startswith("#")]


def test_what_the_daemon_and_its_notebooks_are_at() -> None:
    used = {"memory": 2**30, "cpu": 0.5, "gpu_memory": None}
    found = shown(
        Counters(),
        notebook("a", "live", usage=used, resources={"memory": "4Gi"}),
        notebook("b", "live"),
        notebook("c", "failed"),
    )
    for line in (
        'kaosd_info{version="1"} 1',
        "kaosd_start_time_seconds 100",
        "kaosd_store_bytes 4096",
        'kaosd_watch_directories{mode="inotify"} 7',
        "kaosd_watch_overflows_total 0",
        'kaosd_notebooks{state="live"} 2',
        'kaosd_notebooks{state="failed"} 1',
        'kaosd_notebooks{state="building"} 0',
        'kaosd_host_restarts_total{notebook="b"} 1',
        'kaosd_memory_bytes{notebook="a"} 1073741824',
        'kaosd_memory_limit_bytes{notebook="a"} 4294967296',
        'kaosd_cpu_cores{notebook="a"} 0.5',
    ):
        assert line in found
    assert not [line for line in found if line.startswith(("kaosd_memory", "kaosd_cpu")) and '"b"' in line]
    assert not [line for line in found if line.startswith(("kaosd_gpu", "kaosd_deployments", "kaosd_build"))]


def test_deployments_builds_and_syncs_are_counted() -> None:
    counted = Counters()
    counted.deployment("a", "live", "sync", 0.25)
    counted.deployment("a", "live", "sync", 0.5)
    counted.deployment("a", "live", "build", 9.0)
    counted.deployment("b", "failed", "sync", 9.0)
    counted.build("a", 8.5)
    found = [line for line in shown(counted) if "deployments" in line or "seconds_" in line]
    assert found == [
        'kaosd_deployments_total{notebook="a",outcome="live"} 3',
        'kaosd_deployments_total{notebook="b",outcome="failed"} 1',
        'kaosd_build_seconds_sum{notebook="a"} 8.5',
        'kaosd_build_seconds_count{notebook="a"} 1',
        'kaosd_sync_seconds_sum{notebook="a"} 0.75',
        'kaosd_sync_seconds_count{notebook="a"} 2',
    ]


def test_the_size_of_the_store_is_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    before = store.size()
    store.put(b"\0\1" * 500_000)
    store.flush()
    assert store.size() - before >= 1_000_000
    store.close()
