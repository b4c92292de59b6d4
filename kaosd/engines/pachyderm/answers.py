"""What pachd's refusals mean. Most of them carry the status UNKNOWN, so that only their text tells them apart. Pure."""

from __future__ import annotations

import re
from enum import StrEnum

from kaosd.errors import EngineError


class Kind(StrEnum):
    """What a call that failed means for what to do next."""

    ABSENT = "absent"
    EXISTS = "exists"
    OPEN = "open"  # a commit that has to be finished first
    CLOSED = "closed"  # a commit that is finished already
    NO_LOGS = "no logs"  # because there is no pod
    WAITING = "waiting"  # a container that does not run yet
    IN_USE = "in use"  # a repo that pipelines read
    UNREACHABLE = "unreachable"
    SLOW = "slow"
    TOKEN = "token"  # noqa: S105 - no password
    FORBIDDEN = "forbidden"
    PROJECT = "project"
    NO_AUTH = "no auth"  # who uses the cluster is asked nobody there
    TLS = "tls"
    SECRET = "secret"  # noqa: S105 - no password
    LIMIT = "limit"
    TOO_LARGE = "too large"
    CANCELLED = "cancelled"
    REFUSED = "refused"


class PachydRefusal(EngineError):
    """A call to pachd that failed. Whether its effect took place is not known when it is UNCERTAIN."""

    code = "pachyderm"

    def __init__(self, kind: Kind, text: str, *, hint: str = "") -> None:
        super().__init__(text, hint=hint, retryable=kind in RETRYABLE)
        self.kind = kind


UNCERTAIN = frozenset({Kind.UNREACHABLE, Kind.TLS, Kind.SLOW, Kind.CANCELLED})
RETRYABLE = UNCERTAIN | {Kind.OPEN, Kind.TOKEN, Kind.SECRET, Kind.LIMIT}

# The first row that fits; code "" fits all. The texts are those of pachd 2.7 to 2.12, and may have people's names in
# them, which have no spaces: a notebook may be called "secret" or "license".
_ROWS: tuple[tuple[str, str, Kind], ...] = (
    ("", r"has not been finished|not finished", Kind.OPEN),
    ("", r"has already (been )?finished|already finished", Kind.CLOSED),
    ("", r"no pods belonging to the rc", Kind.NO_LOGS),
    ("UNKNOWN", r'container "[^"]*" in pod "[^"]*" is waiting to start', Kind.WAITING),
    ("UNKNOWN", r"cannot be deleted because it's in the direct provenance of", Kind.IN_USE),
    ("UNKNOWN", r'missing Kubernetes secret|secrets? "[^"]*" not found', Kind.SECRET),
    ("UNKNOWN", r"requires an activation key", Kind.LIMIT),
    ("NOT_FOUND", r'\bproject "?[\w-]+"? not found', Kind.PROJECT),
    ("", r"already exists", Kind.EXISTS),
    ("UNIMPLEMENTED", r"auth service is not activated|not activated", Kind.NO_AUTH),
    ("UNAVAILABLE", r"CERTIFICATE|certificate|SSL|handshake", Kind.TLS),
    ("NOT_FOUND", "", Kind.ABSENT),
    ("ALREADY_EXISTS", "", Kind.EXISTS),
    ("UNAUTHENTICATED", "", Kind.TOKEN),
    ("INTERNAL", r"no authentication metadata", Kind.TOKEN),
    ("PERMISSION_DENIED", "", Kind.FORBIDDEN),
    ("DEADLINE_EXCEEDED", "", Kind.SLOW),
    ("RESOURCE_EXHAUSTED", "", Kind.TOO_LARGE),
    ("UNAVAILABLE", "", Kind.UNREACHABLE),
    ("CANCELLED", "", Kind.CANCELLED),
    ("UNKNOWN", r"\bStream removed|closed unexpectedly", Kind.UNREACHABLE),
    ("INTERNAL", r"RST_STREAM|GOAWAY|stream (removed|terminated)", Kind.UNREACHABLE),
)
_NO_IMAGE = re.compile(
    r"pulling image|fail(ed|ing) to pull|pull access denied|failed to resolve reference"
    r"|manifest\b.*\b(unknown|not found)"
    r"|reading manifest|default image tag|ImagePull|InvalidImageName",
    re.IGNORECASE,
)
_HINTS = {
    Kind.UNREACHABLE: "what is saved meanwhile is deployed when it is back",
    Kind.SLOW: "kaosd asks again by itself",
    Kind.TLS: "pachyderm.ca_file names the CAs that are trusted; grpcs:// is for TLS, grpc:// for none",
    Kind.TOKEN: "log in with `pachctl auth login`, give kaosd the new token and restart it",
    Kind.FORBIDDEN: "a person who administers the cluster can grant it with `pachctl auth set`",
    Kind.PROJECT: "create it with `pachctl create project`, or name another one in [pachyderm]",
    Kind.SECRET: "create the secret that [pachyderm] names, or correct the name",
    Kind.IN_USE: "delete the pipelines that read it first, or leave it",
    Kind.LIMIT: "delete a pipeline that is not needed, or give the cluster an enterprise key",
}
_SENTENCES = {
    Kind.UNREACHABLE: "pachd at {address} cannot be reached: {details}",
    Kind.TLS: "the TLS of pachd at {address} cannot be used: {details}",
    Kind.SLOW: "pachd at {address} did not answer in time when asked to {what}",
    Kind.TOKEN: "pachd at {address} does not accept the token: {details}",
    Kind.LIMIT: "pachd at {address} allows no more pipelines: {details}",
}
_OTHERWISE = "pachd at {address} refused to {what}: {details}"


def no_image(reason: str) -> bool:
    """Whether a pipeline is stuck because its image cannot be had; the reason is what the container runtime says."""
    return _NO_IMAGE.search(reason) is not None


def meaning(code: str, details: str) -> Kind:
    """The kind of a failed call, from its gRPC status (as a word) and the server's text."""
    for wanted, pattern, kind in _ROWS:
        if wanted in ("", code) and (not pattern or re.search(pattern, details, re.IGNORECASE)):
            return kind
    return Kind.REFUSED


def refusal(code: str, details: str, *, address: str, what: str) -> PachydRefusal:
    """The error for a person. what: the call as "create the pipeline mnist"."""
    kind = meaning(code, details)
    told = " ".join(details.split())[:400] or code
    text = _SENTENCES.get(kind, _OTHERWISE).format(address=address, details=told, what=what)
    return PachydRefusal(kind, text, hint=_HINTS.get(kind, ""))
