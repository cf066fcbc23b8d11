"""A document as HTML and as Markdown."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import cv2
import numpy as np
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from dmic_gym.bench.html.document import Document
from dmic_gym.bench.html.inline_svg import inline_svg
from dmic_gym.bench.markdown import escaped, markdown_table

_TEMPLATES = files("dmic_gym.bench.html") / "templates"
_COLOUR_STOPS = 12


def html(document: Document) -> str:
    """Return one self-contained page: pictures, styles and figures stand in it.

    All names are escaped, and its content security policy forbids every request.
    """
    drawn = {
        (section.key, chart.name): Markup(
            inline_svg(chart.svg, f"{chart.name}-{section.key}", chart.heading)
        )
        for section in document.sections
        for chart in section.charts
    }
    css = Markup((_TEMPLATES / "report.css").read_text())
    return (
        _environment(autoescape=True)
        .get_template("report.html.j2")
        .render(document=document, drawn=drawn, css=css, qp_colours=_qp_colours())
    )


def markdown(document: Document) -> str:
    """Return the same in Markdown, with links to the figures' files."""
    text = _environment(autoescape=False).get_template("report.md.j2").render(document=document)
    return re.sub(r"\n{3,}", "\n\n", text)


@cache
def _environment(*, autoescape: bool) -> Environment:
    names = ("report.html.j2", "report.md.j2")
    loader = DictLoader({name: (_TEMPLATES / name).read_text() for name in names})
    environment = Environment(
        loader=loader, autoescape=autoescape, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["md"] = escaped
    environment.globals["markdown_table"] = markdown_table
    return environment


def _qp_colours() -> list[str]:
    """Return the colour scale of QP maps, as in `qp_overlay`."""
    ramp = np.linspace(0, 255, _COLOUR_STOPS).astype(np.uint8)
    bgr = cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO).reshape(-1, 3)
    return [f"rgb({red},{green},{blue})" for blue, green, red in bgr.tolist()]
