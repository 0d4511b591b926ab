"""The scenes of the demonstration, and the checks that each shows what it is there to show."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from examples.support_desk import script
from examples.support_desk.agent import AGENT, CUSTOMER
from examples.support_desk.business import Shop
from examples.support_desk.config import database
from examples.support_desk.timeline import WIDTH, Timeline, paint, told, wrap
from gateway import Finished, Gateway, Paused, Session, Stopped

SYSTEM = (
    "You work at the support desk of a shop, for customer cust-1001 (Dana Reyes) and nobody else. Use the tools. "
    "Amounts are in US cents. Call tools in parallel where you can. Answer in one or two sentences."
)
APPROVER = "lea"


@dataclass
class Demo:
    """One run. `shown` holds every promised item and whether it came up."""

    folder: Path
    policies: Path
    client: openai.AsyncOpenAI
    model: str
    scripted: bool
    shown: dict[str, bool] = field(default_factory=dict)
    boxed: bool = True
    skipped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.folder / "toolgate"
        self.key = self.folder / f"{APPROVER}.key"
        self.timeline = Timeline(self.home / "audit")
        self.shop = Shop(database(self.folder / "desk"))

    # the scenes

    def enrol_approvers(self) -> None:
        self.toolgate("approvers", "add", APPROVER, "--dev", "--key", str(self.key), home=False)

    async def converse(self, gateway: Gateway) -> None:
        """Every scene that needs the agent."""
        listed = {each["function"]["name"] for each in self.session(gateway, "list").tools()}
        for tool, why in gateway.unavailable.items():
            if tool in listed:
                self.boxed = False
                print(wrap(f"{tool} is denied here: {why}", 8, "notice:"))
        self.timeline.fresh()
        await self.lookups(gateway)
        await self.refunds(gateway)
        await self.people(gateway)
        await self.ends(gateway)

    async def lookups(self, gateway: Gateway) -> None:
        records = (await self.scene(gateway, "Parallel calls; the weather's first source fails", script.PARALLEL))[1]
        self.check("parallel calls run at the same time", _overlap(records))
        ran = [r for r in records if r["kind"] == "call.outcome"]
        ids = {r["call"]["provider_call_id"] for r in ran}
        self.check("each answer is paired with its call by id", len(ids) == 3)
        backup = [r for r in ran if r["call"]["tool"] == "get_weather_backup" and r["call"]["parent_id"]]
        self.check("the fallback tool answers", bool(backup))
        records = (await self.scene(gateway, "A later round uses an earlier result", script.CHAIN))[1]
        tools = [r["call"]["tool"] for r in records if r["kind"] == "call.outcome"]
        self.check("a chain of calls", tools == ["search_orders", "get_order_status"])
        listed = {each["function"]["name"] for each in self.session(gateway, "list").tools()}
        print(wrap(", ".join(sorted(listed)), 20, "  the model sees:"))
        records = (
            await self.scene(gateway, "A tool this role may not call, and one that does not exist", script.FORBIDDEN)
        )[1]
        denied = [r for r in records if r["kind"] == "call.denied"]
        self.check("a forbidden tool is not in the list", "export_customers" not in listed)
        alike = {r["public"] for r in denied} == {"tool_not_available"} and len(denied) == 2
        self.check("forbidden and invented are refused alike", alike)
        records = (await self.scene(gateway, "A path out of the folder; Python over the report", script.REPORT))[1]
        self.check("a path traversal is refused", any(r.get("reason") == "guard" for r in records))
        boxed = [r for r in records if r["kind"] == "call.outcome" and r["evidence"].get("verdict") == "ok"]
        self.check("Python over data in the sandbox", bool(boxed), in_box=True)
        ended, _ = await self.scene(gateway, "The same Python tries to get out", script.ESCAPE)
        text = ended.text if isinstance(ended, Finished) else ""
        self.check("no network in the sandbox", "network: " in text and "network: reached" not in text, in_box=True)
        self.check("no writing to its root", "root file system: OSError" in text, in_box=True)

    async def refunds(self, gateway: Gateway) -> None:
        records = (await self.scene(gateway, "Wrong arguments, corrected; a small refund", script.CORRECTION))[1]
        self.check("wrong arguments go back as a structured error", any(r.get("reason") == "schema" for r in records))
        self.check("the small refund is done", len(self.shop.ledger("refund", "A-1001")) == 1)
        records = (await self.scene(gateway, "Two refunds of 60 USD at once, of an order of 100", script.TWICE))[1]
        rules = [r["rule"] for r in records if r["kind"] == "call.denied"]
        once = len(self.shop.ledger("refund", "A-1002")) == 1 and any("within_rest" in str(rule) for rule in rules)
        self.check("of two parallel refunds one passes", once)

    async def people(self, gateway: Gateway) -> None:
        ended, records = await self.scene(
            gateway, "A large refund waits for a second person", script.LARGE, defer="pause"
        )
        ran = any(r["kind"] == "call.outcome" for r in records)
        self.check("a large refund is parked, its neighbour runs", isinstance(ended, Paused) and ran)
        if isinstance(ended, Paused):
            text = ended.dumps()
            print(f"  the paused run is {len(text)} characters of ciphertext; nothing was sent to the model")
            request = ended.requests[0].request_id
            self.toolgate("approvals", "list")
            digest = self.show(request)
            self.toolgate("approvals", "approve", request, "--as", APPROVER, "--key", str(self.key), "--digest", digest)
            self.fresh_process(request, ended_in="A large refund waits for a second person")
            self.check("another process executes it", len(self.shop.ledger("refund", "A-1003")) == 1)
            done = await self.go_on(gateway, "A large refund waits for a second person", Paused.loads(text))
            once = len(self.shop.ledger("refund", "A-1003")) == 1
            self.check("exactly once, and the paused agent finishes", once and isinstance(done, Finished))
        ended, _ = await self.scene(gateway, "An approver says no", script.MAIL, defer="pause")
        if isinstance(ended, Paused):
            request = ended.requests[0].request_id
            digest = self.show(request)
            comment = ("--comment", "Nothing about her account by mail, please.")
            self.toolgate(
                "approvals", "deny", request, "--as", APPROVER, "--key", str(self.key), "--digest", digest, *comment
            )
            done = await self.go_on(gateway, "An approver says no", ended)
            self.check("her denial reaches the model", isinstance(done, Finished) and not self.shop.mails())

    async def ends(self, gateway: Gateway) -> None:
        title = "Closing an account: the customer confirms, a colleague approves"
        ended, _ = await self.scene(gateway, title, script.CLOSE, defer="pause")
        if isinstance(ended, Paused):
            request = ended.requests[0].request_id
            print("  the desk's own screen asks Dana, and she clicks `yes, close it`")
            self.session(gateway, title).confirm(request)
            digest = self.show(request)
            self.toolgate("approvals", "approve", request, "--as", APPROVER, "--key", str(self.key), "--digest", digest)
            done = await self.go_on(gateway, title, ended)
            self.check("confirmed and approved, it is closed", len(self.shop.ledger("close_account")) == 1)
            refused = isinstance(done, Stopped) and done.reason == "answer_refused"
            self.check("an answer with the customer's PIN is refused", refused)
        ended, _ = await self.scene(gateway, "A model that never stops", script.LOOP)
        self.check("the call budget ends the loop", isinstance(ended, Stopped) and ended.reason == "call_budget")

    # parts of a scene

    def session(self, gateway: Gateway, title: str, defer: str = "pause") -> Session:
        name = "".join(c if c.isalnum() else "-" for c in title.lower())[:40]
        return gateway.session(AGENT, conversation=name, on_behalf_of=CUSTOMER, defer=defer)  # type: ignore[arg-type]

    async def scene(
        self, gateway: Gateway, title: str, said: str, defer: str = "answer"
    ) -> tuple[Finished | Paused | Stopped, list[dict[str, Any]]]:
        """One conversation: what the user says, what the log says happened, what comes back."""
        print(f"\n{paint(title, 'bold')}\n{wrap(said, 9, '  Dana:')}")
        session = self.session(gateway, title, defer)
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": said}]
        ended = await session.run(self.client, model=self.model, messages=messages)
        return ended, self.after(ended)

    async def go_on(self, gateway: Gateway, title: str, paused: Paused) -> Finished | Paused | Stopped:
        ended: Finished | Paused | Stopped = await self.session(gateway, title).run(
            self.client, model=self.model, paused=paused
        )
        self.after(ended)
        return ended

    def after(self, ended: Finished | Paused | Stopped) -> list[dict[str, Any]]:
        records = self.timeline.show()
        if isinstance(ended, Finished):
            told(ended.messages)
        match ended:
            case Finished():
                print(wrap(ended.text, 9, "  Agent:"))
            case Paused():
                waiting = ", ".join(each.tool for each in ended.requests)
                print(f"  {paint('paused', 'wait')}: {waiting} waits for a person")
            case Stopped():
                print(wrap(ended.message_for_user, 9, "  Agent:"))
        return records

    # other processes

    def toolgate(self, *words: str, home: bool = True) -> str:
        """Run the real command, and show it."""
        place = ("--policies", str(self.policies), *(("--home", str(self.home)) if home else ()))
        named = " ".join(word for word in words if not word.startswith(str(self.folder)) and word != "--key")
        print(wrap(f"toolgate {named}", 4, "  $"))
        done = self.process("-m", "gateway.cli", *words, *place)
        for line in done.stdout.replace(str(self.folder), "...").splitlines():
            lead = 4 + len(line) - len(line.lstrip())
            print(f"    {line}" if len(line) <= WIDTH - 4 else " " * lead + wrap(line.lstrip(), lead + 2).lstrip())
        if done.returncode and done.stderr:
            print(wrap(done.stderr, 4))
        return done.stdout

    def show(self, request: str) -> str:
        """The approver looks; the digest of what she saw is what she names when she votes."""
        return self.toolgate("approvals", "show", request).rstrip().rpartition("digest ")[2]

    def fresh_process(self, request: str, ended_in: str) -> None:
        conversation = self.session_name(ended_in)
        print("  $ python -m examples.support_desk.resume ...   (a fresh interpreter)")
        done = self.process(
            "-m",
            "examples.support_desk.resume",
            *("--policies", str(self.policies), "--home", str(self.home), "--conversation", conversation),
            request,
        )
        print(wrap((done.stdout or done.stderr).strip(), 4))

    def session_name(self, title: str) -> str:
        return "".join(c if c.isalnum() else "-" for c in title.lower())[:40]

    def process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own commands
            [sys.executable, *arguments], capture_output=True, text=True, check=False, env=dict(os.environ)
        )

    # the evidence

    def verify(self) -> None:
        print(f"\n{paint('The log, checked', 'bold')}")
        self.check("the log is whole", "whole" in self.toolgate("audit", "verify") and self.damage(self.home) == [])
        flipped = self.copy("flipped")
        segment = flipped / "audit" / "desk" / "00000000.jsonl"
        raw = bytearray(segment.read_bytes())
        lines = bytes(raw).split(b"\n")
        victim = next(i for i, line in enumerate(lines) if b'"kind":"call.outcome"' in line)
        at = sum(len(line) + 1 for line in lines[:victim]) + lines[victim].index(b'"status":"') + 10
        raw[at] ^= 1
        segment.write_bytes(raw)
        print(f"  one bit of record {victim} flipped, in a copy:")
        named = any(f"record {victim}:" in line for line in self.damage(flipped))
        self.check("a flipped byte is named by its record", named)
        cut = self.copy("cut")
        segment = cut / "audit" / "desk" / "00000000.jsonl"
        segment.write_bytes(b"\n".join(lines[:-6]) + b"\n")
        print("  the last five records cut off, in a copy:")
        self.check("a cut tail is caught by the checkpoint", any("truncated" in line for line in self.damage(cut)))

    def hand_over(self) -> None:
        """The last scene: somebody who holds a receipt and a public key, and nothing of ours."""
        print(f"\n{paint('One call, proved to somebody who has only a public key', 'bold')}")
        found = self.process(
            *("-m", "gateway.cli", "audit", "search", "--home", str(self.home)),
            *("--tool", "initiate_refund", "--text", "A-1003", "--decision", "released", "--json"),
        )
        calls = [each["record"]["call"]["call_id"] for each in json.loads(found.stdout or "[]")]
        theirs = self.folder / "third-party"
        theirs.mkdir()
        receipt, key = theirs / "receipt.json", theirs / "worker.pub"
        proved = refused = False
        if calls:
            print(wrap(f"toolgate audit receipt {calls[-1]} -o {receipt.name}", 4, "  $"))
            place = ("--policies", str(self.policies), "--home", str(self.home))
            self.process("-m", "gateway.cli", "audit", "receipt", calls[-1], "-o", str(receipt), *place)
            shutil.copy(self.home / "trust" / "origins" / "worker.pub", key)
            print(f"  the third party holds {receipt.name} ({receipt.stat().st_size} bytes) and {key.name}:")
            proved = "signature good" in self.third_party(receipt, key)
            receipt.write_text(receipt.read_text().replace('amount_cents\\":25000', 'amount_cents\\":15000'))
            print("  the same with another amount written into it:")
            refused = "REFUSED" in self.third_party(receipt, key)
        self.check("a third party proves one call, and its approval", proved)
        self.check("a changed receipt is refused", refused)

    def third_party(self, receipt: Path, key: Path) -> str:
        print(f"  $ toolgate audit check-receipt {receipt.name} --key {key.name}")
        done = self.process("-m", "gateway.cli", "audit", "check-receipt", str(receipt), "--key", str(key))
        for line in done.stdout.splitlines():
            print(wrap(line.lstrip(), 6 + len(line) - len(line.lstrip()), " " * (4 + len(line) - len(line.lstrip()))))
        return done.stdout

    def copy(self, name: str) -> Path:
        return Path(shutil.copytree(self.home, self.folder / name))

    def damage(self, home: Path) -> list[str]:
        done = self.process("-m", "gateway.cli", "audit", "verify", "--home", str(home))
        lines = [line for line in done.stdout.splitlines() if line.startswith("  ") and " at " in line]
        for line in lines:
            print(wrap(line.strip(), 4))
        return lines

    # the sum

    def check(self, item: str, came_up: bool, *, in_box: bool = False) -> None:
        """Note whether a promised thing came up. Without Docker, what needs a sandbox is not promised."""
        if in_box and not self.boxed:
            self.skipped.append(item)
        else:
            self.shown[item] = came_up

    def summary(self) -> int:
        missing = [item for item, came_up in self.shown.items() if not came_up]
        print(f"\n{len(self.shown) - len(missing)} of {len(self.shown)} things shown")
        for item in missing:
            print(f"  {paint('not shown', 'bad')}: {item}")
        for item in self.skipped:
            print(f"  needs Docker, so not shown here: {item}")
        return 1 if missing and self.scripted else 0


def _overlap(records: Sequence[dict[str, Any]]) -> bool:
    """True if one call's intent stands between another's intent and outcome."""
    open_calls: set[str] = set()
    for record in records:
        if record["kind"] == "call.intent":
            if open_calls:
                return True
            open_calls.add(record["call"]["call_id"])
        elif record["kind"] == "call.outcome":
            open_calls.discard(record["call"]["call_id"])
    return False
