"""What the files of a repository declare its environment to be. Pure: from names and texts to values.

`declare` answers which environment file is in use, what it refers to, which local projects belong to it, which Python
is asked for, and which files beside it are not used, and why. Nothing here reads the disk, runs a program or knows an
engine beyond its name.
"""

from kaosd.declared.choosing import Choice, Declared, Unused, declare, unused, warnings
from kaosd.declared.image import Image, image, made_from, meaning
from kaosd.declared.looking_up import Files, Texts
from kaosd.declared.projects import Project
from kaosd.declared.pythons import PythonWanted
from kaosd.declared.requirement_lines import RequirementLine, lines, name_of

__all__ = [
    "Choice",
    "Declared",
    "Files",
    "Image",
    "Project",
    "PythonWanted",
    "RequirementLine",
    "Texts",
    "Unused",
    "declare",
    "image",
    "lines",
    "made_from",
    "meaning",
    "name_of",
    "unused",
    "warnings",
]
