import socket
from contextlib import closing

import psutil
import pytest
import ray

from slime.cluster import session
from slime.cluster.actors import TrainActor
from slime.cluster.place import get, place
from slime.cluster.session import GpuShares, gpu_shares, ray_session
from slime.config.schema import ClusterConfig, ConfigError


@pytest.mark.parametrize(
    ("gpus", "train_workers", "engines", "shares"),
    [
        (0, 4, 1, GpuShares(0, 0)),
        (1, 1, 1, GpuShares(0.6, 0.4)),
        (2, 1, 1, GpuShares(1, 1)),
        (2, 2, 1, GpuShares(0.6, 0.4)),
        (8, 7, 1, GpuShares(1, 1)),
        (1, 1, 0, GpuShares(1, 1)),
    ],
)
def test_every_actor_gets_a_gpu_or_the_engine_shares_one(gpus, train_workers, engines, shares):
    assert gpu_shares(gpus, train_workers, engines) == shares


def test_train_workers_never_share_a_gpu():
    assert 2 * gpu_shares(1, 1, 1).train_worker > 1
    with pytest.raises(ConfigError, match=r"= 2 train workers need a GPU each, and 1 are free"):
        gpu_shares(1, 2, 1)


def test_a_cluster_that_is_not_there_is_a_config_error(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    config = ClusterConfig(address=nobody)
    with pytest.raises(ConfigError, match=f"cluster.address={nobody}: no Ray cluster answers"):
        ray_session(config, 1, 1).__enter__()


def test_what_went_wrong_in_a_job_is_told_although_its_end_goes_wrong_too(monkeypatch, capsys):
    def end():
        raise TimeoutError("its actors are still there")

    monkeypatch.setattr(session, "_ray_for", lambda *_: end)
    monkeypatch.setattr(session, "_free_resources", lambda _: {"CPU": 2})
    with pytest.raises(ZeroDivisionError), ray_session(ClusterConfig(), 1, 1):
        raise ZeroDivisionError
    assert capsys.readouterr().err == "warning: its actors are still there\n"
    with pytest.raises(TimeoutError), ray_session(ClusterConfig(), 1, 1):
        pass


def test_a_private_ray_listens_on_the_loopback_interface_only_and_ends_with_the_block():
    with ray_session(ClusterConfig(), train_workers=1, engines=1):
        actor = place(TrainActor, ClusterConfig(), threads=1, gpus=0)
        address, port = get(actor.reserve_address.remote(0))
        with pytest.raises(OSError, match="in use"):
            socket.create_server((address, port))
        processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
        hosts = {
            connection.laddr.ip.removeprefix("::ffff:")
            for process in processes
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert address == "127.0.0.1"
        assert hosts == {"127.0.0.1"}
        assert len(processes) > 3

        with closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigError, match=f"cluster.rendezvous_port={port} cannot be had"):
                get(actor.reserve_address.remote(port))
    assert not ray.is_initialized()
    assert not [p for p in psutil.Process().children(recursive=True) if p.name() == "raylet"]


def test_more_workers_than_a_machine_can_run_are_refused_before_any_of_them_starts():
    with (
        pytest.raises(ConfigError, match="= 1000000 train workers are more than this machine"),
        ray_session(ClusterConfig(), 1_000_000, 0),
    ):
        raise AssertionError("it started")
