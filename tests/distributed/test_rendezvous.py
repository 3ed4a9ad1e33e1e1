"""Workers that cannot meet say why."""

import socket
from datetime import timedelta

import psutil
import pytest
import torch
from processes import free_port, run_processes
from torch import distributed

from slime.config.schema import ConfigError
from slime.distributed import Rendezvous, RendezvousError, rendezvous
from slime.distributed.rendezvous import listen, meet, part


def test_a_port_in_use_is_a_config_error_that_names_it():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"rendezvous_port: 127\.0\.0\.1:{port} is already in use"
        ):
            meet(Rendezvous(0, 1, "127.0.0.1", port))
    assert not distributed.is_initialized()


def test_workers_that_do_not_come_are_an_error_that_names_the_place(monkeypatch):
    monkeypatch.setattr(rendezvous, "_PATIENCE", timedelta(milliseconds=200))
    port = free_port()
    with pytest.raises(RendezvousError, match=rf"worker 0 of 2 .* 127\.0\.0\.1:{port}"):
        meet(Rendezvous(0, 2, "127.0.0.1", port))
    assert not distributed.is_initialized()


def test_an_address_that_does_not_exist_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(rendezvous, "_PATIENCE", timedelta(milliseconds=200))
    with pytest.raises(RendezvousError, match=r"worker 0 of 1 .* nowhere\.invalid:5000"):
        meet(Rendezvous(0, 1, "nowhere.invalid", 5000))
    assert not distributed.is_initialized()


def test_a_port_that_is_listened_on_is_kept_until_the_meeting():
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    with pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", port)
    meet(Rendezvous(0, 1, "127.0.0.1", port), listener)
    part()


def test_workers_meet_and_part_and_may_meet_again():
    ports = free_port(), free_port()
    assert run_processes(2, _meet_twice, ports) == [(3.0, 3.0)] * 2


def test_the_meeting_place_is_on_the_address_that_was_asked_for_only():
    assert run_processes(2, _listening_on, free_port())[0] == {"127.0.0.1"}


def _listening_on(rank: int, port: int) -> set[str]:
    meet(Rendezvous(rank, 2, "127.0.0.1", port))
    listening = [c for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
    found = {c.laddr.ip for c in listening if c.laddr.port == port}
    distributed.barrier()
    part()
    return found


def _meet_twice(rank: int, ports: tuple[int, int]) -> tuple[float, ...]:
    sums = []
    for port in ports:
        device = meet(Rendezvous(rank, 2, "127.0.0.1", port))
        values = torch.tensor([rank + 1.0], device=device)
        distributed.all_reduce(values)
        sums.append(values.item())
        part()
    return tuple(sums)
