"""Headless Chromium of Debian, as a user of examples/webapp."""

import os
import shutil

from selenium import webdriver
from selenium.webdriver.common.by import By

from world import BACKENDS, WEBAPP, eventually


class Browser:
    def __init__(self, scratch):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (
            "--headless=new", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", "--no-first-run", "--no-proxy-server", f"--user-data-dir={scratch}/chromium",
            # Nothing but this machine is reached.
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
        ):
            options.add_argument(flag)
        if os.geteuid() == 0:
            options.add_argument("--no-sandbox")
        # Both are given, so that Selenium downloads nothing.
        service = webdriver.ChromeService(shutil.which("chromedriver"), log_output=f"{scratch}/chromedriver.log")
        self.driver = webdriver.Chrome(options, service)
        self.driver.set_script_timeout(20)

    def quit(self):
        self.driver.quit()

    def open(self, url=WEBAPP):
        self.driver.get(url)

    def click(self, text):
        path = f"//*[self::a or self::button][normalize-space()='{text}']"
        eventually(lambda: [found for found in self.driver.find_elements(By.XPATH, path) if found.is_displayed()])[0].click()

    def sign_in(self, name):
        self.click("Sign in")
        field = eventually(lambda: self.driver.find_elements(By.NAME, "name"))[0]
        field.send_keys(name)
        self.click("Sign in")

    def text(self, element):
        return self.driver.execute_script("return document.getElementById(arguments[0])?.textContent", element)

    def wait_for_status(self, expected):
        try:
            eventually(lambda: self.text("status") == expected)
        except AssertionError:
            raise AssertionError(f"the page shows {self.text('status')!r} at {self.driver.current_url}, expected {expected!r}") from None

    def backends(self):
        """What the page shows for each backend, by its address, once every one has answered."""
        script = "return [...document.querySelectorAll('#backends li')].map((li) => [li.dataset.done, li.innerText, li.querySelector('a')?.href])"
        def finished():
            items = self.driver.execute_script(script)
            return items if len(items) == len(BACKENDS) and all(done for done, *_ in items) else None
        return [(text, link) for _, text, link in eventually(finished)]

    def fetch(self, url, bearer=None):
        """The status of a request by the page, or the error that its script gets."""
        script = """
            const [url, bearer, done] = arguments
            fetch(url, bearer ? {headers: {authorization: `Bearer ${bearer}`}} : {}).then((reply) => done(reply.status), (error) => done(String(error)))"""
        return self.driver.execute_async_script(script, url, bearer)
