"""The one local web address behind which all hosts stand: reverse proxy with websockets, building page, index.

A request passes three rooms: access (may it come in?), then either relay (to the notebook's host) or
screens (our own pages). All notebooks share one origin, so a page of one notebook can reach the others with the
person's cookies: the gate is against other users and other web sites, not between notebooks of one person.
"""

from kaosd.front.once import OneTime
from kaosd.front.routes import DescribedRoute, Directory, Route
from kaosd.front.server import Front

__all__ = ["DescribedRoute", "Directory", "Front", "OneTime", "Route"]
