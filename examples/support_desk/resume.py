"""A fresh process that redeems one approved request: it is given paths and an id, and nothing else.

python -m examples.support_desk.resume --policies POLICIES --home HOME --conversation NAME REQUEST
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from examples.support_desk.agent import AGENT, CUSTOMER, open_gateway
from gateway import Denied, Parked, Released, Unknown


def main() -> int:
    parser = argparse.ArgumentParser(description="Redeem one approved request of the support desk.")
    parser.add_argument("request")
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--conversation", required=True)
    given = parser.parse_args()
    with open_gateway(given.policies, given.home, origin="worker") as gateway:
        session = gateway.session(AGENT, conversation=given.conversation, on_behalf_of=CUSTOMER)
        outcome = session.resume_sync(given.request)
    match outcome:
        case Released():
            print(f"ran: {outcome.content}")
        case Denied():
            print(f"denied: {outcome.refusal.reason.value}: {outcome.refusal.message}")
        case Parked():
            print("still waits for a person")
        case Unknown():
            print("unknown: a person must find out whether it took effect")
    return 0 if isinstance(outcome, Released) else 1


if __name__ == "__main__":
    sys.exit(main())
