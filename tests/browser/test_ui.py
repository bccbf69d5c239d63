"""What a person sees in the MLflow UI, in a real headless Chromium (Debian: chromium, chromium-driver).

With RECSWEEP_SCREENSHOTS=folder the pages that the tests look at are saved there; with RECSWEEP_SHOWN_HOME they are
those of that store, as for the README: `make study screenshots`.
"""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recsweep.tracking import STUDY_TAG, tracking_uri

pytestmark = pytest.mark.browser

MODELS = ("popularity", "knn", "recipe_net")
COLUMNS = ("f1_at_half", "f1_at_threshold", "average_precision", "ndcg_at_10")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--window-size=1900,720")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """A store with a run of each of a few models."""
    before = os.environ.get("RECSWEEP_HOME")
    shown = os.environ.get("RECSWEEP_SHOWN_HOME")
    os.environ["RECSWEEP_HOME"] = shown or str(tmp_path_factory.mktemp("home"))
    if not shown:
        small = ["data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=2"]
        root = Path(__file__).parents[2]
        subprocess.run([sys.executable, "train.py", "-m", f"model={','.join(MODELS)}", *small], cwd=root, check=True)
    yield MlflowClient(tracking_uri())
    del os.environ["RECSWEEP_HOME"]
    if before is not None:
        os.environ["RECSWEEP_HOME"] = before


@pytest.fixture(scope="module")
def page(client: MlflowClient) -> Iterator[str]:
    """The address of the experiment's run table, as `recsweep ui` prints it, with that server running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("recsweep")), "ui", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              start_new_session=True)
    try:
        address = next(line for line in server.stdout if "http://" in line).split()[-1]
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert server.poll() is None, "recsweep ui ended"
                _pause()
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


def _pause() -> None:
    import time

    time.sleep(0.5)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:  # noqa: F821
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("no chromium and chromedriver on the PATH (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.implicitly_wait(30)
    yield driver
    driver.quit()


def screenshot(browser: "webdriver.Chrome", name: str) -> None:  # noqa: F821
    if folder := os.environ.get("RECSWEEP_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"{name}.png"))


def test_the_run_table_shows_the_runs_side_by_side(client: MlflowClient, page: str, browser: "webdriver.Chrome",  # noqa: F821
                                                   ) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    def press(selector: str) -> None:
        browser.find_element(By.CSS_SELECTOR, selector).click()

    runs = [run for run in client.search_runs(["1"]) if STUDY_TAG not in run.data.tags]
    names = [run.info.run_name for run in runs]
    values = [run.data.metrics[f"validation/{column}"] for run in runs for column in COLUMNS]

    def shows(texts: list[str]) -> Callable[["webdriver.Chrome"], bool]:  # noqa: F821
        return lambda driver: all(text in driver.find_element(By.TAG_NAME, "body").text for text in texts)

    browser.get(page)
    press("[data-component-id='mlflow.assistant.chat_panel.close']")
    press("[data-component-id*='runnamecellrenderer']")  # a study's trials lie under it
    WebDriverWait(browser, 30).until(shows(names))
    press("[data-testid='column-selection-dropdown']")
    for column in COLUMNS:
        entry = browser.find_element(By.CSS_SELECTOR, f"span[title='validation/{column}']")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", entry)
        entry.click()
    browser.find_element(By.TAG_NAME, "h2").click()  # closes the list of columns
    WebDriverWait(browser, 30).until(shows([*names, *(repr(value).removesuffix(".0") for value in values)]))
    screenshot(browser, "runs")
