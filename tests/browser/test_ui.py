"""What a person sees in the MLflow UI, in a real headless Chromium (Debian: chromium,
chromium-driver).

With RECSWEEP_SCREENSHOTS=folder the pages that the tests look at are saved there; with
RECSWEEP_SHOWN_HOME they are those of that store, as for the README.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from recsweep.tracking import STUDY_TAG, tracking_uri

pytestmark = pytest.mark.browser

MODELS = ("popularity", "knn", "recipe_net")
COLUMNS = ("f1_at_half", "f1_at_threshold", "average_precision", "ndcg_at_10")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--window-size=1900,1000",
)
PATIENCE = 30  # seconds that a page may take


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowClient]:
    """A store with a study of a few models, their comparison, and a champion."""
    before = os.environ.get("RECSWEEP_HOME")
    shown = os.environ.get("RECSWEEP_SHOWN_HOME")
    os.environ["RECSWEEP_HOME"] = shown or str(tmp_path_factory.mktemp("home"))
    if not shown:
        small = [
            "data.num_users=60",
            "data.num_items=50",
            "data.density=0.15",
            "trainer.max_epochs=2",
        ]
        name = "hydra.sweeper.study_name=four models"
        root = Path(__file__).parents[2]
        recsweep = str(Path(sys.executable).with_name("recsweep"))
        for command in (
            [sys.executable, "train.py", "-m", f"model={','.join(MODELS)}", *small, name],
            [recsweep, "compare"],
            [
                recsweep,
                "promote",
                "--study",
                "four models",
                "--seeds",
                "1",
                "--splits",
                "1",
                "--force",
                "--reason",
                "to look at the model page",
            ],
        ):
            subprocess.run(command, cwd=root, check=True)
    yield MlflowClient(tracking_uri())
    del os.environ["RECSWEEP_HOME"]
    if before is not None:
        os.environ["RECSWEEP_HOME"] = before


@pytest.fixture(scope="module")
def address(client: MlflowClient) -> Iterator[str]:
    """The address of the experiment's run table, as `recsweep ui` prints it, with that server
    running."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("recsweep")), "ui", "--port", str(port)]
    server = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        address = next(line for line in server.stdout if "http://" in line).split()[-1]
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                assert server.poll() is None, "recsweep ui ended"
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, 15)
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator["webdriver.Chrome"]:  # noqa: F821
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip(
            "no chromium and chromedriver on the PATH (Debian: apt-get install chromium "
            "chromium-driver)"
        )
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.implicitly_wait(PATIENCE)
    yield driver
    driver.quit()


