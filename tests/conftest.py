"""Hypothesis profiles: `dev` explores, `ci` (chosen by CI=true) is reproducible, `soak` is for the long counts.

None of them has a deadline: this suite asserts nothing about time.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("dev", max_examples=60, deadline=None)
settings.register_profile("ci", max_examples=60, deadline=None, derandomize=True, database=None, print_blob=True)
settings.register_profile("soak", max_examples=5_000, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "dev")
