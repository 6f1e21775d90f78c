"""The page in a real browser, before the real gateway with tiny peers."""

import asyncio
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from chassis.errors import Unavailable
from tests.servers.gateway import RunningGateway, running_gateway
from tests.servers.peers import Peers

SAMPLES = Path(__file__).parent.parent.parent / "samples"
MUG = SAMPLES / "products" / "coffee-mug.jpg"
PICTURES = sorted((SAMPLES / "library").glob("*.jpg"))[:3]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Nothing but the page: a browser's own calls home would only wait for their time-outs.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: install Debian's package chromium"),
    # The browser's own clean-up.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@dataclass
class Shop:
    """A gateway and the peers behind it."""

    gateway: RunningGateway
    peers: Peers


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """They run in a thread of their own, as the browser's driver wants this one."""
    loop = asyncio.new_event_loop()
    started: Future[Shop] = Future()
    ended = asyncio.Event()

    async def serve() -> None:
        peers = Peers()
        await peers.start()
        async with running_gateway(peers, tmp_path) as gateway:
            started.set_result(Shop(gateway, peers))
            await ended.wait()
        await peers.stop_all()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    yield started.result(30)
    loop.call_soon_threadsafe(ended.set)
    thread.join(30)
    loop.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, shop: Shop) -> Iterator[Page]:
    opened = browser.new_page()
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda each: wrong.append(each.text) if "Content Security Policy" in each.text else None)
    opened.goto(f"{shop.gateway.url}/?library=shop")
    yield opened
    opened.close()
    assert wrong == []


def import_pictures(page: Page) -> None:
    page.get_by_role("button", name="Library").click()
    page.locator("#pictures").set_input_files(PICTURES)
    expect(page.locator("#import-count")).to_have_text("3 of 3 are in the library.")
    expect(page.locator("#list > li")).to_have_count(3)


def recommend(page: Page) -> None:
    page.get_by_role("button", name="Recommend").click()
    page.locator("#photo").set_input_files(MUG)
    expect(page.locator("#recommendations li")).to_have_count(3)


def test_a_photo_gets_its_stages_and_its_backgrounds(page: Page) -> None:
    import_pictures(page)
    recommend(page)
    expect(page.locator("#stages li.done")).to_have_count(4)
    expect(page.locator("#features .chip")).to_have_text(["mug 90 %", "white 90 %", "calm 90 %"])
    expect(page.locator("#captions li")).to_have_count(5)
    first = page.locator("#recommendations li").first
    expect(first).to_contain_text("Close match for")
    first.locator("summary").click()
    expect(first.locator("meter")).to_have_attribute("aria-label", "captions: 70 %")
    assert first.locator("img").evaluate("e => e.decode().then(() => e.naturalWidth)") > 100


def test_previews_take_the_place_of_the_backgrounds_and_are_saved(page: Page, shop: Shop) -> None:
    shop.peers.compositor.picture = PICTURES[0].read_bytes()
    import_pictures(page)
    recommend(page)
    previews = page.locator("#recommendations img.preview")
    expect(previews).to_have_count(3)
    expect(previews.first).to_have_attribute("alt", re.compile("Your product in "))
    assert previews.first.evaluate("e => e.decode().then(() => e.naturalWidth)") > 100
    expect(page.locator("#degraded")).to_contain_text("Look closely at the previews. It is blurred.")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Save the preview in").first.click()
    assert downloading.value.suggested_filename.endswith(".jpg")
    assert Path(downloading.value.path()).read_bytes() == shop.peers.compositor.picture
    page.get_by_label("Shape").select_option("PRESET_LANDSCAPE")
    expect(page.locator("#stages li.done")).to_have_count(4)
    assert shop.peers.compositor.calls == 7


def test_where_there_are_no_previews_the_backgrounds_stay(page: Page, shop: Shop) -> None:
    shop.peers.compositor.trouble.error = Unavailable("The lamp is broken.")
    import_pictures(page)
    recommend(page)
    expect(page.locator("#degraded")).to_contain_text("The lamp is broken.")
    expect(page.locator("#recommendations img:not(.preview)")).to_have_count(3)


def test_a_sample_photo_needs_no_file(page: Page) -> None:
    import_pictures(page)
    page.get_by_role("button", name="Recommend").click()
    page.get_by_role("button", name="A sofa").click()
    expect(page.locator("#stages li.done")).to_have_count(4)


