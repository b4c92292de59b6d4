"""The control socket: HTTP/1.1 with JSON for kaosctl, curl and whoever is the same user.

routes is the table of what can be asked; server runs it; listener owns the socket's path; connection bounds what
one client may cost; request_checks checks what comes in; problems says what went wrong (RFC 9457).
"""

from kaosd.api.connection import Limits
from kaosd.api.routes import ROUTES
from kaosd.api.server import Api

__all__ = ["ROUTES", "Api", "Limits"]
