"""kaosd: source bundle + data = hosted notebook, on every save."""

__version__ = "0.1.0"
