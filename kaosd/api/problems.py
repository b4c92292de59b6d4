"""Errors as RFC 9457 problem documents, with the code and the hint of our errors as extra members."""

from __future__ import annotations

import json
from http import HTTPStatus

from aiohttp import web

from kaosd import __version__
from kaosd.errors import ApiError, BundleError, ConfigError, KaosError

HEADERS = {"Kaosd-Version": __version__}  # of every answer


class Refusal(ApiError):
    """A request that is turned away before the daemon sees it."""

    def __init__(self, status: int, code: str, text: str, *, hint: str = "") -> None:
        super().__init__(text, hint=hint)
        self.status = status
        self.code = code


def status_of(error: KaosError) -> int:
    """The HTTP status that fits an error."""
    match error:
        case ApiError():
            return error.status
        case ConfigError():
            return HTTPStatus.BAD_REQUEST
        case BundleError():
            return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.SERVICE_UNAVAILABLE if error.retryable else HTTPStatus.INTERNAL_SERVER_ERROR


def document(error: KaosError) -> dict[str, object]:
    """The problem document of *error*."""
    status = HTTPStatus(status_of(error))
    return {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": error.text,
        "code": error.code,
        "hint": error.hint,
    }


def problem(error: KaosError) -> web.Response:
    """The answer that reports *error*."""
    body = json.dumps(document(error)).encode()
    return web.Response(status=status_of(error), body=body, content_type="application/problem+json", headers=HEADERS)


def of_http(error: web.HTTPException, method: str) -> Refusal:
    """What aiohttp refused, in our words."""
    match error.status:
        case HTTPStatus.NOT_FOUND:
            return Refusal(404, "no_such_route", "there is nothing at this address", hint="see GET /v1/status")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = error.headers.get("Allow", "")
            return Refusal(405, "method_not_allowed", f"{method} cannot be used here", hint=f"use {allowed}")
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return too_large()
    return Refusal(error.status, "bad_request", error.reason)


def too_large() -> Refusal:
    """The answer to a body beyond the limit."""
    return Refusal(413, "too_large", "the body of the request is too large", hint="at most 1 MB is taken")
