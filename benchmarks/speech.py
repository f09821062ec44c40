"""Sound with the shape of speech, made from nothing: a voice of changing pitch, formants, syllables and pauses.

What codecs, mixers and concealment cost and how well they do depends on what they are fed; silence or a tone would flatter them.
The same seed gives the same sound everywhere.
"""

import math
import random

FORMANTS = [
    (730, 1090, 2440),
    (270, 2290, 3010),
    (300, 870, 2240),
    (530, 1840, 2480),
    (570, 840, 2410),
]  # a, i, u, e, o
BANDWIDTHS = (80, 110, 160)


def speech(seconds: float, rate: int, seed: int = 1) -> list[int]:
    """16-bit samples at `rate` Hz."""
    chance = random.Random(seed)
    length = int(seconds * rate)
    out: list[float] = []
    phase = 0.0
    memory = [[0.0, 0.0] for _ in BANDWIDTHS]
    while len(out) < length:
        formants = chance.choice(FORMANTS)
        syllable = int(rate * chance.uniform(0.12, 0.28))
        pitch, slope = chance.uniform(95, 160), chance.uniform(-0.2, 0.2)
        hiss = int(syllable * chance.uniform(0.1, 0.3))
        coefficients = []
        for centre, width in zip(formants, BANDWIDTHS, strict=True):
            radius = math.exp(-math.pi * width / rate)
            coefficients.append((2 * radius * math.cos(2 * math.pi * centre / rate), -radius * radius, 1 - radius))
        for at in range(syllable):
            phase += pitch * (1 + slope * at / syllable) / rate
            source = chance.gauss(0, 0.25) if at < hiss else 0.0
            if phase >= 1:
                phase -= 1
                source += 4.0
            total = 0.0
            for state, (first, second, gain) in zip(memory, coefficients, strict=True):
                value = gain * source + first * state[0] + second * state[1]
                state[0], state[1] = value, state[0]
                total += value
            out.append(total * math.sin(math.pi * at / syllable))
        if chance.random() < 0.25:
            out += [0.0] * int(rate * chance.uniform(0.1, 0.3))
    peak = max(abs(value) for value in out)
    return [round(12000 * value / peak) for value in out[:length]]