class Page:
    """The page in the browser."""

    def __init__(self, driver: "webdriver.Chrome", address: str) -> None:  # noqa: F821
        self.driver = driver
        self.table = address
        self._root = address.partition("/#/")[0]

    def open(self, path: str) -> None:
        self.driver.get(
            "about:blank"
        )  # else only what follows the # changes, and the page may keep what it shows
        is_whole = path.startswith(("http", "file:"))
        self.driver.get(path if is_whole else f"{self._root}/#/{path}")
        close = "[data-component-id='mlflow.assistant.chat_panel.close']"
        self.driver.implicitly_wait(3)
        for button in self.driver.find_elements("css selector", close):
            button.click()
        self.driver.implicitly_wait(PATIENCE)

    def press(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def press_text(self, text: str) -> None:
        self.driver.find_element("xpath", f"//*[normalize-space(text())='{text}']").click()

    def text(self) -> str:
        return self.driver.find_element("tag name", "body").text

    def shows(self, *texts: str) -> None:
        """Wait until all of the texts are on the page."""
        self._until(
            lambda: all(text in self.text() for text in texts),
            lambda: (
                f"missing {[text for text in texts if text not in self.text()]} in:\n{self.text()}"
            ),
        )

    def _until(self, condition: Callable[[], bool], problem: Callable[[], str]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, problem()
            time.sleep(0.2)

    def save(self, name: str) -> None:
        if folder := os.environ.get("RECSWEEP_SCREENSHOTS"):
            time.sleep(1)  # plots and fonts
            self.driver.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture
def page(driver: "webdriver.Chrome", address: str) -> Page:  # noqa: F821
    return Page(driver, address)


OF_STUDIES = "tags.study LIKE '%'"
"""Leaves out what the promotion trained, more runs than a window has room for."""


def _models(client: MlflowClient) -> list:
    return client.search_runs(["1"], f"tags.model_kind LIKE '%' and {OF_STUDIES}")


def test_the_first_page_is_a_leaderboard(client, page):
    """As `recsweep ui` prints its address: measures in columns, the best run first."""
    measure = "validation/average_precision"
    runs = client.search_runs(
        ["1"], "tags.model_kind LIKE '%'", order_by=[f"metrics.`{measure}` DESC"], max_results=3
    )
    page.open(page.table)
    page.shows(*(repr(run.data.metrics[measure])[:6] for run in runs), f"Sort: {measure}")
    shown = page.text()
    places = [shown.index(repr(run.data.metrics[measure])[:6]) for run in runs]
    assert places == sorted(places)
    page.save("first")


def test_choices_stand_in_parallel_coordinates(client, page):
    """On the page of charts, with nothing chosen there."""
    page.open(f"{page.table}&compareRunsMode=CHART")
    page.shows("choices\n(1)", "Parallel Coordinates", "recipe_net", "popularity_by_activity")
    page.save("choices")


def test_a_model_has_a_name_and_what_it_reached_on_its_data(client, page):
    (run,) = (run for run in _models(client) if run.data.tags["model_kind"] == "recipe_net")
    page.open(f"experiments/1/models/{run.outputs.model_outputs[0].model_id}")
    page.shows("recipe_net 15-25-128 mse adam", "synthetic random_cells", "model.user_dim")
    page.save("logged_model")


def test_the_run_table_shows_the_runs_side_by_side(client, page):
    runs = _models(client)
    names = [run.info.run_name for run in runs]
    values = [run.data.metrics[f"validation/{column}"] for run in runs for column in COLUMNS]
    own_view = page.table.partition("&viewStateShareKey")[0]
    page.open(f"{own_view}&searchFilter={quote(OF_STUDIES)}")
    page.press("[data-component-id*='runnamecellrenderer']")  # a study's trials lie under it
    page.shows(*names, "synthetic")  # the latter in the column of data sets
    page.press("[data-testid='column-selection-dropdown']")
    for column in COLUMNS:
        entry = page.driver.find_element("css selector", f"span[title='validation/{column}']")
        page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", entry)
        entry.click()
    page.press("h2")  # closes the list of columns
    page.shows(*names, *(repr(value).removesuffix(".0") for value in values))
    page.save("runs")


def test_two_runs_compared(client, page):
    two = [run for run in _models(client) if run.data.tags["model_kind"] in ("knn", "recipe_net")][
        :2
    ]
    ids, experiments = (
        quote(json.dumps(each)) for each in ([run.info.run_id for run in two], ["1"])
    )
    page.open(f"compare-runs?runs={ids}&experiments={experiments}")
    page.shows(*(run.info.run_name for run in two), "average_precision", "Comparing 2 Runs")
    page.save("two_runs")


def test_the_page_of_a_study(client, page):
    (study,) = client.search_runs(["1"], f"tags.{STUDY_TAG} LIKE '%'")[:1]
    page.open(f"experiments/1/runs/{study.info.run_id}")
    page.shows(
        study.info.run_name,
        f"{study.data.tags['best_model']} (trial {study.data.tags['best_trial']}) is the best of",
        "finished:",
    )
    page.save("study")
    page.open(f"experiments/1/runs/{study.info.run_id}/artifacts")
    page.shows("leaderboard.csv")


@pytest.fixture
def running_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page of a study that is worked on, which is written while this is looked at."""
    monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path / "home"))
    command = [
        sys.executable,
        "-c",
        "from recsweep.tuning import live, plots\n"
        "live.FIRST_SECONDS = live.EVERY_SECONDS = plots.RELOAD_SECONDS = 1\n"
        "live.CPU_SHARE = live.SHARE = 1\n"
        "from recsweep import cli\n"
        "cli.main()",
        "train",
        "-m",
        "model.user_dim=range(2,200)",
        "data.num_users=200",
        "data.num_items=200",
        "trainer.max_epochs=2",
        "hydra.sweeper.study_name=long",
        "hydra.sweeper.n_jobs=1",
    ]
    study = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        end = time.monotonic() + 2 * PATIENCE
        while not (found := list(tmp_path.rglob("plots/study.html"))):
            assert study.poll() is None, "the study ended"
            assert time.monotonic() < end, "no page"
            time.sleep(0.2)
        yield found[0]
    finally:
        if study.poll() is None:
            os.killpg(study.pid, 9)
        study.wait()


def test_the_page_of_a_study_while_it_runs(running_study, page):
    """It says who leads, how far the study is and when that was, and reads itself anew; of a study
    that was killed it says in the end that nothing is written."""
    driver = page.driver
    page.open(f"file://{running_study}")
    page.shows("leads so far", "running: ", "of 199 trials", "UTC")
    page.save("running")

    def done() -> int:
        return int(re.search(r"running: (\d+) of 199", page.text())[1])

    first = done()
    page._until(lambda: done() > first, lambda: f"still {first} trials")
    text = running_study.read_text(encoding="utf-8")
    old = re.sub(r'data-written="\d+"', 'data-written="1000"', text)
    (running_study.parent / "old.html").write_text(old, encoding="utf-8")
    page.open(f"file://{running_study.parent}/old.html")
    page.shows("Nothing has been written for long", "h ago")
    errors = [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [entry for entry in errors if "study.html" in entry["message"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1280])
def test_the_page_of_a_study_is_for_everybody(width, scheme, client, page):
    """axe-core finds nothing, and only tables and plots scroll sideways."""
    (study,) = client.search_runs(["1"], f"tags.{STUDY_TAG} LIKE '%'")[:1]
    path = client.download_artifacts(study.info.run_id, "plots/study.html")
    assert Path(path).stat().st_size < 500_000
    _is_for_everybody(page, f"file://{path}", width, scheme, f"study_{width}_{scheme}")


def test_trials_are_chosen_along_an_axis(client, page):
    """A drag along an axis of the parallel coordinates keeps the trials that cross it there."""
    from selenium.webdriver.common.action_chains import ActionChains

    (study,) = client.search_runs(["1"], f"tags.{STUDY_TAG} LIKE '%'")[:1]
    page.open(f"file://{client.download_artifacts(study.info.run_id, 'plots/study.html')}")
    driver = page.driver
    svg = driver.find_element("css selector", "svg.parallel")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    lines = "[...document.querySelectorAll('svg.parallel polyline')]"

    def left() -> int:
        return driver.execute_script(
            f"return {lines}.filter(l => l.style.opacity !== '0.04').length"
        )

    number, points = driver.execute_script(
        f"return [{lines}.length, {lines}.map(line => [...line.points].map(p => [p.x, p.y])[0])]"
    )
    drawn = driver.execute_script("return arguments[0].viewBox.baseVal.width", svg)
    scale = svg.size["width"] / drawn
    x, best = min(points, key=lambda point: point[1])  # the highest on the axis of the objective
    across = int(x * scale - svg.size["width"] / 2)
    up = int(best * scale - svg.size["height"] / 2)
    drag = ActionChains(driver).move_to_element_with_offset(svg, across, up - 8)
    drag.click_and_hold().move_by_offset(0, 16).release().perform()
    assert 1 <= left() < number
    page.save("parallel")
    ActionChains(driver).move_to_element_with_offset(svg, across, up).click().perform()
    assert left() == number


def test_the_report_of_a_comparison(client, page):
    (comparison,) = client.search_runs(["1"], "tags.comparison LIKE '%'")[:1]
    page.open(f"experiments/1/runs/{comparison.info.run_id}/artifacts/comparison.html")
    page.shows("comparison.html")
    frame = page.driver.find_element("css selector", "iframe")
    page.driver.switch_to.frame(frame)
    page.shows(*(model.removeprefix("#0 ") for model in ("popularity", "knn")))
    page.driver.switch_to.default_content()
    page.save("comparison")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1280])
def test_the_report_is_for_everybody(width, scheme, client, page):
    """axe-core finds nothing, and only tables scroll sideways, at each width and in both schemes of
    colours."""
    (comparison,) = client.search_runs(["1"], "tags.comparison LIKE '%'")[:1]
    path = client.download_artifacts(comparison.info.run_id, "comparison.html")
    _is_for_everybody(page, f"file://{path}", width, scheme, f"comparison_{width}_{scheme}")


def _is_for_everybody(page: Page, address: str, width: int, scheme: str, name: str) -> None:
    import axe_core_python

    driver = page.driver
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open(address)
        driver.execute_script(
            "for (const part of document.querySelectorAll('details')) part.open = 1"
        )
        driver.execute_script(Path(axe_core_python.__file__).with_name("axe.min.js").read_text())
        found = driver.execute_async_script(
            "const done = arguments[0];"
            "axe.run().then(({ violations, passes }) => done([violations.map("
            "each => [each.impact, each.id, each.nodes[0].html]), passes.length]))"
        )
        assert found[0] == []
        assert found[1] > 10, "it looked at something"
        wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert driver.execute_script(wide) <= 0
        page.save(name)
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [400, 1280])
def test_forty_models_can_be_read(width, page, tmp_path, monkeypatch):
    """No two words of a plot lie on each other, none is cut, and none is smaller than can be
    read."""
    from tests.stored_runs import OPTIONS, made_report, store_run

    from recsweep.comparison.compare import CompareOptions, compare
    from recsweep.tracking import tracker

    monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path))
    tracker.cache_clear()
    store = tracker(OPTIONS)
    for place in range(40):
        loss = ("mse", "bce", None)[place % 3]
        name = f"recipe_net {place}/25/128 {loss} adam" if loss else f"knn user {place} tfidf"
        skill = 0.3 + place / 40
        reports = made_report(skill), made_report(skill, part="test")
        store_run(store, name, *reports, loss=loss)
    path = tmp_path / "page.html"
    path.write_text(compare(CompareOptions(tracking=OPTIONS))[0].page, encoding="utf-8")
    tracker.cache_clear()
    driver = page.driver
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open(f"file://{path}")
        faults, number = driver.execute_script(
            """
            const faults = [], boxes = [];
            for (const svg of document.querySelectorAll('figure .wide > svg')) {
              const frame = svg.getBoundingClientRect();
              const words = [...svg.querySelectorAll('text')].map(
                each => [each.textContent, each.getBoundingClientRect()]);
              words.forEach(([text, box], place) => {
                if (box.height < 10) faults.push(['small', text, box.height]);
                if (box.left < frame.left - 1 || box.right > frame.right + 1
                    || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
                  faults.push(['cut', text]);
                for (const [other, near] of words.slice(place + 1))
                  if (box.left < near.right - 1 && near.left < box.right - 1
                      && box.top < near.bottom - 3 && near.top < box.bottom - 3)
                    faults.push(['over', text, other]);
              });
              boxes.push(words.length);
            }
            return [faults, boxes];
            """
        )
        assert faults == []
        assert number[0] >= 40, "the first plot names each model"
        page.save(f"forty_{width}")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_model_page_shows_versions_and_the_champion(client, page):
    version = client.get_model_version_by_alias("recsweep", "champion")
    page.open("models/recsweep")
    page.shows("recsweep", f"Version {version.version}", "champion")
    page.save("model")
    page.open(f"models/recsweep/versions/{version.version}")
    page.shows("champion", "data_digest")
