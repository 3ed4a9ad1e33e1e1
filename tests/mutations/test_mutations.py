"""Every listed way to get the loss wrong is noticed by the test that is named beside it."""

import ast

import pytest

from tests.mutations.run import MUTATIONS, ROOT, main


def test_there_are_enough_of_them_and_no_name_occurs_twice():
    names = [mutation.name for mutation in MUTATIONS]
    assert len(names) == len(set(names)) >= 25


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_every_mutation_still_applies_and_is_valid_python(mutation):
    mutated = mutation.applied_to((ROOT / mutation.file).read_text())
    ast.parse(mutated)


@pytest.mark.parametrize("node", sorted({mutation.caught_by for mutation in MUTATIONS}))
def test_every_named_test_exists(node):
    file, _, rest = node.partition("::")
    tree = ast.parse((ROOT / file).read_text())
    assert rest.partition("[")[0] in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_mutation_is_caught_by_its_test():
    assert main([]) == 0
