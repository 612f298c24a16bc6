"""A page in Chromium, opened from disk without a network, and all that went wrong there."""

from pathlib import Path

from playwright.sync_api import Browser, Page

PATIENCE = 120_000  # milliseconds; a busy machine is slow


class Shown:
    """A page in the browser, and all that went wrong there."""

    def __init__(self, browser: Browser, file: Path, link: str = "", width: int = 1200, dark: bool = False) -> None:
        context = browser.new_context(
            offline=True, viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE)
        self.page: Page = context.new_page()
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{file}{link}", timeout=PATIENCE)

    def close(self) -> None:
        self.page.context.close()
