"""What a person can see of a text, for guards that refuse the rest and for pages that spell it out (UAX #44)."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Default_Ignorable_Code_Point (DerivedCoreProperties) beyond those, and letters or symbols that draw as a blank.
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U00016fe4\U0001d159\U000e0000-\U000e0fff]"
)


def drawn(character: str) -> bool:
    """Whether something is seen of it, or is known to be a space."""
    return unicodedata.category(character) not in _HIDDEN and not _BLANK.match(character)
