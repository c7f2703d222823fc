"""The scripts of dvc.yaml; this runs before what they import, which takes seconds."""

from fer.errors import stop_in_one_line

stop_in_one_line()
