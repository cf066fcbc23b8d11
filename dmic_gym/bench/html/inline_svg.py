"""A matplotlib SVG as part of an HTML page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from dmic_gym.bench.style import ACCENT, GRID, INK, MUTED

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"
_COLOURS = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", ACCENT: "var(--accent)"}
_DROPPED = (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


def inline_svg(document: str, prefix: str, label: str) -> str:
    """Return a figure as an element that follows the page's colours and fonts and fills its place.

    Args:
        document: what matplotlib writes.
        prefix: of all ids, so that figures of one page do not mix theirs up.
        label: what a screen reader says.
    """
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in _DROPPED]:
            parent.remove(child)
    for element in root.iter():
        _adapt(element, prefix)
    for size in ("width", "height"):
        root.attrib.pop(size, None)
    root.attrib |= {"class": "chart", "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    if element.tag == f"{{{_SVG}}}g":
        element.attrib.pop("id", None)
    if "id" in element.attrib:
        element.attrib["id"] = f"{prefix}-{element.attrib['id']}"
    if _HREF in element.attrib:
        element.attrib[_HREF] = element.attrib[_HREF].replace("#", f"#{prefix}-")
    if "clip-path" in element.attrib:
        element.attrib["clip-path"] = element.attrib["clip-path"].replace("#", f"#{prefix}-")
    if "style" in element.attrib:
        element.attrib["style"] = _style(element.attrib["style"])


def _style(text: str) -> str:
    text = re.sub(r"font-family: [^;]*;? ?", "", text)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    return text
