"""All servers with the real embedded models, as a user starts and uses them."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from PIL import Image

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.probe import is_serving
from deploy import dashboard
from gateway.cli import stack
from gateway.cli.client import all_backgrounds, connect
from gateway.cli.supervision import Supervisor
from tests.e2e.recommendation_trace import INSIDE, is_a_recommendation, nested
from tests.servers.otlp_receiver import Receiver, receiving
from tests.servers.ports import free_ports
from tests.servers.prometheus import needs_prometheus, reading

SAMPLES = Path(__file__).parent.parent.parent / "samples"
EXAMPLES = SAMPLES.parent / "examples"
BASKETBALL = SAMPLES / "products" / "basketball.jpg"
MUG = SAMPLES / "products" / "coffee-mug.jpg"
IMPORTED = 6
# So many that an import is still under way when it is disturbed.
INTERRUPTED = 40
# Place of the generator's port after the gateway's, and of the first port for metrics.
GENERATOR = 2
METRICS = 7
SERVICES = ("gateway", "captioner", "generator", "ranker", "compositor")
# What has nothing to show while all is well.
EMPTY_PANELS = {
    "Calls that failed by our fault",
    "Refused, since too many were pending",
    "Degraded, why",
    "Language model: errors",
}

pytestmark = pytest.mark.timeout(600)


@dataclasses.dataclass(frozen=True)
class Running:
    """The servers, and the command line that talks to them."""

    supervisor: Supervisor
    port: int
    folder: Path
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def backdrop(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line to its end."""
        return subprocess.run(
            [sys.executable, "-m", "gateway.cli", *arguments], env=self.environment, text=True, capture_output=True
        )

    @property
    def environment(self) -> dict[str, str]:
        """Points the command line at these servers."""
        return {**os.environ, "BACKDROP_TARGET": f"127.0.0.1:{self.port}", "COLUMNS": "200", **self.settings}

    def recommend_json(self, library: str = "shop", *options: str) -> dict[str, object]:
        """The response for the mug, decoded."""
        done = self.backdrop("recommend", str(MUG), "--library", library, "--json", *options)
        assert done.returncode == 0, done.stderr
        decoded: dict[str, object] = json.loads(done.stdout)
        return decoded

    def pid_of(self, name: str) -> int:
        """The process id of a server."""
        return next(process.pid for process in self.supervisor.processes() if process.name == name)


def metrics_ports(port: int) -> dict[str, int]:
    """Where each service of the stack at `port` shows its metrics."""
    return {service: port + METRICS + place for place, service in enumerate(SERVICES)}


