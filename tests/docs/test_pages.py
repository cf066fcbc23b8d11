"""What README and pages tell a reader to type works, line by line, on phantoms."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from dmic_gym.cli import app
from tests.docs.pages import blocks, command_lines, run
from tests.support import ROOT

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
FEW = "--preset ultrafast --images 2 --jobs 1"
QUICK = {"dmic bench --quick": f"dmic bench --quick --qps 27,32,37 {FEW}"}
README = {
    **QUICK,
    "make_sb3_vec(8, ": 'make_sb3_vec(2, "phantoms?count=2&size=96", ',
    "n_steps=250, batch_size=250": "n_steps=8, batch_size=16, n_epochs=1",
    "learn(20_000)": "learn(16)",
}
TUTORIAL = {
    **QUICK,
    "make_sb3_vec(8, ": "make_sb3_vec(2, ",
    "n_steps=200": "n_steps=8, batch_size=16, n_epochs=1",
    "learn(20_000)": "learn(16)",
    "range(200)": "range(5)",
    "--data my-test --agents": f"--data my-test {FEW} --agents",
    "--segmenter my_net:segmenter": f"--segmenter my_net:segmenter {FEW}",
    "--epochs 40": "--epochs 1",
    "--samples 1": "--samples 1 --variations 2 --epochs 1 --steps 32 --envs 2 --qps 27,37 "
    "--preset ultrafast",
    "--qps low": f"--qps 27,32,37 {FEW}",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder as the working directory, whose modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_the_readme_trains_saves_and_compares(here: Path) -> None:
    installs = re.compile(r"^pip install.*\n?|^dmic (en|de)code.*\n?", re.MULTILINE)
    text = installs.sub("", (ROOT / "README.md").read_text())
    (here / "page.md").write_text(text)
    run(str(here / "page.md"), here, README)
    results = json.loads((here / "dmic-bench" / "results.json").read_text())
    assert list(results["agents"]) == ["anchor", "roi", "mine.zip"]


def test_training_and_comparing_takes_at_most_15_lines() -> None:
    text = (ROOT / "README.md").read_text()
    section = text.partition("## Train, save, compare")[2].partition("\n## ")[0]
    code = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    assert 0 < sum(len(block.splitlines()) for block in code) <= 15


@pytest.mark.slow
def test_the_first_hour(here: Path) -> None:
    names = run("docs/tutorial.md", here, TUTORIAL)
    assert names["task"].leakage() == []
    assert names["task"].load_posterior() is not None
    assert names["env"].unwrapped.evaluator.segmenter is not None
    results = json.loads((here / "runs" / "bench" / "results.json").read_text())
    assert list(results["agents"])[:3] == ["anchor", "roi", "table"]
    assert (here / "runs" / "bench" / "report" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", ["files", "measuring", "environments", "training", "video"])
def test_the_python_of_a_page_runs(page: str, here: Path) -> None:
    found = [block.text for block in blocks(f"docs/{page}.md") if block.language == "python"]
    assert found
    names: dict[str, object] = {"__name__": "__main__"}
    for text in found:
        exec(compile(text, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES)
def test_every_dmic_line_of_a_page_is_accepted(page: str) -> None:
    """Commands and options exist and have valid values; nothing is run."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    shells = [block.text for block in blocks(page) if block.language == "sh"]
    for line in (line for text in shells for line in command_lines(text)):
        for part in line.split(" && "):
            program, *words = shlex.split(part)
            if program == "dmic" and "|" not in words:
                group.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.skipif(importlib.util.find_spec("mkdocs") is None, reason="needs dmic_gym[docs]")
@pytest.mark.slow
def test_the_site_builds_and_no_link_is_broken(tmp_path: Path) -> None:
    from tests.docs.site import broken_links, build

    build(tmp_path)
    assert not broken_links(tmp_path)
