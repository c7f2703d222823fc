"""The scripts of dvc.yaml, one per stage.

This file handles signals before the scripts import their libraries, which takes seconds.
"""

from fer.core.errors import stop_in_one_line

stop_in_one_line()
