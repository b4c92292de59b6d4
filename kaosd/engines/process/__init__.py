"""The process engine: virtual environments made by uv, JupyterLab as a process of the person's own."""

from kaosd.engines.process.engine import ProcessEngine

__all__ = ["ProcessEngine"]
