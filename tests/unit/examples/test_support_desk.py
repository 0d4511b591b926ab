"""The support desk: tools, facts, mail and weather against the real database and servers."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from examples.support_desk import config, facts, tools
from examples.support_desk.business import NotFoundError, Shop, WrongPinError
from examples.support_desk.seed import DANA_PIN, seed
from examples.support_desk.services import Services, services

ROOT = Path(__file__).parents[3]


def test_orders_are_looked_up_and_searched(desk: Services) -> None:
    assert tools.get_order_status("A-1001")["total_cents"] == 12_000
    found = tools.search_orders("cust-1001")["orders"]
    assert [order["id"] for order in found] == ["A-1004", "A-1003", "A-1002", "A-1001"]
    shipped = tools.search_orders("cust-1001", status="shipped")["orders"]
    assert [order["id"] for order in shipped] == ["A-1004"]
    assert len(tools.search_orders("cust-1001", limit=2)["orders"]) == 2
    assert tools.search_orders("nobody") == {"orders": []}
    with pytest.raises(NotFoundError):
        tools.get_order_status("A-9999")


def test_a_refund_lowers_what_is_left_and_stands_in_the_ledger(desk: Services) -> None:
    booked = tools.initiate_refund("A-1001", 4_000, "damaged")
    assert booked["refunded_cents"] == 4_000
    assert tools.get_order_status("A-1001")["refunded_cents"] == 4_000
    assert facts.order_fact("user:ana", "A-1001")["refundable_cents"] == 8_000
    (entry,) = desk.shop.ledger("refund", "A-1001")
    assert entry.detail == {"amount_cents": 4_000, "reason": "damaged", "refund_id": booked["refund_id"]}
    assert desk.shop.ledger("refund", "A-1002") == []


def test_a_second_effect_is_visible_since_nothing_is_deduplicated(desk: Services) -> None:
    for _ in range(2):
        tools.initiate_refund("A-1002", 6_000, "late")
    entries = desk.shop.ledger("refund", "A-1002")
    assert len({entry.id for entry in entries}) == 2
    assert [entry.number for entry in entries] == sorted(entry.number for entry in entries)
    assert facts.order_fact("user:ana", "A-1002")["refundable_cents"] == 0, "never below nothing"


def test_refunds_from_many_threads_are_all_booked(desk: Services) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: tools.initiate_refund("A-1003", 1, "goodwill"), range(32)))
    assert len(desk.shop.ledger("refund")) == 32
    assert desk.shop.order("A-1003").refunded_cents == 32


def test_a_refund_that_fails_leaves_no_trace(desk: Services) -> None:
    with pytest.raises(NotFoundError):
        tools.initiate_refund("A-9999", 100, "late")
    with pytest.raises(Exception, match="CHECK constraint"):
        tools.initiate_refund("A-1001", -100, "late")
    with pytest.raises(TypeError):  # the refund's row is in, the ledger's cannot be written: neither stays
        desk.shop.refund("A-1001", 100, b"late")  # type: ignore[arg-type]
    assert desk.shop.ledger() == []
    assert desk.shop.order("A-1001").refunded_cents == 0


def test_an_account_is_closed_with_the_right_pin_only(desk: Services) -> None:
    with pytest.raises(WrongPinError):
        tools.close_account("cust-1001", "moving", "0000")
    with pytest.raises(NotFoundError):
        tools.close_account("cust-9999", "moving", DANA_PIN)
    assert facts.customer_fact("user:ana", "cust-1001")["status"] == "open"
    assert tools.close_account("cust-1001", "moving", DANA_PIN) == {"customer_id": "cust-1001", "status": "closed"}
    assert facts.customer_fact("user:ana", "cust-1001")["status"] == "closed"
    assert [entry.subject for entry in desk.shop.ledger("close_account")] == ["cust-1001"]
    assert DANA_PIN.encode() not in desk.shop.database.read_bytes()


def test_facts_keep_their_types_for_what_does_not_exist(desk: Services) -> None:
    for fact, known, unknown in (
        (facts.order_fact, "A-1001", "A-9999"),
        (facts.customer_fact, "cust-1001", "cust-9999"),
    ):
        here, missing = fact("user:ana", known), fact("user:ana", unknown)
        assert here["exists"] is True
        assert missing["exists"] is False
        assert {key: type(value) for key, value in here.items()} == {key: type(value) for key, value in missing.items()}


def test_mail_goes_over_smtp_and_is_counted_where_it_arrives(desk: Services) -> None:
    sent = tools.send_email("dana@mail.example", "Your réfund", "Dear Dana,\n.\n40 USD are on their way: 40 €.")
    (mail,) = desk.shop.mails()
    assert (mail.recipient, mail.sender) == ("dana@mail.example", tools.SENDER)
    assert mail.subject == "Your réfund"
    assert mail.body.splitlines() == ["Dear Dana,", ".", "40 USD are on their way: 40 €."]
    assert sent["to"] == "dana@mail.example"
    assert [entry.subject for entry in desk.shop.ledger("mail")] == ["dana@mail.example"]
    tools.send_email("dana@mail.example", "again", "x")
    assert len(desk.shop.ledger("mail", "dana@mail.example")) == 2


def test_mail_reaches_no_hidden_recipient_and_takes_no_hidden_header(desk: Services) -> None:
    with pytest.raises(ValueError, match="linefeed"):
        tools.send_email("dana@mail.example", "hi\nBcc: eve@evil.example", "x")
    tools.send_email("ana@acme.example, eve@evil.example", "hi", "x")
    assert [mail.recipient for mail in desk.shop.mails()] == ["ana@acme.example"]


def test_the_primary_weather_fails_and_the_backup_answers(desk: Services) -> None:
    with pytest.raises(tools.WeatherUnavailableError, match="503"):
        tools.get_weather("Lisbon")
    assert tools.get_weather_backup("Lisbon") == {
        "city": "Lisbon",
        "source": "backup",
        "temperature_c": 24,
        "sky": "clear",
    }
    with pytest.raises(NotFoundError):
        tools.get_weather_backup("Atlantis?city=Lisbon")
    desk.weather.primary_fails = False
    assert tools.get_weather("Oslo")["source"] == "primary"
    assert desk.weather.hits == {"primary": 2, "backup": 2}


def test_a_report_is_read_from_an_opened_file(desk: Services) -> None:
    with (desk.reports / "q3" / "sales.csv").open("rb") as opened:
        report = tools.read_report(opened)
    assert str(report["text"]).startswith("month,region,orders,revenue_cents\n")
    with pytest.raises(tools.ReportTooLargeError):
        tools.read_report(io.BytesIO(b"x" * (tools.MAX_REPORT_BYTES + 1)))


OTHER_PROCESS = """
import json
from examples.support_desk import tools
refund = tools.initiate_refund("A-1001", 1500, "late")
tools.send_email("ana@acme.example", "done", refund["refund_id"])
print(json.dumps([tools.get_weather_backup("Vienna")["sky"], refund["refunded_cents"]]))
"""


def test_a_fresh_interpreter_uses_the_same_desk(desk: Services) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS],
        cwd=ROOT,
        env={**os.environ, **desk.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == ["cloudy", 1_500]
    assert desk.shop.order("A-1001").refunded_cents == 1_500
    assert [mail.subject for mail in desk.shop.mails()] == ["done"]
    assert [entry.effect for entry in desk.shop.ledger()] == ["refund", "mail"]


def test_the_seed_is_the_same_every_time_and_never_overwrites(tmp_path: Path) -> None:
    homes = [tmp_path / "a", tmp_path / "b"]
    shops: list[Shop] = []
    for home in homes:
        home.mkdir()
        shops.append(seed(home))
    assert shops[0].search("cust-1001", None, 99) == shops[1].search("cust-1001", None, 99)
    shops[0].refund("A-1001", 1, "late")
    assert seed(homes[0]).order("A-1001") == replace(shops[1].order("A-1001"), refunded_cents=1)


def test_services_stop_and_leave_the_environment_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.HOME_VARIABLE, "elsewhere")
    with services(tmp_path) as desk:
        assert os.environ[config.HOME_VARIABLE] == str(tmp_path.resolve())
        addresses = desk.config
    assert os.environ[config.HOME_VARIABLE] == "elsewhere"
    for host, port in (
        (addresses.smtp_host, addresses.smtp_port),
        (urlsplit(addresses.weather_primary).hostname, urlsplit(addresses.weather_primary).port),
    ):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, port))


def test_tools_without_a_desk_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(config.HOME_VARIABLE, raising=False)
    with pytest.raises(config.DeskNotRunningError, match=config.HOME_VARIABLE):
        tools.get_order_status("A-1001")
    monkeypatch.setenv(config.HOME_VARIABLE, str(tmp_path))
    with pytest.raises(config.DeskNotRunningError, match="start the desk"):
        tools.get_weather("Oslo")