def test_likes_and_dislikes_are_recorded_and_taken_back(page: Page, shop: Shop) -> None:
    import_pictures(page)
    recommend(page)
    first, second = (page.locator("#recommendations li").nth(number) for number in (0, 1))
    first.get_by_role("button", name="Like", exact=False).first.click()
    expect(first.locator("button").first).to_have_attribute("aria-pressed", "true")
    second.locator("button").nth(1).click()
    expect(second.locator("button").nth(1)).to_have_attribute("aria-pressed", "true")
    [recorded] = shop.peers.ranker.feedback.values()
    assert (len(recorded.chosen), len(recorded.rejected)) == (1, 1)
    first.locator("button").first.click()
    expect(first.locator("button").first).to_have_attribute("aria-pressed", "false")
    [recorded] = shop.peers.ranker.feedback.values()
    assert (len(recorded.chosen), len(recorded.rejected)) == (0, 1)


def test_the_library_is_searched_and_emptied(page: Page, shop: Shop) -> None:
    import_pictures(page)
    page.locator("#search").fill(PICTURES[0].stem.split("-")[0])
    expect(page.locator("#list > li:visible")).to_have_count(1)
    page.locator("#search").fill("")
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").first.click()
    expect(page.locator("#list > li")).to_have_count(2)
    assert len(shop.peers.ranker.stored) == 2


def test_rules_are_added_and_removed_with_the_keyboard(page: Page, shop: Shop) -> None:
    import_pictures(page)
    expect(page.locator("#rule-keys option")).to_have_count(3)
    assert page.locator("#rule-keys option").evaluate_all("each => each.map(e => e.value)") == [
        "color",
        "mood",
        "surface",
    ]
    page.locator("#rule-key").focus()
    page.keyboard.type("surface")
    assert page.locator("#rule-known option").evaluate_all("each => each.map(e => e.value)") == ["oak table"]
    page.keyboard.press("Tab")
    page.keyboard.type("oak table, marble")
    shop.peers.ranker.unknown_keys = ["surface"]
    page.keyboard.press("Enter")
    expect(page.locator("#rule-list li span")).to_have_text(["Never surface: oak table or marble"])
    expect(page.locator("#rule-note")).to_contain_text("No background has surface yet")
    [rule] = shop.peers.ranker.rules["libraries/shop"]
    assert (rule.key, list(rule.any_of), rule.exclude) == ("surface", ["oak table", "marble"], True)
    shop.peers.ranker.empty_reason = "The rules of libraries/shop leave none of its backgrounds."
    page.get_by_role("button", name="Recommend").click()
    page.locator("#photo").set_input_files(MUG)
    expect(page.get_by_role("alert")).to_have_text(shop.peers.ranker.empty_reason)
    page.get_by_role("button", name="Library").click()
    page.get_by_role("button", name="Remove the rule: Never surface").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#rule-list li")).to_have_count(0)
    expect(page.locator("#rule-key")).to_be_focused()
    assert shop.peers.ranker.rules["libraries/shop"] == []


def test_a_file_that_cannot_be_imported_is_named_beside_the_others(page: Page, tmp_path: Path, shop: Shop) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not a photo")
    page.get_by_role("button", name="Library").click()
    page.locator("#pictures").set_input_files([PICTURES[0], broken])
    expect(page.locator("#import-count")).to_have_text("1 of 2 are in the library.")
    expect(page.locator("#import-failures li")).to_contain_text(["broken.jpg"])


def test_an_error_is_told_in_the_gateways_words(page: Page) -> None:
    page.locator("#photo").set_input_files(MUG)
    expect(page.get_by_role("alert")).to_contain_text("holds no background")
    expect(page.locator("#stages")).to_be_hidden()


def test_what_was_degraded_is_shown(page: Page, shop: Shop) -> None:
    import_pictures(page)
    shop.peers.captioner.unsure = {"object_type", "color", "mood"}
    recommend(page)
    expect(page.locator("#degraded p").first).to_contain_text("Captions come from a template")
    expect(page.locator("#features dd").first).to_have_text("not sure")


def test_all_of_it_works_with_the_keyboard_alone(page: Page) -> None:
    import_pictures(page)
    recommend(page)
    page.locator("#library").focus()
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.ariaLabel || document.activeElement.id"))
    assert {"key", "show-recommend", "show-backgrounds", "photo"} <= set(reached)
    assert any(each.startswith("Like: ") for each in reached)
    page.locator("#show-backgrounds").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#list > li")).to_have_count(3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_no_serious_violation(browser: Browser, shop: Shop, scheme: str, width: int) -> None:
    page = browser.new_page(
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,
        # A stage in work fades in and out, and its colours with it.
        reduced_motion="reduce",
    )
    page.goto(f"{shop.gateway.url}/?library=shop")
    import_pictures(page)
    library = Axe().run(page)
    recommend(page)
    whole = Axe().run(page)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    page.close()
    violations = [*library.response["violations"], *whole.response["violations"]]
    assert [each["id"] for each in violations if each["impact"] in ("serious", "critical")] == []
    assert background == ("rgb(23, 26, 24)" if scheme == "dark" else "rgb(250, 248, 245)")
    assert overflow <= 0
