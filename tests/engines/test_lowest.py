"""The oldest JupyterLab that is hosted: it starts, runs cells, and what it lacks is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kaosd.declared.pythons import LOWEST_LAB
from kaosd.engines.base import Order
from kaosd.engines.process import ProcessEngine
from tests.engines.conformance import lab
from tests.engines.conftest import SPEC, Files, Lines


async def test_the_oldest_jupyterlab_is_hosted_and_says_that_its_tabs_are_not_updated(
    short: Path, log: Lines, order_for: Callable[..., Order]
) -> None:
    engine = ProcessEngine(short / "e")
    try:
        built = await engine.build(SPEC, Files.of(f"jupyterlab=={LOWEST_LAB}.*\n"), log)
        order = order_for(built)
        async with lab(await engine.start(order, log), order) as there:
            code = "import jupyterlab; print(jupyterlab.__version__)"
            assert (await there.run(await there.new_kernel(), code)).startswith(f"{LOWEST_LAB}.")
    finally:
        await engine.close()
    assert any("jupyter-collaboration is left out" in note for note in built.notes)
