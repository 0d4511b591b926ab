"""The same shop every time: two customers, their orders, and a folder of reports.

Dana (cust-1001) is the customer of the demonstration. Her orders: A-1001 (120.00 USD) for a small refund of
40.00, A-1002 (100.00) for two refunds of 60.00 at once, A-1003 (400.00) for a large refund of 250.00,
A-1004 still on its way. A-2001 belongs to Eli (cust-1002), so nobody who works for Dana may touch it.
"""

from __future__ import annotations

from pathlib import Path

from examples.support_desk import config
from examples.support_desk.business import Customer, Order, Shop

COMPANY_DOMAIN = "acme.example"
DANA_PIN = "4821"

CUSTOMERS = (
    (Customer("cust-1001", "Dana Reyes", "dana@mail.example", "open"), DANA_PIN),
    (Customer("cust-1002", "Eli Novak", "eli@mail.example", "open"), "7730"),
)

ORDERS = (
    Order("A-1001", "cust-1001", "delivered", 12_000, "USD", "2026-06-03", "desk lamp", 0),
    Order("A-1002", "cust-1001", "delivered", 10_000, "USD", "2026-06-11", "office chair mat", 0),
    Order("A-1003", "cust-1001", "delivered", 40_000, "USD", "2026-07-02", "standing desk", 0),
    Order("A-1004", "cust-1001", "shipped", 3_500, "USD", "2026-09-28", "monitor arm", 0),
    Order("A-2001", "cust-1002", "delivered", 9_900, "USD", "2026-08-15", "headset", 0),
)

# Revenue of the quarter: 312,450 cents; the south has the most with 181,200.
SALES = """month,region,orders,revenue_cents
2026-07,north,12,48200
2026-07,south,9,31500
2026-08,north,15,60150
2026-08,south,11,40900
2026-09,north,6,22900
2026-09,south,25,108800
"""

README = """Reports of the shop, one folder a quarter. Revenue is in US cents.
"""


def seed(home: Path) -> Shop:
    """Fill an empty `home`; a home that has a database is left as it is."""
    shop = Shop(config.database(home))
    if shop.database.exists():
        return shop
    reports = config.reports(home)
    (reports / "q3").mkdir(parents=True, exist_ok=True)
    (reports / "README.txt").write_text(README, encoding="utf-8")
    (reports / "q3" / "sales.csv").write_text(SALES, encoding="utf-8")
    shop.create()
    for customer, pin in CUSTOMERS:
        shop.add_customer(customer, pin)
    for order in ORDERS:
        shop.add_order(order)
    return shop
