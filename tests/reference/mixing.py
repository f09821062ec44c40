"""A conference by definition: everyone hears the sum of all others, in numbers without bounds."""

from collections.abc import Sequence


def others(sounds: Sequence[Sequence[int]]) -> list[list[int]]:
    total = [sum(column) for column in zip(*sounds, strict=True)]
    return [[whole - own for whole, own in zip(total, sound, strict=True)] for sound in sounds]
