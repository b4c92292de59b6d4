"""The repos in which an engine elsewhere keeps all versions of a notebook: which they are, and the end of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Literal

from kaosd.engines.base import Carrier
from kaosd.errors import EngineError
from kaosd.notebook import view
from kaosd.notebook.actor import Notebook

Unwanted = Literal["none", "source", "all"]  # repos to delete with a notebook


def shown(actor: Notebook) -> dict[str, Any]:
    """The notebook's object of the status. repos: of its engine; none where all is in the state directory."""
    return dict(view.notebook(replace(actor.facts(), repos=tuple(_repos(actor)))))


async def clear(actor: Notebook, unwanted: Unwanted) -> dict[str, Any] | None:
    """Delete the repos of a notebook that was stopped and forgotten; none are deleted that kaosd did not make.

    Which were deleted, and which are still there; None when the engine has none.
    """
    engine, name = actor.engine, actor.spec.name
    if not isinstance(engine, Carrier):
        return None
    source, data = engine.repos(name)
    try:
        chosen = {"none": (), "source": (source,), "all": (source, data)}[unwanted]
        return asdict(await engine.clear(actor.spec, chosen))
    except EngineError as error:
        text = f"{name} is stopped and forgotten, but its repos could not be seen to: {error.text}"
        raise EngineError(text, hint=f"`pachctl delete repo` ends {source} and {data}") from error


def _repos(actor: Notebook) -> tuple[str, ...]:
    return actor.engine.repos(actor.spec.name) if isinstance(actor.engine, Carrier) else ()
