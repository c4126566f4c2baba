"""The site, built by Sphinx from the pages of this repository and from docstrings: `python3 tasks.py site`."""

from ablation import __version__

project = "ablation"
version = release = __version__
copyright = "the maintainers of ablation"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "runs/README.md", "docs/**"]
exclude_patterns = [".*", "ablation", "dist", "runs/[!R]*", "tests"]  # folders that are not walked
root_doc = "docs/site/index"
myst_heading_anchors = 4  # links to headings, as on GitHub

html_theme = "alabaster"
html_theme_options = {
    "description": "What does a change to a Transformer do, and is the evidence enough to say so?",
    "page_width": "70em",
}
html_sidebars = {"**": ["about.html", "searchfield.html", "navigation.html"]}
html_extra_path = ["index.html"]  # leads from the root to the first page
html_show_sourcelink = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
