"""Notebooks as Pachyderm pipelines, through the messages and stubs of python-pachyderm.

Their import takes a quarter of a second; who imports this package has a notebook that needs it.
"""
