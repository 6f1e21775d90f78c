"""A library goes to another installation in a file: the command line, two gateways, and two real rankers' stores."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click.testing
import pytest
from google.protobuf import json_format
from typer.testing import CliRunner

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.errors import Unavailable
from gateway.cli.app import app
from services.ranker.catalog import Catalog
from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_store
from services.ranker.index import Index, Version
from services.ranker.servicer import RankerServicer
from services.ranker.text_embedding import TextEmbedder
from services.ranker.vector_store import VectorSpace
from tests.servers.gateway import running_gateway
from tests.servers.peers import MODEL, Peers
from tests.unit.services.ranker.fakes import WordCounter

TITLES = {"oak": "an oak table", "sand": "rippled sand", "moss": "moss in a forest", "slate": "a slate board"}
LOOKS = {
    f"picture of {title}".encode(): look
    for title, look in zip(TITLES.values(), ([0.6, 0.8], [1.0, 0.0], [-0.6, 0.8], [0.8, -0.6]), strict=True)
}


@dataclass
class Installation:
    """A gateway with an index of its own."""

    peers: Peers
    stub: Any
    target: str
    folder: Path

    async def cli(self, *arguments: str | Path) -> click.testing.Result:
        """Runs the command line to its end."""
        words = [*map(str, arguments), "--target", self.target]
        return await asyncio.to_thread(CliRunner().invoke, app, words, env={"COLUMNS": "300"})

    async def search(self, library: str, **fields: Any) -> list[pb.Recommendation]:
        """What is recommended for a photo, without what is another library's own."""
        request = pb.RecommendRequest(parent=f"libraries/{library}", image=b"photo", limit=10, **fields)
        found = list((await self.stub.Recommend(request)).recommendations)
        for each in found:
            each.background.name = each.background.name.rsplit("/", 1)[1]
            each.background.ClearField("update_time")
        return found

    def nobody_reads_or_writes(self) -> None:
        """From now on captioner and generator fail when they are asked."""
        self.peers.captioner.trouble.error = self.peers.generator.trouble.error = Unavailable("not to be asked")


@asynccontextmanager
async def installation(folder: Path, image_model: str = MODEL) -> AsyncIterator[Installation]:
    """Tiny captioner and generator, but the ranker's own servicer, index and store."""
    encoder = WordCounter()
    space = VectorSpace(encoder.model, encoder.dimension, image_model, 2)
    async with AsyncExitStack() as stack:
        embedder = stack.enter_context(TextEmbedder(encoder, cache_size=1000))
        store = open_edge_store(RankerConfig(store_path=folder / "store"), space)
        index = await stack.enter_async_context(aclosing(Index(await Version.open(embedder, space, store))))
        config = RankerConfig()
        peers = Peers(ranker=RankerServicer(Catalog(index, config.weights)))
        peers.captioner.search_embeddings = LOOKS
        await peers.start()
        stack.push_async_callback(peers.stop_all)
        gateway = await stack.enter_async_context(running_gateway(peers, folder, candidate_count=3))
        yield Installation(peers, gateway.stub, f"127.0.0.1:{gateway.port}", folder)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Installation]:
    """An installation with the library `shop`."""
    async with installation(tmp_path / "here") as opened:
        requests = [_request(background_id, title) for background_id, title in TITLES.items()]
        await _import(opened, requests)
        yield opened


def _request(background_id: str, title: str) -> pb.ImportBackgroundsRequest:
    request = pb.ImportBackgroundsRequest(
        name=f"libraries/shop/backgrounds/{background_id}",
        image=f"picture of {title}".encode(),
        title=title,
        keywords=title.split(),
        attributes=[pb.Attribute(key="season", values=["winter" if background_id == "oak" else "summer"])],
    )
    request.expire_time.FromJsonString("2999-01-31T00:00:00Z")
    return request


async def _import(into: Installation, requests: Iterable[pb.ImportBackgroundsRequest]) -> None:
    async for outcome in into.stub.ImportBackgrounds(iter(list(requests))):
        assert outcome.outcome == pb.OUTCOME_CREATED, outcome.error


