"""A large policy and a long log, made up: the same bytes each time.

`policy`: contracts of the size people write (about 2 KB: five parameters, two rules, a fact, limits), each granted to
the same number of roles. `log`: what a gateway would have recorded of as many calls, three in four of them allowed.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Final

from gateway.audit.encode import encode
from gateway.audit.framing import Framer
from gateway.clock import SystemClock
from gateway.domain.event import CallIntent, CallOutcome, Event, Subject

SHIPPED: Final = Path(__file__).resolve().parents[2] / "policies"
_WORDS: Final = """
account address amount archive balance batch branch budget cargo case claim clerk client contract courier
credit currency customer damage deadline debit delivery depot deposit discount dispute document driver entry
estimate fee file freight goods guarantee hold import inspection insurance invoice item journal label ledger
letter licence limit loan location lot margin member message meter notice offer office order owner package
parcel partner passenger payment penalty permit plan policy portion price profile project proof quota quote
rate receipt record refund region rental report reserve return route sample schedule seat service shift site
stamp statement status stock store supplier surcharge tariff tax team term ticket title token transfer trip
unit value vehicle vendor visit voucher warehouse warrant week weight yard zone
"""
WORDS: Final = tuple(_WORDS.split())
_CONTRACT: Final = """\
tool: {tool}
version: "2.1"
description: >-
  {verb} one {a} of a {b} by its id, with its {c} and {d}. Use it when the customer names a {a} and asks about its {c}.
  Not for finding a {b} (look it up first), and not to try out a {d}.
risk: medium
effect: external
authority: [record_id, amount_cents]
tags: [{a}, {b}]
parameters:
  type: object
  properties:
    record_id: {{type: string, pattern: "^[A-Z]-[0-9]{{4,9}}$", description: "Id of the {a}, such as A-1001."}}
    amount_cents: {{type: integer, minimum: 1, maximum: {most}, description: "US cents: 12.50 USD is 1250."}}
    reason: {{type: string, enum: [damaged, late, {c}, {d}, goodwill], description: Why it is done.}}
    note: {{type: string, maxLength: 2000, description: "What the customer said about the {b}, in one line."}}
    lines:
      type: array
      maxItems: 50
      description: The parts of the {a} that are meant. Leave it out for all of them.
      items:
        type: object
        properties:
          sku: {{type: string, pattern: "^[A-Z0-9]{{6,12}}$", description: Article number.}}
          count: {{type: integer, minimum: 1, maximum: 999, description: How many.}}
        required: [sku, count]
        additionalProperties: false
  required: [record_id, amount_cents, reason]
  additionalProperties: false
facts:
  record: {{provider: {a}, args: [record_id]}}
rules:
  - id: own_record
    require: facts.record.exists && facts.record.customer_id == principal.on_behalf_of
    tell_model: There is no such {a} of this customer.
    tell_people: The {a} does not exist or belongs to another customer.
    suggestion: Look at the {b} of this customer first.
  - id: within_rest
    require: args.amount_cents <= facts.record.left_cents && args.amount_cents <= {most}
    tell_model: The amount is more than what is left of this {a}.
  - id: large
    require: args.amount_cents <= {large}
    otherwise: escalate
    tell_model: More than {large} cents need a colleague's approval.
limits:
  per_minute: 30
  per_conversation: 10
approval:
  when: rules
  approvers: 1
effect_key: [record_id]
serialize_by: [record_id]
"""


def tool_name(number: int) -> str:
    return f"tool_{number}"


def policy(folder: Path, *, contracts: int, roles: int, tools_of_a_role: int) -> Path:
    """`roles` x `tools_of_a_role` x 2 rows; four people hold each role; one more role approves everything."""
    (folder / "tools").mkdir(parents=True)
    for name in ("model.conf", "approvers.yaml", "settings.yaml"):
        shutil.copyfile(SHIPPED / name, folder / name)
    dice = random.Random(1)
    for number in range(contracts):
        a, b, c, d = dice.sample(WORDS, 4)
        text = _CONTRACT.format(
            tool=tool_name(number),
            verb=dice.choice(("Correct", "Book", "Cancel", "Move", "Split", "Pay back", "Confirm", "Extend")),
            a=a,
            b=b,
            c=c,
            d=d,
            most=dice.randrange(100_000, 1_000_000),
            large=dice.randrange(1_000, 90_000),
        )
        (folder / "tools" / f"{tool_name(number)}.yaml").write_text(text, encoding="utf-8")
    rows = [f"g, user:person-{role}-{n}, role:r{role}" for role in range(roles) for n in range(4)]
    for role in range(roles):
        start = role * contracts // roles
        for step in range(tools_of_a_role):
            tool = tool_name((start + step) % contracts)
            rows += [f"p, role:r{role}, {tool}, see, allow", f"p, role:r{role}, {tool}, call, allow"]
    rows.append("g, user:lead, role:lead")
    rows += [f"p, role:lead, {tool_name(number)}, approve, allow" for number in range(min(contracts, 1000))]
    (folder / "policy.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def log(audit: Path, *, calls: int, contracts: int, roles: int, tools_of_a_role: int) -> Path:
    """An intent and an outcome for each of `calls` calls by the people of that policy, unsigned."""
    dice, framer = random.Random(2), Framer("made", SystemClock())
    folder = audit / "made"
    folder.mkdir(parents=True)
    with (folder / "00000000.jsonl").open("wb") as file:
        for number in range(calls):
            role = dice.randrange(roles)
            tool = tool_name((role * contracts // roles + dice.randrange(tools_of_a_role)) % contracts)
            for step, event in enumerate(_events(dice, number, f"person-{role}-{dice.randrange(4)}", tool)):
                file.write(framer.line(2 * number + step, encode(event)) + b"\n")
    return audit


def _events(dice: random.Random, number: int, who: str, tool: str) -> tuple[Event, Event]:
    call = Subject(
        f"call_{dice.getrandbits(128):032x}",
        f"call_{number}",
        who,
        "cust-1",
        f"conversation-{number // 10}",
        tool,
        None,
        0,
        None,
        "sha256:" + "e7" * 32,
    )
    arguments = {
        "record_id": f"A-{dice.randrange(1000, 10_000_000)}",
        "amount_cents": dice.randrange(1, 100_000),
        "reason": "late",
        "note": "It came late and one of the two was broken.",
        "lines": [{"sku": "AB12CD34", "count": dice.randrange(1, 9)}],
    }
    digest = f"hmac-sha256:616b6c65:{dice.getrandbits(256):064x}"
    facts: dict[str, object] = {"record": {"exists": True, "customer_id": "cust-1", "left_cents": 90_000}}
    intent = CallIntent(
        call=call,
        contract=f"tools/{tool}.yaml:1",
        contract_version="2.1",
        contract_digest="sha256:" + "22" * 32,
        risk="medium",
        effect="external",
        grant="policy.csv:2001 (role:r1)",
        wire_digest=digest,
        effective_digest=digest,
        arguments=arguments,
        personal=None,
        authority=("record_id", "amount_cents"),
        facts=facts,
        proofs=(),
        effect_key=digest,
        attempt=1,
        sandbox=None,
    )
    return intent, CallOutcome(
        call, 2 * number, "released", None, "", digest, 200, '{"done":true}', {}, {}, {"parse": 20, "validate": 90}
    )
