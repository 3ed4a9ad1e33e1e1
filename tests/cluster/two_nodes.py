"""A Ray cluster of two nodes on this machine, as somebody else would have started it.

Run as a program: it prints the address, then after each line on stdin what the cluster knows,
and ends its own nodes, and no others, when stdin ends.
"""

import json
import sys

import ray
from ray._private import ray_constants, state
from ray.cluster_utils import Cluster

CPUS = (1, 2)  # of each node


def main() -> None:
    ray_constants.ENABLE_RAY_CLUSTER = False  # loopback only
    cluster = Cluster()
    try:
        for cpus in CPUS:
            cluster.add_node(num_cpus=cpus, node_ip_address="127.0.0.1", include_dashboard=False)
        cluster.connect()
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            print(json.dumps(known()), flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


def known() -> dict[str, object]:
    actors = state.actors().values()
    return {
        "nodes": [node["NodeID"] for node in ray.nodes() if node["Alive"]],
        "cpus": ray.available_resources().get("CPU", 0),
        "actors": [(a["ActorClassName"], a["State"], a["Address"]["NodeID"]) for a in actors],
    }


if __name__ == "__main__":
    main()
