"""Run the command `fer` as `python -m fer`."""

from fer.predict.cli import main

main()
