"""``dmic info``, ``bench`` and ``list``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from dmic_gym.cli.common import (
    DataOption,
    JsonOption,
    SegmenterOption,
    app,
    names_of,
    print_json,
    qp_sets_of,
    say,
    stdout,
)
from dmic_gym.cli.help import MEASURE, USE, shown
from dmic_gym.cli.notes import QuietOption
from dmic_gym.cli.reports import WRITTEN, show_and_save
from dmic_gym.errors import InvalidInputError
from dmic_gym.io import portable

_QUICK_IMAGES = 6

JobsOption = Annotated[
    int | None, typer.Option(help="Processes, one torch thread each.", show_default="all cores")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Refuse policies trained for another CTU size.")
]


@app.command(**shown(USE, "dmic info"))
def info(as_json: JsonOption = False) -> None:
    """Show versions, the encoder's self-test and the GPU."""
    from dmic_gym.agents.training.telemetry import gpu_name
    from dmic_gym.bench.protocol import versions
    from dmic_gym.codecs import X265Codec
    from dmic_gym.codecs.hevc.selftest import require_working_offsets

    found = versions()
    if not as_json:
        _say_facts(found)
    with X265Codec() as codec:
        require_working_offsets(codec, codec.encode_bitstream, "stills")
        codec.video((64, 64), 30).close()
    tested = {
        "x265 self-test": "passed: QP offsets reach the encoder, in P frames too",
        "GPU": gpu_name() or "none",
    }
    if as_json:
        print_json({**found, **tested})
    else:
        _say_facts(tested)


def _say_facts(facts: Mapping[str, str]) -> None:
    for name, fact in facts.items():
        say(f"{name:16} {fact}")


@app.command(
    **shown(
        MEASURE,
        "dmic bench --quick",
        "dmic bench --data my-images --agents anchor,roi,search:50 --qps both --out runs/mine",
        "dmic bench --agents anchor,mine.zip,my_module:MyAgent",
        "dmic bench --task davis --ctu 32 --agents anchor,roi:4,cap",
    )
)
def bench(
    data: DataOption = "phantoms",
    agents: Annotated[
        str,
        typer.Option(
            help="With commas between: names (see dmic list), weights, a .zip of "
            "Stable-Baselines3, module:object."
        ),
    ] = "anchor,random,roi",
    qps: Annotated[
        str, typer.Option(help="Base QPs, or standard (22,27,32,37), low (32,37,42,47), both.")
    ] = "standard",
    ctu: Annotated[int, typer.Option("--ctu", "--ctu-size", help="CTU size: 64, 32 or 16.")] = 64,
    preset: Annotated[str, typer.Option(help="x265 preset.")] = "medium",
    images: Annotated[
        int | None, typer.Option(help="Only the first N images or clips.", show_default="all")
    ] = None,
    segmenter: SegmenterOption = None,
    compare: Annotated[
        str, typer.Option(help="Agents with which all others are compared too, where they code.")
    ] = "roi",
    jobs: JobsOption = None,
    strict: StrictOption = False,
    resume: ResumeOption = False,
    out: Annotated[
        Path, typer.Option(help="Folder for results.json, rows.jsonl and the picture.")
    ] = Path("dmic-bench"),
    quick: Annotated[bool, typer.Option("--quick", help=f"Only {_QUICK_IMAGES} images.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare agents with the anchor: BD-rate table, results.json, rate-distortion curves."""
    from dmic_gym.bench.definition import Definition
    from dmic_gym.bench.engines import make_engine
    from dmic_gym.bench.results_files import check_folder, keep_previous
    from dmic_gym.bench.store import Store
    from dmic_gym.cli.run_progress import run_shown
    from dmic_gym.tasks.registry import task_of

    task, sets = task_of(data, segmenter), qp_sets_of(qps)
    if not all(sets.values()):
        raise InvalidInputError("Nothing to code: pass at least one base QP, as in 22,27,32,37.")
    definition = Definition.of(
        {
            "data": [portable(str(task.test))],
            "agents": names_of(agents),
            "base_qps": sets,
            "ctu_sizes": [ctu],
            "presets": [preset],
            "images": _QUICK_IMAGES if quick and images is None else images,
            "segmenter": portable(str(task.segmenter or "unet")),
            "second": task.second or "",
            "compare": names_of(compare),
        }
    )
    check_folder(out)
    engine = make_engine(jobs)
    with Store.create(out) if resume else Store.in_memory(out) as store:

        def keep_rows() -> None:
            """Put rows where they outlive a crash, now that the plan has no fault."""
            if not resume:
                keep_previous([out / name for name in WRITTEN])
                store.write()

        plan = run_shown(definition, store, engine, before=keep_rows, resume=resume, strict=strict)
        failed = show_and_save(store, definition, plan, out, as_json=as_json)
    raise typer.Exit(1 if failed else 0)


@app.command("list", **shown(USE, "dmic list"))
def list_names(as_json: JsonOption = False) -> None:
    """Name the agents, the shipped weights, the tasks and the data sets."""
    from dmic_gym.agents.policy.shipped import SHIPPED_POLICIES, policy_names
    from dmic_gym.agents.registry import DESCRIPTIONS
    from dmic_gym.agents.video_registry import GOP_DESCRIPTIONS
    from dmic_gym.tasks.data.clips.registry import CLIPS
    from dmic_gym.tasks.data.registry import DATASETS
    from dmic_gym.tasks.registry import TASKS
    from dmic_gym.tasks.segmenters.folds import shipped_folders
    from dmic_gym.tasks.segmenters.weights import find_weights, read_card, shipped_names

    policies = [read_card(find_weights(name, SHIPPED_POLICIES)) for name in policy_names()]
    trained = {
        card.name: f"a policy for CTU {card.arguments['ctu_size']}, after "
        f"{card.metrics['a2c_steps']} A2C steps"
        for card in policies
    }
    networks = [read_card(find_weights(name)) for name in shipped_names()]
    names: dict[str, dict[str, str]] = {
        "agents": {**DESCRIPTIONS, **trained},
        "agents of clips": dict(GOP_DESCRIPTIONS),
        "weights": {card.name: card.architecture for card in networks}
        | dict.fromkeys(shipped_folders(), "several, each for what it has not seen"),
        "tasks": {task.name: f"{task.test}, {task.segmenter}" for task in TASKS.values()},
        "data": {**dict.fromkeys(DATASETS, ""), "a folder of images with masks": ""},
        "clips": {**dict.fromkeys(CLIPS, ""), "a folder of clips, or a video file": ""},
    }
    if as_json:
        print_json(names)
        return
    for title, meanings in names.items():
        stdout.print(f"[bold]{title}[/]")
        for name, meaning in meanings.items():
            say(f"  {name:16} {meaning}".rstrip())
