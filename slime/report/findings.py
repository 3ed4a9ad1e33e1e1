"""What the numbers allow to be said, in sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence

from slime.report.final import NO_DIFFERENCE, FinalEvaluation
from slime.report.recipes import Recipe
from slime.report.run import Run
from slime.report.scale import Scaling
from slime.report.sigmoid import Refused, Sigmoid

FEW_SEEDS = 5


def in_short(final: FinalEvaluation, scaling: Scaling) -> list[str]:
    """The answers first: who is ahead now, whether that is more than noise, and at scale."""
    return [*_now(final), *_pairs(final), *_few_seeds(final), *_at_scale(scaling)]


def warnings(runs: Sequence[Run], recipes: Sequence[Recipe]) -> list[str]:
    """What makes runs less comparable than they look."""
    return [*_commits(runs), *_versions(runs), *_unfinished(runs), *_seeds(recipes)]


def _now(final: FinalEvaluation) -> Iterator[str]:
    ranked = sorted(
        (s for s in final.standings if s.interval),
        key=lambda s: s.interval.estimate if s.interval else 0.0,
        reverse=True,
    )
    if not ranked:
        yield "No recipe has a final held-out evaluation with an interval."
        return
    best = ranked[0]
    assert best.interval is not None
    what = "Highest mean held-out reward" if len(ranked) > 1 else "Held-out reward"
    yield (
        f"{what} after training: {best.recipe.label}, {best.interval.estimate:.3f} "
        f"(95% interval {best.interval.low:.3f} to {best.interval.high:.3f})."
    )


def _pairs(final: FinalEvaluation) -> Iterator[str]:
    tested = final.tested
    if not tested:
        return
    pairs = f"{len(tested)} pair{'s' if len(tested) > 1 else ''} of recipes compared"
    alone = [c for c in tested if c.interval and not c.interval.holds_zero]
    told_apart = [c for c in alone if NO_DIFFERENCE not in c.verdict]
    if not alone:
        yield f"{pairs}: {NO_DIFFERENCE}."
    elif not told_apart:
        yield (
            f"{pairs}: {len(alone)} of the intervals leave zero out, none after Holm's correction "
            f"for {len(tested)} comparisons: {NO_DIFFERENCE}."
        )
    else:
        listed = [f"{c.first.label} against {c.second.label}: {c.verdict}" for c in told_apart]
        yield f"{pairs}, told apart after Holm's correction: {_listed(listed)}."


def _few_seeds(final: FinalEvaluation) -> Iterator[str]:
    counts = [len(s.per_seed) for s in final.standings if s.per_seed]
    if counts and min(counts) < FEW_SEEDS:
        fewest = min(counts)
        seeds = "One seed" if fewest == 1 else f"{fewest} seeds"
        carry = (
            "says nothing about other seeds" if fewest == 1 else "say little about how seeds spread"
        )
        yield f"{seeds} per recipe {carry}; {NO_DIFFERENCE} does not mean that there is none."


def _at_scale(scaling: Scaling) -> Iterator[str]:
    told = [pair for pair in scaling.pairs if pair.verdict != NO_DIFFERENCE]
    if len(scaling.fitted) > 1 and told:
        listed = [f"{p.first.label} against {p.second.label}: {p.verdict}" for p in told]
        yield (
            f"At scale, by the fitted asymptotes of {len(scaling.fitted)} recipes "
            f"({len(scaling.pairs)} pairs, not corrected for their number): {_listed(listed)}."
        )
    elif len(scaling.fitted) > 1:
        yield (
            f"At scale: {NO_DIFFERENCE} between the fitted asymptotes of the "
            f"{len(scaling.fitted)} recipes that have one."
        )
    if scaling.refused:
        reasons = Counter(
            f.result.reason.partition(":")[0] for f in scaling.fits if isinstance(f.result, Refused)
        )
        why = "; ".join(f"{reason} ({count})" for reason, count in reasons.items())
        yield (
            f"At scale, nothing can be said of {len(scaling.refused)} of {len(scaling.fits)} "
            f"recipes: {why}."
        )
    if len(scaling.fitted) == 1 and len(scaling.fits) == 1:
        result = scaling.fits[0].result
        assert isinstance(result, Sigmoid)
        a = result.asymptote
        yield f"Fitted asymptote A: {a.value:.2f} (95% interval {a.low:.2f} to {a.high:.2f})."


def _commits(runs: Sequence[Run]) -> Iterator[str]:
    commits = Counter(run.origin.commit for run in runs if run.origin.commit)
    if len(commits) > 1:
        shown = ", ".join(f"{commit[:10]} ({n} runs)" for commit, n in commits.items())
        yield f"The runs were made with different commits: {shown}."
    dirty = [run.name for run in runs if run.origin.dirty]
    if dirty:
        yield f"Made with uncommitted changes: {_some(dirty)}."


def _versions(runs: Sequence[Run]) -> Iterator[str]:
    packages = dict.fromkeys(p for run in runs for p in run.origin.versions)
    for package in packages:
        found = {
            str(run.origin.versions[package]) for run in runs if package in run.origin.versions
        }
        if len(found) > 1:
            yield f"The runs used different versions of {package}: {', '.join(sorted(found))}."


def _unfinished(runs: Sequence[Run]) -> Iterator[str]:
    unfinished = [f"{run.name} ({run.state})" for run in runs if not run.is_finished]
    if unfinished:
        yield (
            f"Not finished, so drawn but in no mean, interval or fit of a recipe that has a "
            f"finished run: {_some(unfinished)}."
        )


def _seeds(recipes: Sequence[Recipe]) -> Iterator[str]:
    seeds = {tuple(str(run.seed) for run in recipe.finished) for recipe in recipes}
    if len(seeds) > 1:
        yield "The recipes do not have the same finished seeds."


def _listed(sentences: Sequence[str], most: int = 4) -> str:
    """All of them, or how many there are."""
    if len(sentences) <= most:
        return "; ".join(sentences)
    return f"{len(sentences)} of them, see the table"


def _some(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
