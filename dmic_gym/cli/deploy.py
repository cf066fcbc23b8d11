"""``dmic encode`` and ``decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dmic_gym.cli.batch import run_batch
from dmic_gym.cli.common import JsonOption, SegmenterOption, app
from dmic_gym.cli.help import USE, shown
from dmic_gym.cli.notes import QuietOption
from dmic_gym.errors import InvalidInputError, checked_integer

_DEFAULT_QP = 32
_ANCHOR = "anchor"


@app.command(
    **shown(
        USE,
        "dmic encode angio.png angio.hevc --target-dice 0.95",
        "dmic encode run.tiff run.mp4 --target-bytes 20000",
        "dmic encode folder/ coded/ --agent search:50 --qp 37",
        "dmic encode xa.dcm small.dcm --qp 32 --window auto",
    )
)
def encode(
    source: Annotated[Path, typer.Argument(help="An image file, DICOM, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help=".hevc, .mp4, .dcm, or a folder.")],
    agent: Annotated[
        str | None,
        typer.Option(
            help="Who chooses the QPs; dmic list names all.", show_default="a shipped policy"
        ),
    ] = None,
    qp: Annotated[
        int | None,
        typer.Option(help="Base QP, 0..51; not with a target.", show_default=str(_DEFAULT_QP)),
    ] = None,
    target_dice: Annotated[
        float | None,
        typer.Option(help="Share of the expected Dice to keep, such as 0.95; finds the QP."),
    ] = None,
    target_bytes: Annotated[
        int | None, typer.Option(help="The most bytes a file may have; finds the QP.")
    ] = None,
    ctu: Annotated[int, typer.Option(help="CTU size: 64, 32 or 16.")] = 64,
    preset: Annotated[str, typer.Option(help="x265 preset.")] = "medium",
    segmenter: SegmenterOption = None,
    bit_depth: Annotated[
        int | None, typer.Option(help="10 or 12, of dark 16-bit PNG and TIFF.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Grey levels: CENTRE,WIDTH, or auto for DICOM's own.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Pictures a second of a stack in .mp4 and .dcm.")
    ] = None,
    save_map: Annotated[
        Path | None, typer.Option(help="Text file for the QP maps, or folder for NAME.txt.")
    ] = None,
    qp_map: Annotated[
        Path | None,
        typer.Option("--map", help="Code with the QPs of such a file, or folder; no agent."),
    ] = None,
    to: Annotated[str, typer.Option(help="In a folder: hevc, mp4 or dcm.")] = "hevc",
    workers: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            help="Threads, for the files of a folder or the trials of a search.",
            show_default="all cores",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse policies trained for another CTU size.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Code pictures as HEVC, with the bits where the diagnosis needs them.

    Originals are never replaced. Masks in a folder (NAME_gt.*, NAME_mask.*) are left out.
    """
    from dmic_gym.deploy.coder import OnFrame, Settings
    from dmic_gym.deploy.coders import Coders
    from dmic_gym.deploy.files import Done, Reading, encode_file
    from dmic_gym.deploy.jobs import Job, encoding_jobs
    from dmic_gym.deploy.qp_maps import MapPaths
    from dmic_gym.deploy.window import parse_window
    from dmic_gym.envs.parallel import default_workers

    if qp_map is not None:
        _check_alone(agent=agent, qp=qp, target_dice=target_dice, target_bytes=target_bytes)
        agent = _ANCHOR  # asks no network
    if qp is not None and (target_dice is not None or target_bytes is not None):
        raise InvalidInputError("Pass --qp or a target, not both: a target finds the QP.")
    settings = Settings(
        agent=agent,
        qp=_DEFAULT_QP if qp is None else qp,
        target_dice=target_dice,
        target_bytes=target_bytes,
        ctu_size=ctu,
        preset=preset,
        segmenter=segmenter,
        strict=strict,
    )
    reading = Reading(bit_depth, None if window is None else parse_window(window), fps)
    jobs = encoding_jobs(source, target, f".{to}", overwrite=overwrite)
    maps = MapPaths(qp_map, save_map)
    maps.prepare(jobs)
    cores = default_workers() if workers is None else checked_integer("--jobs", workers, 1)
    at_once = min(cores, len(jobs.jobs))
    with Coders(settings, cores // at_once) as coders:

        def work(job: Job, on_frame: OnFrame) -> Done:
            with coders.lend() as coder:
                return encode_file(job, coder, reading, on_frame, maps)

        run_batch(jobs, work, at_once, as_json=as_json)


def _check_alone(**options: object) -> None:
    """Raise InvalidInputError for an option beside --map."""
    for name, value in options.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise InvalidInputError(
                f"Pass --map or {option}, not both: a map holds every QP; leave out {option}."
            )


@app.command(
    **shown(USE, "dmic decode angio.hevc angio.png", "dmic decode coded/ back/ --to tiff --strict")
)
def decode(
    source: Annotated[Path, typer.Argument(help=".hevc, .mp4, .dcm, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help=".png, .pgm, .tiff, .dcm, or a folder.")],
    to: Annotated[str, typer.Option(help="In a folder: png, pgm, tiff or dcm.")] = "png",
    strict: Annotated[
        bool, typer.Option(help="Refuse streams of other encoders, which prove nothing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Decode HEVC. Damaged and cut files of dmic encode are refused."""
    from dmic_gym.deploy.files import decode_file
    from dmic_gym.deploy.jobs import decoding_jobs

    jobs = decoding_jobs(source, target, f".{to}", overwrite=overwrite)
    run_batch(jobs, lambda job, _: decode_file(job, strict=strict), as_json=as_json)
