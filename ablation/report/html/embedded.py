"""What a page contains beside its text: style, scripts, figures and the library that draws them; it loads nothing.

The content security policy allows the scripts and the style of the page by their hashes, and nothing else; so it does
the library of the figures, which is compressed as they are. The page would be three times as large.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from . import figure
from .figure import Figure

_HERE = Path(__file__).parent


def template(name: str) -> jinja2.Template:
    """A template of this folder, which may import from others."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, loader=jinja2.FileSystemLoader(_HERE)
    )
    return environment.get_template(name)


def embedded(figures: Sequence[Figure], styles: Sequence[str], scripts: Sequence[str]) -> dict[str, Any]:
    """What a template needs of the files ``styles`` and ``scripts`` of this folder, and of its figures."""
    style = "".join(_read(name) for name in styles)
    texts = [_read(name) for name in (*scripts, *(["figures.js"] if figures else []))]
    library, compressed = _vega() if figures else ("", Markup())
    return {
        "policy": _policy(style, [*texts, library] if figures else texts),
        "style": Markup(style),
        "scripts": [Markup(text) for text in texts],
        "library": compressed,
        "data": _data(figures) if figures else Markup(),
    }


def json_block(content: Any) -> Markup:
    """Data as JSON without ``<``, which could end the block or start a comment."""
    return Markup(json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _data(figures: Sequence[Figure]) -> Markup:
    """What the script of the figures needs: their specifications with the names of their files, and themes."""
    content = {
        "figures": {
            one.name: [
                {"file": file, "spec": _rounded(view)}
                for file, view in zip(figure.file_names(one), one.views.values(), strict=True)
            ]
            for one in figures
        },
        "themes": {"page": figure.PAGE, "print": figure.PRINT},
        "ink": {"page": figure.INK, "print": figure.PRINTED_INK},
    }
    return _compressed(json.dumps(content, allow_nan=False, separators=(",", ":")))


def _rounded(value: Any) -> Any:
    """With six digits of each number: more than anybody sees would only make the page large."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list | tuple) else value


def _compressed(text: str) -> Markup:
    return Markup(base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode())


@cache
def _vega() -> tuple[str, Markup]:
    """Vega, Vega-Lite and Vega-Embed with an interpreter of expressions that needs no eval; and that compressed."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle, _compressed(bundle)


def _policy(style: str, scripts: Sequence[str]) -> str:
    """The content security policy that allows this style and these scripts, and nothing else."""
    allow_scripts = " ".join(map(_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; script-src {allow_scripts}; style-src {_hash(style)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
