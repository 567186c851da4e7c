"""The processes that train together."""

import re
from dataclasses import dataclass

from deepvideo_tf.errors import ConfigError


@dataclass(frozen=True)
class ProcessSpec:
    """One of the processes that train together, and where they meet.

    Args:
        number: number of this process, from 0. By default Slurm's or Kubernetes' number.
        count: number of processes that train together, each started with the same flags except its own process_id; 1
            uses all devices of this machine. Needs the extra `jax`.
        coordinator_address: `HOST:PORT` of process 0, which listens there; not needed for a single process.

    Raises:
        ConfigError: a field is outside its range.
    """

    number: int
    count: int
    coordinator_address: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.number < self.count:
            raise ConfigError(
                f"process_id must be at least 0 and below the {self.count} of num_processes. Received: {self.number}"
            )
        if self.count > 1 and self.coordinator_address is None:
            raise ConfigError(f"coordinator_address must be given for num_processes={self.count}: HOST:PORT")
        port = re.fullmatch(r".+:(\d{1,5})", self.coordinator_address or "HOST:1")
        if port is None or not 0 < int(port[1]) < 65536:
            raise ConfigError(f"coordinator_address must be HOST:PORT. Received: {self.coordinator_address!r}")
