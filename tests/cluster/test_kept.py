"""The jobs of a sweep in one process: one Ray for all of them, and nothing of a job in it after."""

import gc
import os

import psutil
import pytest
import ray

from slime.cluster.kept import end_kept_ray, keep_ray, one_ray
from slime.cluster.place import get, place
from slime.cluster.session import ray_session
from slime.config.schema import ClusterConfig

LOCAL = ClusterConfig()
MEGABYTES_64 = 64 * 2**20


class Worker:
    """An actor that holds something in Ray's memory."""

    def process(self):
        return os.getpid()

    def environment(self, name):
        return os.environ.get(name)

    def weights(self):
        return b"\0" * MEGABYTES_64


def job(train_workers, fails=False):
    """A job with one actor and its weights.  -> (Ray's process, the actor's process)"""
    try:
        with ray_session(LOCAL, train_workers, engines=1):
            worker = place(Worker, LOCAL, threads=1, gpus=0)
            held = {"weights": worker.weights.remote()}
            held["myself"] = held  # only the garbage collector frees these references
            ray.wait([held["weights"]])
            process = get(worker.process.remote())
            if fails:
                raise RuntimeError("bad luck")
            return raylet(), process
    except RuntimeError:
        return raylet(), process


def raylet():
    children = psutil.Process().children(recursive=True)
    return next((p.pid for p in children if p.name() == "raylet"), None)


def free():
    gc.collect()
    return ray.available_resources()


@pytest.mark.slow
def test_one_ray_serves_every_job_and_keeps_nothing_of_any_of_them():
    with one_ray():
        keep_ray()
        first, worker = job(1)
        assert not psutil.pid_exists(worker)
        empty = free()
        for fails in (False, True, False):
            again, worker = job(1, fails)
            assert again == first
            assert not psutil.pid_exists(worker)
        with ray_session(LOCAL, 1, 1):
            assert (
                ray.available_resources()["CPU"] == empty["CPU"] == ray.cluster_resources()["CPU"]
            )
            memory = "object_store_memory"
            assert abs(ray.available_resources()[memory] - empty[memory]) < MEGABYTES_64
    assert raylet() is None
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_larger_job_gets_a_larger_ray_and_a_smaller_one_keeps_it():
    with one_ray():
        keep_ray()
        (small, _), (large, _), (kept, _) = job(1), job(20), job(2)
    assert small != large == kept


@pytest.mark.slow
def test_a_job_with_another_environment_gets_a_ray_of_that_environment(monkeypatch):
    def said():
        with ray_session(LOCAL, 1, 0):
            worker = place(Worker, LOCAL, threads=1, gpus=0)
            return get(worker.environment.remote("SLIME_TEST_SAYS"))

    with one_ray():
        keep_ray()
        assert said() is None
        monkeypatch.setenv("SLIME_TEST_SAYS", "hello")
        assert said() == "hello"
        monkeypatch.delenv("SLIME_TEST_SAYS")
        assert said() is None


@pytest.mark.slow
def test_a_ray_that_broke_in_one_job_is_not_what_the_next_one_gets():
    with one_ray():
        keep_ray()
        first, _ = job(1)
        with ray_session(LOCAL, 1, 1):
            ray.shutdown()
        second, worker = job(1)
        assert worker is not None
    assert first != second
    end_kept_ray()  # twice is no harm
