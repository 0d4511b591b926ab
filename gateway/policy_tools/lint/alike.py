"""Tools that are described nearly alike: a model confuses them.

Two descriptions are alike if they share four words in five (Jaccard). Pairs are found by their rare words (the prefix
filter of S. Chaudhuri, V. Ganti and R. Kaushik, 2006): exact, and far from comparing every pair.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from math import ceil
from typing import Final

from gateway.policy.policy_set import PolicySet
from gateway.policy.versions import lines
from gateway.policy_tools.lint.finding import Finding, in_contract

ALIKE: Final = 0.8
_WORD: Final = re.compile(r"\w+")


def alike(policy: PolicySet) -> Iterator[Finding]:
    """Each tool that reads like one before it, named once."""
    said = {
        tool: frozenset(_WORD.findall(each.contract.description.lower())) for tool, each in policy.contracts.items()
    }
    older = lines({tool: each.contract for tool, each in policy.contracts.items()})
    often = Counter(word for words in said.values() for word in words)
    by_word: dict[str, list[str]] = defaultdict(list)
    for tool in sorted(said):
        words = said[tool]
        if not words:
            continue
        rare = sorted(words, key=lambda word: (often[word], word))[: len(words) - ceil(ALIKE * len(words)) + 1]
        near = {other for word in rare for other in by_word[word]}
        like = [
            other
            for other in sorted(near)
            if _share(words, said[other]) >= ALIKE
            and other not in older.get(tool, ())
            and tool not in older.get(other, ())  # versions of one tool: nobody is offered both
        ]
        if like:
            what = f"{like[0]} and {tool} are described nearly alike"
            mend = "say in each what tells it from the other"
            yield in_contract(policy.contracts[tool], "warning", "descriptions-alike", what, mend, "description")
        for word in rare:
            by_word[word].append(tool)


def _share(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