@pytest.fixture(scope="module")
def traces() -> Iterator[Receiver]:
    """Gets the spans of all servers."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, traces: Receiver) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("stack")
    port = free_ports(METRICS + len(SERVICES))
    with contextlib.ExitStack() as servers:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", traces.endpoint)
            environment.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
            metrics = {f"BACKDROP_{name.upper()}_METRICS_PORT": str(at) for name, at in metrics_ports(port).items()}
            supervisor = servers.enter_context(stack.running(folder, port, settings=metrics))
        yield Running(supervisor, port, folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few pictures of the samples, without their manifest."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted((SAMPLES / "library").glob("*.jpg"))[:IMPORTED]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def shop(running: Running, pictures: Path) -> str:
    """A library that holds the pictures."""
    done = running.backdrop("import", str(pictures), "--library", "shop")
    assert done.returncode == 0, done.stderr
    assert f"{IMPORTED} pictures: {IMPORTED} new." in done.stdout
    return "shop"


def test_the_main_job(running: Running, shop: str, tmp_path: Path) -> None:
    sheet = tmp_path / "mug.png"
    done = running.backdrop("recommend", str(MUG), "--library", shop, "--sheet", str(sheet))
    assert done.returncode == 0, done.stderr
    assert "object_type  mug" in done.stdout
    assert "degraded" not in done.stdout
    with Image.open(sheet) as picture:
        assert picture.width > 1000
    response = running.recommend_json(shop)
    assert len(response["recommendations"]) == 5  # type: ignore[arg-type]
    assert all(each["reason"] for each in response["recommendations"])  # type: ignore[attr-defined]
    assert {"imageText", "language", "sentenceEmbedding"} == set(response["models"])  # type: ignore[call-overload]


def test_the_trace_of_a_recommendation_shows_every_stage(running: Running, shop: str, traces: Receiver) -> None:
    # A photo that no other test asks about, so that nothing is remembered of it.
    image = (SAMPLES / "products" / "dumbbell.jpg").read_bytes()
    request = pb.RecommendRequest(parent=f"libraries/{shop}", image=image, preview=pb.PreviewOptions(count=2))
    with connect(f"127.0.0.1:{running.port}") as stub:
        assert stub.Recommend(request, timeout=60).recommendations
    spans = traces.trace_with(is_a_recommendation, lambda found: nested(found) >= INSIDE)

    chat = next(each for each in spans if each.name.startswith("chat "))
    assert chat.service == "backdrop-generator"
    assert chat.attributes["gen_ai.request.model"]
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    batch = next(each for each in spans if each.name == "batch of images")
    waiting = next(each for each in spans if each.name == "images through a batch")
    assert waiting.events == ["queued", "taken into a batch"]
    assert waiting.raw.span_id in {each.span_id for each in batch.raw.links}
    assert batch.raw.span_id in {each.span_id for each in waiting.raw.links}


@needs_prometheus
def test_every_panel_of_the_dashboard_has_something_to_show(running: Running, shop: str, tmp_path: Path) -> None:
    panels = {
        panel.title: [each.replace(dashboard.RATE, "[30s]") for each in panel.queries.values()]
        for row in dashboard.ROWS.values()
        for panel in row
    }
    empty = set(panels)
    with reading(metrics_ports(running.port), tmp_path) as prometheus:
        for quality in range(95, 75, -1):
            # The gateway remembers the one, and the generator what it wrote about the other, which looks the same.
            copy = tmp_path / f"{quality}.jpg"
            with Image.open(BASKETBALL) as picture:
                picture.save(copy, quality=quality)
            for photo in (BASKETBALL, copy):
                running.backdrop("recommend", str(photo), "--library", shop)
            empty = {title for title, queries in panels.items() if not all(map(prometheus.query, queries))}
            if empty <= EMPTY_PANELS:
                break
        assert empty <= EMPTY_PANELS
        ready = {each["metric"]["job"]: each["value"][1] for each in prometheus.query("backdrop_ready")}
        assert ready == dict.fromkeys(SERVICES, "1")
        assert {rule["health"] for rule in prometheus.rules()} == {"ok"}
        assert {rule["state"] for rule in prometheus.rules()} == {"inactive"}


def test_importing_again_skips_what_is_unchanged(running: Running, shop: str, pictures: Path) -> None:
    done = running.backdrop("import", str(pictures), "--library", shop)
    assert f"{IMPORTED} pictures: {IMPORTED} unchanged." in done.stdout


def test_backgrounds_can_be_listed_shown_saved_and_deleted(running: Running, pictures: Path, tmp_path: Path) -> None:
    running.backdrop("import", str(pictures), "--library", "brief")
    background_id = min(path.stem for path in pictures.iterdir())
    assert background_id in running.backdrop("backgrounds", "list", "--library", "brief").stdout
    saved = tmp_path / "saved.jpg"
    shown = running.backdrop("backgrounds", "show", background_id, "--library", "brief", "--save", str(saved))
    assert "caption, " in shown.stdout
    assert saved.read_bytes() == (pictures / f"{background_id}.jpg").read_bytes()
    assert running.backdrop("backgrounds", "delete", background_id, "--library", "brief").returncode == 0
    gone = running.backdrop("backgrounds", "show", background_id, "--library", "brief")
    assert gone.returncode == 1
    assert "BACKGROUND_NOT_FOUND" in gone.stderr


def test_a_library_goes_into_a_file_and_out_of_it(running: Running, shop: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.zip"
    exported = running.backdrop("export", str(file), "--library", shop)
    assert exported.returncode == 0, exported.stderr
    imported = running.backdrop("import", str(file), "--library", "restored")
    assert imported.returncode == 0, imported.stderr
    assert f"{IMPORTED} pictures: {IMPORTED} new." in imported.stdout
    assert known(running, "restored") == known(running, shop)
    before, after = (scores(running.recommend_json(library)) for library in (shop, "restored"))
    assert after == pytest.approx(before, abs=1e-3)


def known(running: Running, library: str) -> dict[str, object]:
    """What is known of each background, apart from where and when it was stored."""
    lines = running.backdrop("backgrounds", "list", "--library", library, "--json").stdout.splitlines()
    found = [json.loads(line) for line in lines]
    times = {"name", "updateTime"}
    return {each["sha256"]: {key: value for key, value in each.items() if key not in times} for each in found}


def scores(response: Mapping[str, Any]) -> dict[str, float]:
    return {each["background"]["sha256"]: each["score"] for each in response["recommendations"]}


def write_bomb(path: Path) -> None:
    """A valid PNG of 50,000 x 50,000 black pixels in a few hundred kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    compressor = zlib.compressobj(1)
    row = bytes(1 + 50_000 // 8)
    data = b"".join(compressor.compress(row) for _ in range(50_000)) + compressor.flush()
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.fixture(scope="module")
def bad_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("This is not a picture.\n" * 50)
    (folder / "truncated.jpg").write_bytes(MUG.read_bytes()[:9000])
    write_bomb(folder / "bomb.png")
    (folder / "huge.jpg").write_bytes(MUG.read_bytes() + bytes(60_000_000))
    return folder


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("empty.jpg", "send the bytes of an encoded photo"),
        ("text.jpg", "JPEG"),
        ("truncated.jpg", "truncated"),
        ("bomb.png", "megapixels"),
        ("huge.jpg", "32 MiB"),
    ],
)
def test_a_bad_photo_gets_a_clear_error_and_the_next_request_works(
    running: Running, shop: str, bad_photos: Path, name: str, remedy: str
) -> None:
    failed = running.backdrop("recommend", str(bad_photos / name), "--library", shop)
    assert failed.returncode == 1
    assert "image: " in failed.stderr
    assert remedy in failed.stderr
    assert "Traceback" not in failed.stderr
    assert running.recommend_json(shop)["recommendations"]