async def test_a_library_is_searched_alike_in_another_installation(here: Installation, tmp_path: Path) -> None:
    file = tmp_path / "shop.zip"
    done = await here.cli("export", file, "--library", "shop")
    assert done.exit_code == 0, done.output
    assert "Wrote 4 backgrounds" in done.output

    async with installation(tmp_path / "there") as there:
        there.nobody_reads_or_writes()
        done = await there.cli("import", file, "--library", "moved")
        assert done.exit_code == 0, done.output
        assert "4 pictures: 4 new." in done.output
        again = await there.cli("import", file, "--library", "moved")
        assert "4 pictures: 4 unchanged." in again.output
        there.peers.captioner.trouble.error = there.peers.generator.trouble.error = None
        winter = [pb.Filter(key="season", any_of=["winter"])]
        for fields in ({}, {"filters": winter}, {"diversity": 0.5}):
            before, after = await here.search("shop", **fields), await there.search("moved", **fields)
            assert len(before) == (1 if fields.get("filters") else 4)
            assert [each.background for each in before] == [each.background for each in after]
            assert [each.score for each in before] == pytest.approx([each.score for each in after], abs=1e-3)
            assert [each.reason for each in before] == [each.reason for each in after]
        request = pb.GetBackgroundImageRequest(name="libraries/moved/backgrounds/oak")
        assert (await there.stub.GetBackgroundImage(request)).image == b"picture of an oak table"


async def _choose(here: Installation, folder: Path, *arguments: str) -> click.testing.Result:
    """Recommends from `shop` for a photo, and says of the saved answer what the arguments say."""
    answer = folder / "answer.json"
    request = pb.RecommendRequest(parent="libraries/shop", image=b"photo", limit=10)
    answer.write_text(json_format.MessageToJson(await here.stub.Recommend(request)))
    return await here.cli("feedback", "record", answer, *arguments)


async def test_feedback_is_given_listed_and_reset_by_the_command_line(here: Installation, tmp_path: Path) -> None:
    last = (await here.search("shop"))[-1].background.name

    for _ in range(4):
        said = await _choose(here, tmp_path, "--chosen", last)
        assert said.exit_code == 0, said.output
    await _choose(here, tmp_path, "--chosen", last, "--rejected", "oak" if last != "oak" else "sand")
    again = await here.cli("feedback", "record", tmp_path / "answer.json")

    liked = [each for each in await here.search("shop") if "liked for similar products before" in each.reason]
    assert [each.background.name for each in liked] == [last]
    assert "Nothing is recorded of this answer now." in again.output
    listed = await here.cli("feedback", "list", "--library", "shop")
    assert sum(line.startswith("20") and f" {last} " in line for line in listed.output.splitlines()) >= 4
    refused = await _choose(here, tmp_path, "--chosen", "not-there")
    assert refused.exit_code == 1
    assert "chosen[0]: not-there was not shown in this recommendation" in refused.output
    reset = await here.cli("feedback", "reset", "--library", "shop", "--yes")
    assert "Forgot the feedback on 4 recommendations" in reset.output
    assert not any("liked" in each.reason for each in await here.search("shop"))


async def test_feedback_goes_along_with_a_library(here: Installation, tmp_path: Path) -> None:
    file = tmp_path / "shop.zip"
    last = (await here.search("shop"))[-1].background.name
    for _ in range(3):
        await _choose(here, tmp_path, "--chosen", last)
    assert "feedback on 3 recommendations" in (await here.cli("export", file, "--library", "shop")).output

    async with installation(tmp_path / "there") as there, installation(tmp_path / "else", "another-eye") as other:
        done = await there.cli("import", file, "--library", "moved")
        assert "Recorded the feedback on 3 recommendations." in done.output
        before, after = await here.search("shop"), await there.search("moved")
        assert [each.background.name for each in before] == [each.background.name for each in after]
        assert [each.score for each in before] == pytest.approx([each.score for each in after], abs=1e-3)
        assert [each.background.name for each in after if "liked" in each.reason] == [last]
        other.peers.captioner.model = "another-eye"
        refused = await other.cli("import", file, "--library", "moved", "--recaption")
        assert refused.exit_code == 0
        assert "not used 3, the first since" in refused.output
        assert "another-eye" in refused.output


async def _rules(there: Installation, *arguments: str, library: str = "shop") -> str:
    done = await there.cli("rules", *arguments, "--library", library)
    assert done.exit_code == 0, done.output
    return done.output


