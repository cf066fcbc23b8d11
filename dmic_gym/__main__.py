"""``python -m dmic_gym`` is the command ``dmic``."""

from dmic_gym.cli import main

if __name__ == "__main__":
    main()
