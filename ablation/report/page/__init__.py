"""``ablate report``: what the runs of a grid say, as one page that may be mailed, and its figures as pictures."""

from .figure import write
from .material import Material
from .page import render, sections

__all__ = ["Material", "render", "sections", "write"]
