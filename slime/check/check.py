"""command=check: is the loss of this config, on this layout, the one of the formulas?"""

from collections.abc import Callable
from pathlib import Path

from slime.check.certificate import Certificate
from slime.check.certificate_table import print_certificate
from slime.check.certify import certify
from slime.check.subject import Subject, open_subject
from slime.check.tables import console, say
from slime.cluster.interrupt import terminate_like_an_interrupt
from slime.cluster.place import get
from slime.cluster.session import ray_session
from slime.cluster.trainer import start_trainer
from slime.config.schema import Config
from slime.data import Step
from slime.data.metrics import StepGradient
from slime.plan import Planner, build_planner
from slime.start import worker_spec


def check(config: Config, run_directory: Path) -> int:
    """Print the tables and write check.json into `run_directory`.  -> 0 if all is right, else 1

    Raises ConfigError for what only shows when models, saved iterations and ports are opened.
    """
    out = console()
    say(out, f"run directory: {run_directory}")
    plan = build_planner(
        config.loss, config.advantage, config.steps_per_iteration, config.incomplete_step
    )
    with terminate_like_an_interrupt():
        subject = open_subject(config, plan, run_directory)
        say(out, f"model: {subject.model_in_words}")
        say(out, f"step: {subject.step_in_words}")
        certificate = _on_workers(config, subject, plan, lambda line: say(out, line))
    certificate.write(run_directory)
    print_certificate(out, certificate)
    return 0 if certificate.ok else 1


def _on_workers(
    config: Config, subject: Subject, plan: Planner, tell: Callable[[str], None]
) -> Certificate:
    """The workers start while the reference runs in this process."""
    tell(f"starting the train workers: {config.parallel.workers}")
    with ray_session(config.cluster, config.parallel.workers, 0) as gpus:
        trainer, starting = start_trainer(
            worker_spec(config, subject.folder), config.cluster, gpus.train_worker
        )

        def layout(step: Step) -> StepGradient:
            get(starting)
            return trainer.gradient(step)

        certificate = certify(config, subject, plan, layout, tell)
        trainer.close()
    return certificate
