"""Which machines train together by Downpour SGD, and which one this is. This module does not import TensorFlow."""

import json
import os

from deepvideo_tf.errors import ConfigError

JOBS = ("chief", "ps", "worker")
Cluster = dict[str, list[str]]  # from `chief`, `ps` and `worker` to addresses `host:port`


def cluster_of_environment() -> tuple[Cluster, str, int]:
    """Read the machines, and which one this is, from the environment variable TF_CONFIG, TensorFlow's own convention.

    Returns:
        Dict from `chief`, `ps` and `worker` to lists of `host:port`; then the job and the number of this machine.

    Raises:
        ConfigError: the variable is missing, or does not name such a cluster.
    """
    text = os.environ.get("TF_CONFIG", "")
    try:
        data = json.loads(text)
        cluster, job, index = data["cluster"], data["task"]["type"], data["task"]["index"]
        places = [(name, place) for name, addresses in cluster.items() for place in addresses]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _bad_config(f'"cluster" and "task" in JSON, found {text[:100]!r}') from None
    for name, place in places:
        host, _, port = str(place).rpartition(":")
        if not (isinstance(place, str) and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
            raise _bad_config(f"addresses host:port, found {place!r} in {name!r}")
    if len({place for _, place in places}) < len(places):
        raise _bad_config("each address once, found one twice")
    if set(cluster) != set(JOBS) or not all(map(len, cluster.values())) or len(cluster["chief"]) > 1:
        counts = ", ".join(f"{len(addresses)} {name}" for name, addresses in cluster.items())
        raise _bad_config(f"1 chief, 1 ps or more and 1 worker or more, found {counts or 'none'}")
    if job not in JOBS:
        raise _bad_config(f"a task of type {', '.join(JOBS)}, found {job!r}")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(cluster[job]):
        raise _bad_config(f"the task's index to be one of its {len(cluster[job])} {job}, from 0, found {index!r}")
    return cluster, job, index


def _bad_config(problem: str) -> ConfigError:
    return ConfigError(f"the environment variable TF_CONFIG, for the strategy downpour: expected {problem}")
