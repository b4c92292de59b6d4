"""Measurements of whole commands and of the way from a save to the notebook."""
