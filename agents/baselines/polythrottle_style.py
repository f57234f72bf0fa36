"""PolyThrottle-style: constrained Bayesian optimisation of one fixed configuration.

Yan et al., "PolyThrottle: Energy-efficient Neural Network Inference on Edge Devices" (arXiv 2310.19991),
search CPU, GPU and memory clock and the batch size by constrained Bayesian optimisation: least energy under
a latency objective. Its code was not used. Bayes-Split-Edge (arXiv 2510.23503) searches cut and transmit
power in the same way.

What differs: a Gaussian process of optuna (`GPSampler`, log expected improvement, feasibility as its
constraint) over the whole joint action, cut, mapping and compression included; no batches, since requests
come one by one; what is minimised is the scenario's cost, in which energy counts, and the constraint is that
at most `MISSED` of the requests are late or dropped. An evaluation is a run of training episodes; there are
`EVALUATIONS`, the device as it comes out of the box first. Like the paper's, the result is one fixed
configuration.
"""

from __future__ import annotations

import warnings

import numpy as np

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.fixed_search import FixedActions, recalled
from dvfo_env.tables import CostTables

_KIND = "polythrottle-style-from-the-box"
EVALUATIONS, MISSED = 60, 0.05
_STARTUP = 20


def search(actions: FixedActions) -> None:
    """Evaluate `EVALUATIONS` joint actions, those that the sampler asks for twice included."""
    import optuna  # slow to import

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            warnings.simplefilter("ignore", FutureWarning)  # optuna 5 has another way, 4 only this one
            warnings.filterwarnings("ignore", category=RuntimeWarning, module="optuna")  # 0/0, meant by it
            _optimise(actions)
    finally:
        optuna.logging.set_verbosity(verbosity)


def _optimise(actions: FixedActions) -> None:
    import optuna

    missed = "missed"
    sampler = optuna.samplers.GPSampler(
        seed=0,
        n_startup_trials=_STARTUP,
        deterministic_objective=True,
        constraints_func=lambda trial: (trial.user_attrs[missed] - MISSED,),
    )
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({f"part {i}": place for i, place in enumerate(actions.start.tolist())})
    for _ in range(min(EVALUATIONS, int(np.prod(actions.free_sizes)))):
        trial = study.ask()
        places = [trial.suggest_int(f"part {i}", 0, n - 1) for i, n in enumerate(actions.free_sizes.tolist())]
        measured = actions.measure(np.array(places))
        trial.set_user_attr(missed, measured.missed)
        study.tell(trial, measured.cost)


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario: the cheapest configuration evaluated that meets the constraint."""
    return ConstantPolicy("polythrottle-style", recalled(_KIND, tables, search, MISSED).action)
