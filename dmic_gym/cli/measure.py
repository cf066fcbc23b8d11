"""``dmic info``, ``bench`` and ``list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dmic_gym.cli.common import (
    DataOption,
    SegmenterOption,
    app,
    command_line,
    names_of,
    progress_bar,
    qp_sets_of,
    stdout,
)
from dmic_gym.io import portable

_QUICK_IMAGES = 6


@app.command()
def info() -> None:
    """Show versions, the encoder's self-test and the GPU."""
    from dmic_gym.agents.training.telemetry import gpu_name
    from dmic_gym.bench.protocol import versions
    from dmic_gym.codecs import X265Codec
    from dmic_gym.codecs.hevc.selftest import require_working_offsets

    for package, found in versions().items():
        stdout.print(f"{package:16} {found}", highlight=False)
    with X265Codec() as codec:
        require_working_offsets(codec)
    stdout.print(f"{'x265 self-test':16} passed: QP offsets reach the encoder", highlight=False)
    stdout.print(f"{'GPU':16} {gpu_name() or 'none'}", highlight=False)


@app.command()
def bench(
    data: DataOption = "phantoms",
    agents: Annotated[str, typer.Option(help="Names or module:object.")] = "anchor,random,roi",
    qps: Annotated[
        str, typer.Option(help="Base QPs, or standard (22,27,32,37), low (32,37,42,47), both.")
    ] = "standard",
    ctu: Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")] = 64,
    preset: Annotated[str, typer.Option(help="x265 preset.")] = "medium",
    images: Annotated[int | None, typer.Option(help="Only the first N images.")] = None,
    segmenter: SegmenterOption = None,
    out: Annotated[Path, typer.Option(help="Folder for results.json and the picture.")] = Path(
        "dmic-bench"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="Only a few images.")] = False,
) -> None:
    """Compare agents with the anchor: BD-rate table, results.json, rate-distortion curves."""
    from dmic_gym.bench import report
    from dmic_gym.bench.bench import bench as run_bench
    from dmic_gym.bench.files import check_folder, save
    from dmic_gym.envs.coding_env import CodingEnv
    from dmic_gym.tasks.registry import task_of

    check_folder(out)
    task = task_of(data, segmenter)
    env = CodingEnv(
        dataset=task.load_data(),
        segmenter=task.load_segmenter(),
        ctu_size=ctu,
        preset=preset,
        reward="linear",
    )
    if quick and images is None:
        images = _QUICK_IMAGES
    with progress_bar() as progress:
        bar = progress.add_task("coding", total=None)
        results = run_bench(
            env,
            agents=names_of(agents),
            qp_sets=qp_sets_of(qps),
            second=task.load_second(),
            images=images,
            data=portable(str(task.test)),
            command=command_line(),
            on_start=lambda cells: progress.update(bar, total=cells),
            on_cell=lambda name: progress.update(bar, advance=1, description=name),
        )
    env.close()
    for table in report.tables(results):
        stdout.print(table)
    for note in [*report.notes(results), *task.leakage()]:
        stdout.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    for path in save(results, out):
        stdout.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)


@app.command("list")
def list_names() -> None:
    """Name the agents, the shipped weights and the data sets."""
    from dmic_gym.agents.policy.shipped import policy_names
    from dmic_gym.agents.registry import DESCRIPTIONS
    from dmic_gym.tasks.data.registry import DATASETS
    from dmic_gym.tasks.registry import TASKS
    from dmic_gym.tasks.segmenters.weights import find_weights, read_card, shipped_names

    stdout.print("[bold]agents[/]")
    for name, meaning in DESCRIPTIONS.items():
        stdout.print(f"  {name:16} {meaning}", highlight=False)
    for name in policy_names():
        stdout.print(f"  {name:16} a policy that comes with the package", highlight=False)
    stdout.print("[bold]weights[/]")
    for name in shipped_names():
        stdout.print(f"  {name:16} {read_card(find_weights(name)).architecture}", highlight=False)
    stdout.print("[bold]tasks[/]")
    for task in TASKS.values():
        stdout.print(f"  {task.name:16} {task.test}, {task.segmenter}", highlight=False)
    stdout.print("[bold]data[/]")
    for name in DATASETS:
        stdout.print(f"  {name}", highlight=False)
    stdout.print("  a folder of images with masks", highlight=False)
