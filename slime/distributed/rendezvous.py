"""Where the train workers of a run meet."""

import errno
import socket
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

from slime.config.schema import ConfigError


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """This worker's number, how many there are, and where worker 0 listens."""

    rank: int
    world_size: int
    address: str
    port: int


# For the others to arrive.  Collectives have torch's own, longer timeout.
_PATIENCE = timedelta(minutes=5)


class RendezvousError(RuntimeError):
    """The train workers could not meet."""


def device_of(rendezvous: Rendezvous) -> torch.device:
    """The GPU of this worker among those its process sees, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", rendezvous.rank % torch.cuda.device_count())


def listen(address: str, port: int) -> socket.socket:
    """Where worker 0 will meet the others; the port (0: any) is nobody else's from now on.

    On that address only: the store's own socket would listen on every interface.  Raises OSError.
    """
    [family, *_], *_ = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    return socket.create_server((address, port), family=family, backlog=socket.SOMAXCONN)


def meet(rendezvous: Rendezvous, listener: socket.socket | None = None) -> torch.device:
    """Wait until all workers are there.  -> this worker's device

    listener: worker 0's, when it has one already; it is the meeting's from now on.
    Raises ConfigError when worker 0 cannot listen on the port, RendezvousError when the workers
    cannot reach each other.
    """
    device = device_of(rendezvous)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        if rendezvous.rank == 0 and listener is None:
            listener = listen(rendezvous.address, rendezvous.port)
        store = distributed.TCPStore(  # type: ignore[attr-defined]
            rendezvous.address,
            rendezvous.port,
            rendezvous.world_size,
            is_master=rendezvous.rank == 0,
            timeout=_PATIENCE,
            master_listen_fd=None if listener is None else listener.detach(),
        )
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=store,
            rank=rendezvous.rank,
            world_size=rendezvous.world_size,
        )
    except (distributed.DistError, ValueError, RuntimeError, OSError) as failure:
        raise _explained(failure, rendezvous) from failure
    return device


def part() -> None:
    """Leave; another meeting in this process is possible afterwards."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _explained(failure: Exception, rendezvous: Rendezvous) -> Exception:
    place = f"{rendezvous.address}:{rendezvous.port}"
    reason = str(failure).splitlines()[0]
    if isinstance(failure, OSError) and failure.errno == errno.EADDRINUSE:
        return ConfigError(
            f"cluster.rendezvous_port: {place} is already in use; choose a free port, or 0 for "
            f"any free one"
        )
    return RendezvousError(
        f"train worker {rendezvous.rank} of {rendezvous.world_size} could not meet the others at "
        f"{place}: {reason}"
    )
