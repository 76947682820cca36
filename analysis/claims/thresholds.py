"""The numbers behind words such as "nearly all", the same for every claim. The original names none."""

from analysis.claims.claim import Claimed

# The ε of the original's examples, and the largest ε that counts as hardly visible.
EPSILON, UNNOTICED = 0.01, 8 / 255
# A softmax probability from which a prediction is confident.
CONFIDENT = 0.8

SOME = Claimed(0.01, 1.0, "some, may be: more than one in a hundred")
MINORITY = Claimed(0.01, 0.5, "a minority: more than one in a hundred, at most half")
AT_MOST_HALF = Claimed(0.0, 0.5, "most are not: at most half")
MAJORITY = Claimed(0.5, 1.0, "the majority: at least half")
NEARLY_ALL = Claimed(0.9, 1.0, "nearly all, generally: at least nine in ten")
HARDLY_ANY = Claimed(0.0, 0.1, "almost any does not: at most one in ten does")
RARE = Claimed(0.0, 0.05, "very rarely, hardly: at most 5 %")
CONFIDENTLY = Claimed(CONFIDENT, 1.0, f"confident: {CONFIDENT} or more on average")
# Cohen 1988: correlations up to 0.1 are small, from 0.3 on medium.
UNLIKE = Claimed(-0.1, 0.1, "practically nothing: correlations up to 0.1 (Cohen 1988)")
ALIKE = Claimed(0.3, 1.0, "mirrors: correlations from 0.3 on (Cohen 1988)")
