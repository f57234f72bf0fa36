"""Servers: how long the tail of a network takes on an unloaded server, and how its load comes and goes.

ServerProfile   the coefficients of one server, each with its source; shipped as YAML in `profiles/`
ServerModel     a profile and a workload card made into numbers: `tail_ms`, `load_bank`
"""

from dvfo_env.servers.model import ServerModel, WorkloadFlops
from dvfo_env.servers.profile import LoadProcess, MeasuredTails, ServerProfile, list_servers, load_server

__all__ = [
    "LoadProcess",
    "MeasuredTails",
    "ServerModel",
    "ServerProfile",
    "WorkloadFlops",
    "list_servers",
    "load_server",
]
