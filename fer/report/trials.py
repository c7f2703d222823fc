"""Draw the trials of the search, with Optuna."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pandas as pd
from matplotlib import rc_context
from matplotlib.ticker import LogLocator, NullLocator
from optuna.distributions import json_to_distribution
from optuna.trial import TrialState, create_trial
from optuna.visualization.matplotlib import plot_slice

from fer.core.files import atomic_path

optuna.logging.set_verbosity(optuna.logging.ERROR)  # no line per study


def draw(
    path: Path, table: pd.DataFrame, distributions: Mapping[str, object], dataset: str
) -> None:
    """Draw the accuracy of the trials against each parameter; a darker trial is later.

    `table` is trials.csv; `distributions` are those of tune.json.
    """
    study = optuna.create_study(direction="maximize")
    space = {name: json_to_distribution(json.dumps(one)) for name, one in distributions.items()}
    rows = table.set_index("trial")
    for number in range(rows.index.max() + 1):
        trial = create_trial(state=TrialState.FAIL)  # a trial without a result keeps its number
        if number in rows.index:
            row = rows.loc[number]
            trial = create_trial(
                params=row[list(space)].to_dict(), distributions=space, value=row["val_score"]
            )
        study.add_trial(trial)
    with rc_context(), warnings.catch_warnings():  # Optuna changes the style of all figures
        warnings.simplefilter("ignore")  # plot_slice is experimental; equal values have no range
        grid = np.atleast_1d(plot_slice(study, target_name="val score"))
        for axes in grid:
            axes.set_title("")
            axes.tick_params("x", rotation=30)
            if axes.get_xscale() == "log":
                axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
                axes.xaxis.set_major_formatter("{x:g}")
                axes.xaxis.set_minor_locator(NullLocator())
        figure = grid[0].figure
        figure.suptitle(f"{dataset}: trials of the search")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110, bbox_inches="tight")
        plt.close(figure)