def test_bad_photos_in_an_import_are_named_and_the_rest_is_imported(
    running: Running, bad_photos: Path, tmp_path: Path
) -> None:
    for path in [*bad_photos.iterdir(), next((SAMPLES / "library").glob("*.jpg"))]:
        shutil.copy(path, tmp_path)
    done = running.backdrop("import", str(tmp_path), "--library", "mixed")
    assert done.returncode == 1
    assert "6 pictures: 1 new, 5 failed." in done.stdout
    assert {line.split()[1] for line in done.stderr.splitlines() if line.startswith("failed")} == {
        "bomb:", "empty:", "huge:", "text:", "truncated:"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--library", "nobodys"], "backdrop import"),
        (["--library", "No Such"], "parent: use libraries/{library}"),
        (["-k", "0"], "limit: ask for 1 to 100 backgrounds"),
        (["-k", "10000"], "limit: ask for 1 to 100 backgrounds"),
        (["--language", "klingonese-very"], "language: send a BCP 47 language tag"),
    ],
)
def test_a_bad_option_gets_a_clear_error(running: Running, shop: str, options: list[str], complaint: str) -> None:
    failed = running.backdrop("recommend", str(MUG), "--library", shop, *options)
    assert failed.returncode == 1
    assert complaint in failed.stderr
    assert running.recommend_json(shop)["recommendations"]


def test_every_server_reflects_and_is_healthy(running: Running) -> None:
    services = {"gateway": 0, "captioner": 1, "generator": 2, "ranker": 3, "compositor": 5}
    for name, offset in services.items():
        target = f"127.0.0.1:{running.port + offset}"
        assert is_serving(target)
        with grpc.insecure_channel(target) as channel:
            names = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert f"backdrop.{name}.v1.{name.capitalize()}Service" in names


def test_what_is_chosen_for_a_product_rises_in_its_library_alone(
    running: Running, shop: str, pictures: Path, tmp_path: Path
) -> None:
    imported = running.backdrop("import", str(pictures), "--library", "shoppers")
    before = running.recommend_json("shoppers")["recommendations"]
    last = before[-1]["background"]["name"].rsplit("/", 1)[1]
    answer = tmp_path / "answer.json"
    for _ in range(3):
        answer.write_text(json.dumps(running.recommend_json("shoppers")))
        said = running.backdrop("feedback", "record", str(answer), "--chosen", last)
        assert said.returncode == 0, said.stderr
    after = running.recommend_json("shoppers")["recommendations"]

    assert imported.returncode == 0, imported.stderr
    place = [each["background"]["name"].rsplit("/", 1)[1] for each in after].index(last)
    assert place < len(before) - 1
    assert "liked for similar products before" in after[place]["reason"]
    assert not any("liked" in each["reason"] for each in running.recommend_json(shop)["recommendations"])


