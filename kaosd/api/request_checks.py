"""What comes in, checked: who may have sent it, its body, its query, its fields."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kaosd.api.problems import Refusal, too_large
from kaosd.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaosd.api.connection import Limits

HOSTS = frozenset({"", "kaosd", "localhost"})
BRACKETS = 200  # no request has need of more, and a parser of deep nesting may have too little stack
POLL_MAX = 60.0  # seconds that one request for events may wait

Fields = TypeVar("Fields", bound="_Fields")


def _absolute(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError("it must be an absolute path")
    return path


class _Fields(BaseModel):
    """Unknown fields are ignored, so that a newer client can talk to an older daemon.

    Each is made ready when it is used first: the daemon's start does not need them.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


class Add(_Fields):
    """packages: requirements as PEP 508 writes them."""

    packages: Annotated[list[Annotated[str, Field(min_length=1, max_length=500)]], Field(min_length=1, max_length=50)]


class Backup(_Fields):
    """file: absolute path that the backup is written to."""

    file: Annotated[str, AfterValidator(_absolute)]


class Redeploy(_Fields):
    """force: past the mass-change guard. now: do not wait for busy kernels. when_idle: wait for them without limit."""

    force: bool = False
    now: bool = False
    when_idle: bool = False

    @model_validator(mode="after")
    def _one_wish(self) -> Self:
        if self.when_idle and (self.now or self.force):
            raise ValueError("give when_idle alone")
        return self


class Restart(_Fields):
    """kernels: restart the kernels only, and keep the server."""

    kernels: bool = False


class Run(_Fields):
    """notebook: path in the notebook's root. file: the same as a path of this machine, meant if it is in the source.

    timeout: seconds for the cells; None: no limit. keep: answer with the executed notebook too.
    """

    notebook: Annotated[str, Field(min_length=1)]
    file: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    timeout: float | None = Field(default=None, gt=0)
    keep: bool = False


class Rollback(_Fields):
    """to: number of a deployment, or the start of a version's digest; None: the one before."""

    to: str | int | None = None


class Deploy(_Fields):
    """replace: the notebook may get another source than the one that it has."""

    replace: bool = False


class Restore(_Fields):
    """path: of a recovered copy as listed, in the notebook or of the copy's own file; null: of every path."""

    path: Annotated[str, Field(min_length=1)] | None


class Reset(_Fields):
    """paths: files or directories of the notebook, or of its source; none: all edits. dry_run: nothing is done."""

    paths: list[Annotated[str, Field(min_length=1)]] = []
    dry_run: bool = False


class Pull(Reset):
    """force: also what was changed on disk as well; a copy is kept. strip_outputs: notebooks without their outputs."""

    force: bool = False
    strip_outputs: bool = False


class Wait(_Fields):
    """timeout: in seconds; None: as long as it takes. tries: failed attempts in a row that end the wait; None: none."""

    timeout: float | None = Field(default=None, ge=0)
    tries: int | None = Field(default=None, ge=1)


class _Query(_Fields):
    """Values of a query are text, and converted."""

    model_config = ConfigDict(strict=False)


class WhyQuery(_Query):
    """path: absolute; bytes that are not UTF-8 percent-encoded as they are."""

    path: Annotated[str, AfterValidator(_absolute)]


class Diff(_Query):
    """path: of one file of the notebook, or of a directory.

    from, to: numbers of two deployments, instead; or copy: a recovered copy, as in Restore.
    """

    path: Annotated[str, Field(min_length=1)] | None = None
    copied: Annotated[str, Field(min_length=1)] | None = Field(default=None, alias="copy")
    first: int | None = Field(default=None, alias="from", ge=1)
    last: int | None = Field(default=None, alias="to", ge=1)

    @model_validator(mode="after")
    def _one_question(self) -> Self:
        given = sum(one is not None for one in (self.first, self.path, self.copied))
        if (self.first is None) != (self.last is None) or given > 1:
            raise ValueError("give from and to, or path, or copy, or none of them")
        return self


class Kill(_Query):
    """repos: which are deleted with the notebook, where its engine has any."""

    repos: Literal["none", "source", "all"] = "none"


class Events(_Query):
    """after: number of the last event that the reader has. timeout: seconds to wait for one."""

    after: int = Field(default=0, ge=0)
    timeout: float = Field(default=0.0, ge=0)


class Logs(_Query):
    """deploy: a number or "last". lines: how many of the newest."""

    stage: Literal["watch", "build", "host"] | None = None
    deploy: str | None = Field(default=None, pattern="^(last|[0-9]{1,9})$")
    lines: int | None = Field(default=None, ge=1, le=100_000)


def checked(kind: type[Fields], values: Mapping[str, object]) -> Fields:
    """The fields of a request; ApiError names the first one that is wrong."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"][:1])
        text = first["msg"].removeprefix("Value error, ")
        raise ApiError(": ".join(part for part in (name, f"{text[:1].lower()}{text[1:]}") if part)) from error


def refuse_browsers(request: web.Request) -> None:
    """Refusal of what a page in a browser can send, however it got here, and of requests meant for others."""
    hosts = [host.lower() for host in request.headers.getall("Host", [])]
    # An address in the request line ("GET http://other/v1/status") would stand above Host.
    if len(hosts) > 1 or not HOSTS.issuperset(hosts) or not request.raw_path.startswith("/"):
        raise Refusal(403, "forbidden", "the Host of the request is not kaosd", hint="use http://kaosd/v1/...")
    for name in request.headers:
        if name.lower() in ("origin", "referer") or name.lower().startswith("sec-fetch-"):
            raise Refusal(403, "forbidden", "requests of web pages are not answered here")


def query_of(raw: str) -> dict[str, str]:
    """The fields of a query that is still percent-encoded; names that are not UTF-8 as os.fsdecode gives them."""
    try:
        return dict(parse_qsl(raw, keep_blank_values=True, errors="surrogateescape", max_num_fields=20))
    except ValueError as error:
        raise ApiError("the query has too many fields") from error


async def body_of(request: web.Request, limits: Limits) -> dict[str, Any]:
    """The JSON object in the body; empty when there is none. Refusal: too large, too slow, another type."""
    if not request.body_exists:
        return {}
    if request.content_type != "application/json":
        raise Refusal(415, "unsupported_media_type", "the body must be JSON", hint="Content-Type: application/json")
    if (request.content_length or 0) > limits.body_bytes:
        raise too_large()
    try:
        async with asyncio.timeout(limits.body):
            return parse(await request.read())
    except TimeoutError as error:
        raise Refusal(408, "timeout", f"the body did not come within {limits.body:g} seconds") from error
    except web.RequestPayloadError as error:
        raise ApiError("the body is not coded as its header says") from error


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in *body*; ApiError when it is none, is nested deeply or says something twice."""
    if body.count(b"[") + body.count(b"{") > BRACKETS:
        raise ApiError("the body has too many brackets")
    try:
        value = json.loads(body, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(f"the body is not valid JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise ApiError("the body must be a JSON object", hint='for example {"force": true}')
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
