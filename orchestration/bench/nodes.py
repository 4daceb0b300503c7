"""Several Ray nodes on this machine, and the loss of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from ray.cluster_utils import Cluster

STORE_BYTES = 128 << 20
NODE = {"num_cpus": 3, "object_store_memory": STORE_BYTES, "include_dashboard": False}


class Nodes:
    """A Ray cluster whose head computes nothing.

    Args:
        num_nodes: Beside the head.
    """

    def __init__(self, num_nodes: int) -> None:
        head = {**NODE, "num_cpus": 0}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes: list[Any] = [self._cluster.add_node(**NODE) for _ in range(num_nodes)]
        self._cluster.wait_for_nodes()

    @property
    def address(self) -> str:
        """For `ray_address`."""
        return str(self._cluster.address)

    def workers(self) -> list[psutil.Process]:
        """Worker processes of all nodes."""
        raylets = [psutil.Process(_raylet(node)) for node in self._nodes]
        return [child for raylet in raylets for child in raylet.children(recursive=True)]

    def lose(self, worker: psutil.Process) -> None:
        """Kill the node that a worker runs on, all its processes at once, and start another."""
        above = {parent.pid for parent in worker.parents()}
        lost = next(node for node in self._nodes if _raylet(node) in above)
        self._nodes.remove(lost)
        self._cluster.remove_node(lost, allow_graceful=False)
        self._nodes.append(self._cluster.add_node(**NODE))

    def stop(self) -> None:
        """End all of them."""
        self._cluster.shutdown()


@contextmanager
def several_nodes(num_nodes: int) -> Iterator[Nodes]:
    """Nodes that are gone when the context closes."""
    nodes = Nodes(num_nodes)
    try:
        yield nodes
    finally:
        nodes.stop()


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)
