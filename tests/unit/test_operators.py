"""Every operation has its operator, its verb, and a result that the executor knows."""

from __future__ import annotations

from typing import get_args

import pytest

from elevon.model.operation import OperationBase, Result
from elevon.model.operations import Call, Load, Operation, Read
from elevon.rank.operators import OPERATORS
from elevon.tasks.verbs import Verbs

OPERATIONS = set(get_args(Operation))


def test_every_operation_has_one_operator() -> None:
    assert set(OPERATORS) == OPERATIONS - {Call}


def test_every_operation_has_the_common_base() -> None:
    assert {one for one in OPERATIONS if not issubclass(one, OperationBase)} == set()
    assert {*OperationBase.__subclasses__()} == OPERATIONS


def test_every_operation_has_a_tag_of_its_own() -> None:
    tags = [one.__struct_config__.tag for one in OPERATIONS]

    assert len(set(tags)) == len(OPERATIONS)


@pytest.mark.parametrize("one", sorted(OPERATIONS - {Call, Load, Read}, key=str))
def test_every_operation_on_frames_comes_from_a_verb(one: type) -> None:
    made = {
        name
        for verb in vars(Verbs).values()
        if hasattr(verb, "__code__")
        for name in verb.__code__.co_names
    }

    assert one.__name__ in made


def test_results_are_those_that_the_executor_knows() -> None:
    known = set(get_args(Result))

    assert {
        Call("f", b"", returns=returns).result for returns in ("rank0", "all", "dataset")
    } == known
