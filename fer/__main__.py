"""Run the command `fer` as `python -m fer`."""

from fer.cli import main

main()
