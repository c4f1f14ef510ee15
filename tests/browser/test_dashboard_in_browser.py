"""The dashboard as people see it: Debian's chromium on a real JupyterHub with two running users."""

from __future__ import annotations

import json
from pathlib import Path

from browser.chromium import Page, chromium_page, chromium_program
from dashboards import ADMIN, DASHBOARD, PASSWORD, DashboardHub
from support import wait_until

PICTURES = Path(__file__).parents[2] / "build" / "browser"
"""Screenshots, for people: what the browser shows is looked for in the text of the page."""


def log_in(page: Page, name: str) -> None:
    """Fill in the Hub's form, to which the browser was sent."""
    page.wait("!!document.querySelector('#login_submit')", "the Hub's login")
    for field, text in (("username", name), ("password", PASSWORD)):
        page.run(f"document.querySelector('#{field}_input').value = {json.dumps(text)}")
    page.run("document.querySelector('#login_submit').click()")


def refused(complaint: str) -> bool:
    """Whether the browser tells of what the page's policy keeps it from, or of what follows."""
    return "Content Security Policy" in complaint or "Verification error" in complaint


def test_the_dashboard(hub_directory: Path) -> None:
    chromium_program()  # before all that takes time
    hub = DashboardHub(hub_directory)
    with hub.running():
        for name in ("mary", "john"):
            hub.api("POST", f"users/{name}")
            hub.api("POST", f"users/{name}/server")
        wait_until(lambda: len(hub.api("GET", "users?state=ready")) == 2, "both servers", 60)

        with chromium_page(hub_directory / "ada") as page:
            page.open(hub.url + DASHBOARD)
            log_in(page, ADMIN)
            page.wait_for_text("Routers")
            assert page.run("document.location.pathname") == DASHBOARD
            page.open(f"{hub.url}{DASHBOARD}#/http/routers")
            page.wait_for_text("/user/mary/")
            page.wait_for_text("/user/john/")
            page.screenshot(PICTURES / "routers.png")
            page.open(f"{hub.url}{DASHBOARD}#/http/middlewares/traefikhub__api-auth@file")
            page.wait_for_text("traefikhub:***")
            assert "{SHA}" not in page.text()
            # Traefik's page asks elsewhere, and was kept from it; nothing else went wrong.
            assert [each for each in page.complaints if not refused(each)] == []

        with chromium_page(hub_directory / "mary") as page:
            page.open(hub.url + DASHBOARD)
            log_in(page, "mary")
            page.wait_for_text("403")
            page.screenshot(PICTURES / "refused.png")
            assert "do not have permission to access" in page.text()
            page.open(f"{hub.url}{DASHBOARD}api/http/routers")
            page.wait_for_text("logged in")
            assert "/user/john/" not in page.text()
