"""The code lines of a page, run in their order as a reader would run them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dmic_gym import cli
from tests.support import ROOT

_FENCE = re.compile(r"^( *)```(\w+)(?: title=\"(.+?)\")?\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the file that it is to be saved as, and its text."""

    language: str
    file: str | None
    text: str


def blocks(page: str) -> list[Block]:
    """Return the blocks of Python and shell of a page under the repository's root."""
    found = _FENCE.findall((ROOT / page).read_text())
    return [
        Block(language, file or None, textwrap.dedent(text))
        for _, language, file, text in found
        if language in ("python", "sh") and "--8<--" not in text
    ]


def smaller(text: str, budgets: Mapping[str, str], used: set[str]) -> str:
    """Return a block with smaller budgets; `used` gathers what was replaced."""
    for old, new in budgets.items():
        if old in text:
            used.add(old)
            text = text.replace(old, new)
    return text


def run(page: str, folder: Path, budgets: Mapping[str, str]) -> dict[str, Any]:
    """Run all blocks of a page in a folder; return the names that its Python has defined."""
    names: dict[str, Any] = {"__name__": "__main__"}
    used: set[str] = set()
    for block in blocks(page):
        text = smaller(block.text, budgets, used)
        if block.file is not None:
            (folder / block.file).write_text(text)
        elif block.language == "python":
            exec(compile(text, f"{page}: {text[:40]!r}", "exec"), names)
        else:
            for line in command_lines(text):
                shell(line, folder)
    assert used == set(budgets), "a budget is in no line"
    return names


def command_lines(text: str) -> Iterator[str]:
    """Yield the commands of a block of shell, without their remarks."""
    for line in text.replace("\\\n", " ").splitlines():
        command = re.sub(r"\s+#.*", "", line).strip()
        if command:
            yield command


def shell(line: str, folder: Path) -> None:
    """Run a line in a folder, commands of ours in this process: that spares many imports."""
    if line.startswith("dmic "):
        dmic(shlex.split(line))
        return
    command = ["bash", "-euo", "pipefail", "-c", line]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"


def dmic(words: list[str]) -> None:
    """Run the command `dmic`; it has to succeed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
    assert not end.value.code, shlex.join(words)
