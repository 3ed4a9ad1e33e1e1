"""One train worker in a process of its own, that gives the gradients of any number of steps."""

import multiprocessing
import traceback
from contextlib import contextmanager
from multiprocessing.connection import Connection

from processes import free_port

from slime.data.sharing import build_sharing


class LayoutProcess:
    """The layout of one worker: what Trainer.gradient is with Ray."""

    def __init__(self):
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        there.close()

    def gradient(self, spec, step):
        self._here.send((spec, step))
        succeeded, value = self._here.recv()
        assert succeeded, value
        return value

    def close(self):
        self._here.close()
        self._process.kill()
        self._process.join()


@contextmanager
def layout_process():
    process = LayoutProcess()
    try:
        yield process
    finally:
        process.close()


def _serve(there: Connection) -> None:
    from slime.distributed.rendezvous import Rendezvous
    from slime.megatron.worker import TrainWorker

    while True:
        try:
            spec, step = there.recv()
        except EOFError:
            return
        try:
            worker = TrainWorker(spec, Rendezvous(0, 1, "127.0.0.1", free_port()))
            try:
                [mine] = build_sharing(spec.parallel)(step.samples)
                answer = True, worker.gradient(mine)
            finally:
                worker.close()
        except Exception:
            answer = False, traceback.format_exc()
        there.send(answer)