async def test_rules_are_kept_by_the_command_line_and_every_recommendation_obeys(here: Installation) -> None:
    assert "There are no rules." in await _rules(here, "list")

    added = await _rules(here, "add", "season!=winter", "width>=100", "surfce!=wood")

    assert "1  season!=winter" in added
    assert "Note: No background of shop has 'surfce': look whether it is misspelt." in added
    assert {each.background.name for each in await here.search("shop")} == {"sand", "moss", "slate"}
    assert '"key": "season"' in await _rules(here, "list", "--json")
    left = await _rules(here, "remove", "3", "2")
    assert ("season!=winter" in left, "width" in left) == (True, False)
    await _rules(here, "add", "season!=summer")
    photo = here.folder / "photo.jpg"
    photo.write_bytes(b"photo")
    told = (await here.cli("recommend", photo, "--library", "shop")).output
    assert "The rules of libraries/shop leave none of its backgrounds: season!=winter; season!=summer." in told
    refused = await here.cli("rules", "remove", "3", "--library", "shop")
    assert (refused.exit_code, "There is no rule 3." in refused.output) == (1, True)
    await _rules(here, "clear")
    assert len(await here.search("shop")) == 4
    assert "holds no background yet" in await _rules(here, "add", "season!=winter", library="shpo")


async def test_rules_go_along_with_a_library_and_lift_none_there(here: Installation, tmp_path: Path) -> None:
    file = tmp_path / "shop.zip"
    await _rules(here, "add", "season!=winter", "aspect_ratio=0.5..2")
    assert "the library's 2 rules" in (await here.cli("export", file, "--library", "shop")).output

    async with installation(tmp_path / "there") as there:
        await _rules(there, "add", "keyword!=moss", "season!=winter", library="moved")
        done = await there.cli("import", file, "--library", "moved")
        assert "Added 1 rules: aspect_ratio=0.5..2." in done.output
        assert {each.background.name for each in await there.search("moved")} == {"sand", "slate"}
        again = await there.cli("import", file, "--library", "moved")
        assert "Added" not in again.output


async def test_another_image_text_model_is_told_and_recaption_mends_it(here: Installation, tmp_path: Path) -> None:
    file = tmp_path / "shop.zip"
    await here.cli("export", file, "--library", "shop")

    async with installation(tmp_path / "there", image_model="another-eye") as there:
        refused = await there.cli("import", file, "--library", "moved")
        assert refused.exit_code == 1
        assert "4 pictures: 4 failed." in refused.output
        assert "import the picture again without its record (backdrop import --recaption)" in refused.output
        there.peers.captioner.model = "another-eye"
        done = await there.cli("import", file, "--library", "moved", "--recaption")
        assert done.exit_code == 0, done.output
        assert "4 pictures: 4 new." in done.output
        assert {each.background.title for each in await there.search("moved")} == set(TITLES.values())


async def test_a_file_that_there_is_stays_unless_forced(here: Installation, tmp_path: Path) -> None:
    file = tmp_path / "shop.zip"
    file.write_bytes(b"mine")

    refused = await here.cli("export", file, "--library", "shop")
    assert refused.exit_code == 1
    assert "--force" in refused.output
    assert file.read_bytes() == b"mine"

    assert (await here.cli("export", file, "--library", "shop", "--force")).exit_code == 0
    assert file.stat().st_size > 1000


async def test_an_export_that_cannot_be_whole_says_so(here: Installation, tmp_path: Path) -> None:
    for path in (here.folder / "assets/libraries/shop/backgrounds/oak").iterdir():
        path.unlink()
    file = tmp_path / "shop.zip"

    done = await here.cli("export", file, "--library", "shop")

    assert done.exit_code == 1
    assert "Wrote 3 backgrounds" in done.output
    assert "failed oak: The picture of libraries/shop/backgrounds/oak is missing" in done.output


async def test_an_export_that_fails_leaves_no_file(here: Installation, tmp_path: Path) -> None:
    nothing = await here.cli("export", tmp_path / "none.zip", "--library", "nobodys")
    assert nothing.exit_code == 1
    assert "libraries/nobodys does not exist" in nothing.output

    await here.peers.stop("ranker")
    broken = await here.cli("export", tmp_path / "broken.zip", "--library", "shop")
    assert broken.exit_code == 1
    assert "RANKER_UNAVAILABLE" in broken.output
    assert [each.name for each in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["export", "no-such-folder/shop.zip"], "There is no folder"),
        (["import", "pictures", "--recaption"], "--recaption is for a file of backdrop export"),
        (["import", "shop.zip", "--no-manifest"], "are for a folder"),
        (["import", "shop.zip"], "is no zip file"),
    ],
)
def test_a_command_that_makes_no_sense_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], complaint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "shop.zip").write_bytes(b"no zip")

    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "300"})

    assert done.exit_code == 1
    assert complaint in done.output
