"""What is simulated is the server as it is: put together by `server/assemble.py`, and by nobody else."""

from __future__ import annotations

import ast

from tests.architecture.source import Module, modules

ASSEMBLE = "server/assemble.py"
ASSEMBLY = {ASSEMBLE, "server/workers.py"}
SIMULATION = "testing/simulation/"
# What the outside hands over, and may hand over in another make.
PORTS = {"LocalLog", "SqliteState", "Listener", "Outside"}


def made_in(module: Module) -> set[str]:
    """Return the product's classes that a module makes instances of, dotted."""
    called = {module.dotted(node.func) for node in ast.walk(module.tree) if isinstance(node, ast.Call)}
    return {name for name in called if name.startswith("chronos.") and name_of(name)[:1].isupper()}


def name_of(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def test_nodes_of_the_simulation_are_put_together_by_assemble_only() -> None:
    assembly = [module for module in modules() if module.path in ASSEMBLY]
    parts = {name for module in assembly for name in made_in(module) if name_of(name) not in PORTS}
    known = {"CommandLog", "Scheduler", "JobService", "LocalExecutor", "Router"}
    assert known <= {name_of(part) for part in parts}, "assemble makes the parts"
    simulation = [module for module in modules() if module.path.startswith(SIMULATION)]
    made = {(module.path, part) for module in simulation for part in parts & made_in(module)}
    # Folders outlive what is assembled in them, so their owner makes them.
    assert {name_of(part) for _, part in made} <= {"DataFolder"}, made
    callers = {
        module.path
        for module in simulation
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and module.dotted(node.func) == "chronos.server.assemble.assemble"
    }
    assert callers == {f"{SIMULATION}node.py"}
