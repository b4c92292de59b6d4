"""Code that runs inside the notebook's environment: the start of JupyterLab, its kernels, its open documents.

It is started by path, with the environment's own Python (3.9 or later) and packages, so nothing here imports
from kaosd: launch.py loads this directory as the package `kaosd_hosted`, which shadows nothing.
"""
