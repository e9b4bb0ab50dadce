"""Texts of foreign errors: bounded, encodable, and never an error of their own."""

from __future__ import annotations

import pytest

from elevon.model.shown import type_name
from elevon.model.texts import bounded, error_text, traceback_text


class Meta(type):
    @property
    def __name__(cls) -> str:
        raise SystemExit(1)


class Nameless(metaclass=Meta):
    pass


class Text(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        raise RuntimeError("encode")

    def __len__(self) -> int:
        return 1


def raising(what: BaseException) -> type[Exception]:
    class Hostile(Exception):
        def __str__(self) -> str:
            raise what

    return Hostile


def chained(length: int) -> BaseException:
    first: BaseException = ValueError("the first")
    for number in range(length):
        following = ValueError(f"number {number}")
        following.__cause__, first = first, following
    return first


def noted() -> BaseException:
    error = ValueError("with notes")
    error.__notes__ = ["n" * 1_000_000, 7, raising(KeyError("x"))()]  # type: ignore[attr-defined]
    return error


HOSTILE = [
    raising(RuntimeError("no text"))(),
    raising(SystemExit(3))(),
    raising(KeyboardInterrupt())(),
    ValueError("x" * 10_000_000),
    ValueError("\udc80"),
    ValueError(Text("\udc80" * 9000)),
    chained(3000),
    noted(),
    SystemExit(3),
]


@pytest.mark.parametrize("error", HOSTILE, ids=lambda error: type(error).__name__)
def test_texts_are_bounded_and_encodable(error: BaseException) -> None:
    for text, most in ((error_text(error), 30_000), (traceback_text(error), 110_000)):
        assert type(text) is str
        assert text
        assert len(text.encode()) <= most


def test_a_plain_error_is_told_as_it_is() -> None:
    assert error_text(ValueError("no such file")) == "ValueError: no such file"
    assert traceback_text(ValueError("no such file")) == "ValueError: no such file\n"


def test_the_middle_is_left_out_and_counted() -> None:
    text = bounded("a" * 50 + "b" * 1000 + "c" * 50, 100)

    assert text.startswith("a" * 50)
    assert text.endswith("c" * 25)
    assert "1,000 characters left out" in text


def test_a_class_that_hides_its_name_has_one() -> None:
    assert type_name(Nameless()) == "Nameless"
    assert "raised KeyError" in error_text(raising(KeyError("x"))())
