"""The error tree. Every error that a person can cause is one sentence with what, where and what next.

Errors of libraries (sqlite, aiohttp, uv, docker, grpc, OSError) do not leave the module that calls them:
they are raised from there as one of these, with the original chained.
"""

from __future__ import annotations


class KaosError(Exception):
    """A failure with a sentence for a person.

    text: what is wrong and where (path, line, field). hint: what to do next; may be empty.
    retryable: whether the same attempt can succeed later without any change on disk.
    """

    code = "error"
    retryable = False

    def __init__(self, text: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.text} ({self.hint})" if self.hint else self.text


class ConfigError(KaosError):
    """The configuration, an argument or the location of the daemon's own files is not usable."""

    code = "config"


class BundleError(KaosError):
    """A source or data directory cannot be taken as it is."""

    code = "bundle"


class StoreError(KaosError):
    """The state directory failed us: disk full, permission, damage."""

    code = "store"
    retryable = True


class ContentLost(StoreError):
    """A content is not in the store, or is damaged there; looking at the directories again may put it back."""

    code = "content_lost"


class EngineError(KaosError):
    """An engine refused or failed."""

    code = "engine"


class BuildFailed(EngineError):
    """The environment inputs do not build; only a change of them helps."""

    code = "build_failed"


class StartFailed(EngineError):
    """The host did not come up, or does not answer."""

    code = "start_failed"
    retryable = True


class EngineUnavailable(EngineError):
    """The engine itself cannot be reached; nothing is wrong with the bundle."""

    code = "engine_unavailable"
    retryable = True


class HostUnreachable(EngineError):
    """The notebook's directory is elsewhere, and its host does not take or give what belongs there."""

    code = "host_unreachable"
    retryable = True


class DocumentHeld(KaosError):
    """A changed document is open in a tab that cannot take the change now; it waits until the tab can, or is closed.

    costly: to find that out, a server was started and ended again.
    """

    code = "document_held"
    costly = False
    retryable = True


class ApiError(KaosError):
    """A request that cannot be fulfilled; carries its HTTP status."""

    code = "bad_request"
    status = 400


class NotFoundError(ApiError):
    """No such notebook, job, version or path."""

    code = "not_found"
    status = 404


class ConflictError(ApiError):
    """The request contradicts the present state."""

    code = "conflict"
    status = 409