def test_every_example_runs(running: Running) -> None:
    first = ["import_backgrounds.py", "recommend.py", "list_backgrounds.py", "get_background.py"]
    others = {path.name for path in EXAMPLES.glob("*.py")} - {"addresses.py", *first}
    for name in [*first, *sorted(others)]:
        command = [sys.executable, str(EXAMPLES / name)]
        done = subprocess.run(command, env=running.environment, text=True, capture_output=True)
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert done.stdout, name


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no Node: install Debian's package npm")
def test_the_example_for_node_runs(running: Running, shop: str, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "node", tmp_path, dirs_exist_ok=True)
    subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent"], cwd=tmp_path, check=True)
    environment = {**running.environment, "BACKDROP_ROOT": str(EXAMPLES.parent), "BACKDROP_LIBRARY": shop}
    done = subprocess.run(["node", "recommend.js"], cwd=tmp_path, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "features > captions > ranking > previews" in done.stdout
    assert "INVALID_ARGUMENT limit" in done.stdout
    assert (tmp_path / "preview.jpg").read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.parametrize("name", ["captioner", "generator", "llm", "ranker", "gateway"])
def test_a_server_killed_during_an_import_loses_nothing_that_was_acknowledged(
    running: Running, shop: str, name: str, tmp_path: Path
) -> None:
    library = f"killed-{name}"
    pictures = sorted((SAMPLES / "library").glob("*.jpg"))[:INTERRUPTED]
    for path in pictures:
        shutil.copy(path, tmp_path)
    with importing(running, tmp_path, library) as process:
        wait_until(lambda: len(stored(running, library)) >= 2)
        acknowledged = stored(running, library)
        killed = running.pid_of(name)
        os.kill(killed, signal.SIGKILL)
        process.communicate(timeout=240)
    wait_until(lambda: running.pid_of(name) not in {0, killed})
    wait_until(lambda: all(is_serving(f"127.0.0.1:{running.port + offset}") for offset in (0, 1, 2, 3, 5)))
    assert acknowledged <= stored(running, library)
    again = running.backdrop("import", str(tmp_path), "--library", library)
    assert again.returncode == 0, again.stderr
    assert stored(running, library) == {path.stem for path in pictures}


@pytest.mark.parametrize(
    ("name", "fault", "photo"),
    [
        ("generator", signal.SIGKILL, "candle"),
        ("generator", signal.SIGSTOP, "sofa"),
        ("llm", signal.SIGKILL, "table-lamp"),
        ("llm", signal.SIGSTOP, "wine-bottle"),
    ],
)
def test_without_its_language_model_an_answer_is_degraded_and_in_time_and_soon_whole_again(
    running: Running, shop: str, name: str, fault: signal.Signals, photo: str
) -> None:
    # A photo of its own for each case: one that was captioned before needs no language model.
    image = (SAMPLES / "products" / f"{photo}.jpg").read_bytes()
    request = pb.RecommendRequest(parent=f"libraries/{shop}", image=image)
    pid = running.pid_of(name)
    with connect(f"127.0.0.1:{running.port}") as stub:
        os.kill(pid, fault)
        try:
            for _ in range(3):
                response = stub.Recommend(request, timeout=5)
                assert response.recommendations
                if fault == signal.SIGSTOP:
                    assert [each.stage for each in response.degraded] == ["captions"]
                    assert response.degraded[0].reason
        finally:
            os.kill(pid, signal.SIGCONT) if fault == signal.SIGSTOP else None
        wait_until(lambda: running.pid_of(name) not in {0, pid} or fault == signal.SIGSTOP)
        wait_until(lambda: is_serving(f"127.0.0.1:{running.port + GENERATOR}"))
        # Ten seconds are the promise; more than that only guards against a slow machine.
        wait_until(lambda: not stub.Recommend(request, timeout=10).degraded, timeout_s=20)


@contextlib.contextmanager
def importing(running: Running, folder: Path, library: str) -> Iterator[subprocess.Popen[str]]:
    """An import in the background, which is over at the end of the `with` whatever happens."""
    command = [sys.executable, "-m", "gateway.cli", "import", str(folder), "--library", library]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=running.environment, text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def stored(running: Running, library: str) -> set[str]:
    """The ids that a library holds, as the gateway tells; none while it or the library is not there."""
    with connect(f"127.0.0.1:{running.port}") as stub, contextlib.suppress(grpc.RpcError):
        return {each.name.rsplit("/", 1)[1] for each in all_backgrounds(stub, library)}
    return set()


def wait_until(condition: Callable[[], bool], timeout_s: float = 120) -> None:
    """Returns once `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def test_an_interrupted_import_goes_on_where_it_was(running: Running, tmp_path: Path) -> None:
    for path in sorted((SAMPLES / "library").glob("*.jpg"))[:INTERRUPTED]:
        shutil.copy(path, tmp_path)
    with importing(running, tmp_path, "interrupted") as process:
        wait_until(lambda: len(stored(running, "interrupted")) >= 2)
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in printed
    again = running.backdrop("import", str(tmp_path), "--library", "interrupted")
    assert again.returncode == 0
    assert "unchanged" in again.stdout


@contextlib.contextmanager
def another_gateway(running: Running) -> Iterator[Running]:
    """A second gateway before the same services and the same store of pictures."""
    port = free_ports(1)
    peers = {"captioner": 1, "generator": 2, "ranker": 3, "compositor": 5}
    settings = {
        **{f"BACKDROP_GATEWAY_{name.upper()}_TARGET": f"127.0.0.1:{running.port + at}" for name, at in peers.items()},
        "BACKDROP_GATEWAY_PORT": str(port),
        "BACKDROP_GATEWAY_HTTP_PORT": "0",
        "BACKDROP_GATEWAY_ASSETS_URL": str(running.folder / "assets"),
    }
    command = [sys.executable, "-m", "gateway"]
    with subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: is_serving(f"127.0.0.1:{port}"))
            yield dataclasses.replace(running, port=port)
        finally:
            process.terminate()


def test_two_gateways_share_what_is_stored_and_no_remembered_answer_is_stale(
    running: Running, pictures: Path, tmp_path: Path
) -> None:
    first, *others = sorted(pictures.iterdir())
    shutil.copy(first, tmp_path)
    with another_gateway(running) as other:
        assert running.backdrop("import", str(tmp_path), "--library", "shared").returncode == 0
        before = [scores(each.recommend_json("shared")) for each in (running, other, running, other)]
        for path in others:
            shutil.copy(path, tmp_path)
        assert other.backdrop("import", str(tmp_path), "--library", "shared").returncode == 0
        after = [each.recommend_json("shared", "--previews", str(tmp_path / "out")) for each in (running, other)]
    assert all(len(each) == 1 for each in before)
    assert [len(scores(each)) for each in after] == [5, 5]
    assert scores(after[0]) == pytest.approx(scores(after[1]), abs=1e-3)


def test_up_says_that_a_port_is_taken(running: Running, shop: str, tmp_path: Path) -> None:
    taken = running.backdrop("up", "--data", str(tmp_path), "--port", str(running.port))
    assert taken.returncode == 1
    assert "PORT_TAKEN" in taken.stderr
    assert running.recommend_json(shop)["recommendations"]


def test_up_says_that_another_process_holds_the_rankers_folder(running: Running, tmp_path: Path) -> None:
    held = dataclasses.replace(running, settings={"BACKDROP_RANKER_STORE_PATH": str(running.folder / "ranker")})
    failed = held.backdrop("up", "--data", str(tmp_path), "--port", str(free_ports(7)))
    assert failed.returncode == 1
    assert "The ranker did not start." in failed.stderr
    assert "STORE_IN_USE" in failed.stderr
    assert not Supervisor(tmp_path).is_running()


def test_the_command_line_says_when_no_gateway_answers(running: Running) -> None:
    failed = running.backdrop("recommend", str(MUG), "--target", "127.0.0.1:1")
    assert failed.returncode == 1
    assert "backdrop up" in failed.stderr
