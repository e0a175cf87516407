"""The console by the TLS listener, with the certificate that Clary makes."""

import re
import subprocess

from playwright.sync_api import expect

from server import CLARY, serving


def test_a_browser_takes_the_certificate_made_here(browser):
    """Once its user has said that it is trusted; the session holds there, by a cookie for TLS alone."""
    with serving(CLARY_TLS_LISTEN="127.0.0.1:0") as server:
        command = [*CLARY, "open", "--home", str(server.home), "--print", "--tls"]
        link = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        assert link.startswith("https://")
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.goto(link)
        expect(page.get_by_role("heading", level=1)).to_have_text("Training jobs")
        expect(page).to_have_url(re.compile("^https://.*/jobs$"))
        (cookie,) = context.cookies()
        context.close()
    assert cookie["secure"]
    assert cookie["httpOnly"]
