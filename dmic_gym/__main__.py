"""``python -m dmic_gym`` is the command ``dmic``."""

from __future__ import annotations

import sys

from dmic_gym.errors import missing_package


def main() -> None:
    """Run the command line; without the packages that it needs, say what to type."""
    try:
        from dmic_gym import cli
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.exit(f"Error: {missing_package(error.name, 'The command line')}")
    cli.main()


if __name__ == "__main__":
    main()
