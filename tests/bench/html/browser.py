"""A headless browser that opens a page and measures it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)

# What was asked for, texts that overlap, things that stick out, pictures that did not load.
_MEASURE = """
<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  const wide = innerWidth, texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.closest("script, style, defs, title")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects())
      if (box.width > 1 && box.height > 1) texts.push({box, text: node.data.trim(), node});
  }
  const overlaps = [];
  texts.forEach((one, n) => texts.slice(n + 1).forEach(other => {
    if (one.node === other.node) return;
    const a = one.box, b = other.box;
    const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (x > 2 && y > 4) overlaps.push(one.text + " / " + other.text);
  }));
  const outside = [...document.querySelectorAll("main *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.width && (box.right > wide + 1 || box.left < -1) && !element.closest("clipPath");
  });
  const images = [...document.images];
  const found = {
    wide,
    asked: performance.getEntriesByType("resource").map(entry => entry.name),
    scroll: document.documentElement.scrollWidth,
    texts: texts.length,
    smallest: Math.min(...texts.map(one => one.box.height)),
    overlaps,
    outside: outside.map(element => element.tagName + " " + element.textContent.slice(0, 40)),
    images: images.length,
    broken: images.filter(image => !image.complete || !image.naturalWidth).length,
    charts: [...document.querySelectorAll("svg.chart")].map(
      svg => Math.round(svg.getBoundingClientRect().width)),
    ink: getComputedStyle(document.body).color,
    paper: getComputedStyle(document.body).backgroundColor,
  };
  const out = document.createElement("pre");
  out.id = "measured";
  out.textContent = JSON.stringify(found);
  parent.document.body.append(out);
});
</script>
"""


def measure(page: Path, folder: Path, width: int, *flags: str) -> dict[str, Any]:
    """Open a page at a width; return what the script above measures.

    The page's own content security policy is taken out, so that what it would block is seen.
    """
    plain = _POLICY.sub("", page.read_text(), count=1).replace("</body>", f"{_MEASURE}</body>")
    frame = f'<iframe style="border:0;height:900px;width:{width}px" srcdoc="{html.escape(plain)}">'
    outer = folder / "outer.html"  # a window of its own would not be narrower than 500 pixels
    outer.write_text(f"<!doctype html><body>{frame}</iframe></body>")
    size = f"--window-size={width + 100},1000"
    dumped = _run(folder, size, *flags, "--virtual-time-budget=5000", "--dump-dom", outer.as_uri())
    found = re.search(r'<pre id="measured">(.*?)</pre>', dumped, re.DOTALL)
    assert found is not None, dumped[:2000]
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    return measured


def screenshot(page: Path, folder: Path, width: int, height: int, *flags: str) -> Path:
    """Draw a page as it is."""
    file = folder / f"page-{width}.png"
    size = f"--window-size={width},{height}"
    _run(folder, size, *flags, f"--screenshot={file}", page.as_uri())
    return file


def _run(folder: Path, *arguments: str) -> str:
    assert CHROMIUM is not None
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [CHROMIUM, *_FLAGS, profile, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
