"""The gateway's promises, kept by the real gateway on a real server, before tiny peers that can be told to fail."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.ranker.v1 import ranker_pb2
from chassis.errors import (
    NotFound,
    ResourceExhausted,
    Unavailable,
    reason_of,
    retry_after_s_of,
    status_of,
    violations_of,
)
from tests.servers.gateway import running_gateway
from tests.servers.peers import Peers, Trouble

LIBRARY = "libraries/shop"
OAK = f"{LIBRARY}/backgrounds/oak"


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    running = Peers()
    await running.start()
    yield running
    await running.stop_all()


@pytest.fixture
async def stub(peers: Peers, tmp_path: Path) -> AsyncIterator[Any]:
    async with running_gateway(peers, tmp_path, candidate_count=3) as gateway:
        yield gateway.stub


def item(background_id: str, image: bytes = b"picture", **fields: Any) -> pb.ImportBackgroundsRequest:
    return pb.ImportBackgroundsRequest(name=f"{LIBRARY}/backgrounds/{background_id}", image=image, **fields)


async def import_(stub: Any, items: Iterable[pb.ImportBackgroundsRequest]) -> dict[str, pb.ImportBackgroundsResponse]:
    outcomes = [outcome async for outcome in stub.ImportBackgrounds(iter(list(items)))]
    return {outcome.name.rsplit("/", 1)[-1]: outcome for outcome in outcomes}


def recommend(stub: Any, timeout: float = 10, **fields: Any) -> Any:
    return stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=b"photo", **fields), timeout=timeout)


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_a_recommendation_tells_all_that_led_to_it(stub: Any) -> None:
    await import_(stub, [item("oak", title="An oak table", keywords=["oak", "kitchen"])])
    response = await recommend(stub)
    assert [(each.category, each.labels[0].name) for each in response.features] == [
        ("object_type", "mug"),
        ("color", "white"),
        ("mood", "calm"),
    ]
    assert [each.verdict for each in response.candidates] == [pb.VERDICT_USED] * 3
    [best] = response.recommendations
    assert best.background.name == OAK
    assert best.reason == "Close match for “scene 0”; both are calm; white before brown."
    assert {each.stage for each in response.stages} == {"features", "captions", "grounding", "embedding", "ranking"}
    models = response.models
    assert (models.image_text, models.language, models.sentence_embedding) == ("tiny-clip", "tiny-llm", "tiny-minilm")
    assert not response.degraded


async def test_what_the_photo_does_not_support_is_dropped(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.captioner.scores = {"caption 1": 0.1}
    response = await recommend(stub)
    verdicts = {each.caption: each.verdict for each in response.candidates}
    assert verdicts["caption 1"] == pb.VERDICT_DROPPED
    assert [text.text for text in peers.ranker.ranked[-1].texts] == ["scene 0", "scene 2"]


async def test_a_caption_that_claims_more_than_was_read_must_please_the_photo_more(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.generator.unsupported = {"caption 1": ["roses"], "caption 2": ["lace", "gold"]}
    peers.captioner.scores = {"caption 2": 0.9}
    response = await recommend(stub)
    by_caption = {each.caption: each for each in response.candidates}
    assert by_caption["caption 1"].verdict == pb.VERDICT_DROPPED
    assert list(by_caption["caption 1"].unsupported) == ["roses"]
    assert "claims “roses”, which no feature of the photo supports" in by_caption["caption 1"].reason
    assert by_caption["caption 2"].verdict == pb.VERDICT_USED
    assert [text.text for text in peers.ranker.ranked[-1].texts] == ["scene 2", "scene 0"]


async def test_all_that_signals_need_reaches_the_ranker(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak", title="An oak table", keywords=["kitchen"])])
    await recommend(stub, diversity=0.5, weights=[pb.SignalWeight(signal=pb.SIGNAL_COLOR, weight=0.25)])
    stored, asked = peers.ranker.stored[OAK], peers.ranker.ranked[-1]
    assert list(stored.image_embedding.values) == [0.0, 1.0]
    assert (stored.palette[0].hex, stored.width, stored.height) == ("#fafafa", 1200, 900)
    assert list(stored.free_space.values) == [1.0] * 64
    assert stored.words == "An oak table kitchen"
    assert [list(text.embedding.values) for text in asked.texts] == [[pytest.approx(0.6), pytest.approx(0.8)]] * 3
    assert list(asked.product.embedding.values) == [0.0, 1.0]
    assert (asked.product.aspect_ratio, asked.product.palette[0].hex) == (0.5, "#fafafa")
    assert asked.diversity == 0.5
    assert [(each.signal, each.weight) for each in asked.weights] == [(ranker_pb2.SIGNAL_COLOR, 0.25)]


async def test_a_recommendation_tells_its_parts_and_what_looks_the_same(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.ranker.duplicates = [f"{LIBRARY}/backgrounds/oak-2"]
    [best] = (await recommend(stub)).recommendations
    assert [(part.signal, part.weight) for part in best.signals] == [(pb.SIGNAL_TEXT, 1.0)]
    assert list(best.duplicates) == [f"{LIBRARY}/backgrounds/oak-2"]


async def test_scenes_that_cannot_be_compared_with_pictures_degrade_the_answer(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.captioner.embed_trouble.error = Unavailable("restarting")
    peers.ranker.unused = [ranker_pb2.UnusedSignal(signal=ranker_pb2.SIGNAL_IMAGE, reason="No embeddings.")]
    response = await recommend(stub)
    assert len(response.recommendations) == 1
    assert [each.stage for each in response.degraded] == ["signals"]
    assert not any(text.HasField("embedding") for text in peers.ranker.ranked[-1].texts)


async def test_a_signal_that_the_ranker_could_not_use_degrades_the_answer(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.ranker.unused = [ranker_pb2.UnusedSignal(signal=ranker_pb2.SIGNAL_COLOR, reason="No colours.")]
    [degraded] = (await recommend(stub)).degraded
    assert (degraded.stage, degraded.reason) == ("signals", "SIGNAL_UNUSED")
    assert "color" in degraded.message
    assert "No colours." in degraded.message


async def test_the_shops_own_attributes_can_be_filtered_by_and_come_back(stub: Any, peers: Peers) -> None:
    expires = Timestamp(seconds=1_900_000_000)
    season = pb.Attribute(key="season", values=["winter"])
    await import_(stub, [item("oak", attributes=[season], expire_time=expires)])
    stored = peers.ranker.stored[OAK]
    assert {each.key: list(each.values) for each in stored.attributes}["season"] == ["winter"]
    assert stored.expire_time == expires
    read = (await stub.GetBackground(pb.GetBackgroundRequest(name=OAK))).background
    assert (list(read.attributes), read.expire_time) == ([season], expires)
    again = await import_(stub, [item("oak", attributes=[season], expire_time=expires)])
    assert again["oak"].outcome == pb.OUTCOME_UNCHANGED
    later = await import_(stub, [item("oak", attributes=[season], expire_time=Timestamp(seconds=2_000_000_000))])
    assert later["oak"].outcome == pb.OUTCOME_UPDATED


@pytest.mark.parametrize("key", ["surface", "keyword", "width", "Season"])
async def test_an_attribute_that_means_something_else_is_refused(stub: Any, key: str) -> None:
    outcomes = await import_(stub, [item("oak", attributes=[pb.Attribute(key=key, values=["x"])]), item("pine")])
    assert "attributes" in outcomes["oak"].error.message
    assert outcomes["pine"].outcome == pb.OUTCOME_CREATED


async def test_filters_reach_the_ranker_as_they_were_sent(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    filters = [
        pb.Filter(key="surface", any_of=["wood"], exclude=True),
        pb.Filter(key="width", range=pb.Range(min=0)),
        pb.Filter(key="aspect_ratio", range=pb.Range(min=0.9, max=1.2), exclude=True),
    ]
    await recommend(stub, filters=filters)
    sent = [each.SerializeToString() for each in peers.ranker.ranked[-1].filters]
    assert sent == [each.SerializeToString() for each in filters]


async def test_captions_are_shown_in_the_callers_language_and_matched_in_english(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.generator.languages.add("de")
    english = await recommend(stub)
    asked = peers.ranker.ranked[-1]
    german = await recommend(stub, language="de")
    assert peers.ranker.ranked[-1] == asked
    assert german.recommendations == english.recommendations
    assert [each.translation.caption for each in german.candidates] == [f"caption {n} (de)" for n in range(3)]
    assert [each.translation.scene for each in german.candidates] == [f"scene {n} (de)" for n in range(3)]
    assert not any(each.HasField("translation") for each in english.candidates)
    assert not german.degraded


@pytest.mark.parametrize("down", [False, True], ids=["model knows it not", "generator down"])
async def test_a_language_that_nothing_was_written_in_is_said_to_be(stub: Any, peers: Peers, down: bool) -> None:
    await import_(stub, [item("oak")])
    if down:
        await peers.stop("generator")
    response = await recommend(stub, language="fi")
    assert ("language", "NOT_TRANSLATED") in {(each.stage, each.reason) for each in response.degraded}
    assert len(response.recommendations) == 1
    regional = await recommend(stub, language="en-GB")
    assert "language" not in {each.stage for each in regional.degraded}


async def test_when_nothing_written_is_supported_a_template_speaks(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.captioner.scores = {f"caption {number}": -0.5 for number in range(3)}
    response = await recommend(stub)
    assert [each.reason for each in response.degraded] == ["NONE_GROUNDED"]
    assert response.candidates[0].caption == "A white mug with a calm mood."
    assert len(response.recommendations) == 1


async def test_a_dead_generator_degrades_the_answer(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    await peers.stop("generator")
    response = await recommend(stub)
    [degraded] = response.degraded
    assert (degraded.stage, degraded.reason) == ("captions", "GENERATOR_UNAVAILABLE")
    assert len(response.recommendations) == 1


async def test_a_dead_generator_is_left_alone_after_some_failures(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    await peers.stop("generator")
    responses = [await recommend(stub) for _ in range(5)]
    reasons = [each.degraded[0].reason for each in responses]
    assert reasons[0] == "GENERATOR_UNAVAILABLE"
    assert reasons[-1] == "GENERATOR_CIRCUIT_OPEN"
    assert all(len(each.recommendations) == 1 for each in responses)


async def test_errors_of_the_generators_own_do_not_make_it_left_alone(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.generator.trouble.error = Unavailable("the language model does not answer")
    before = peers.generator.calls
    for _ in range(5):
        assert (await recommend(stub)).degraded[0].reason == "UNAVAILABLE"
    assert peers.generator.calls >= before + 5, "it was asked each time"


async def test_a_generator_without_its_language_model_says_so(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.generator.trouble.error = Unavailable("the language model does not answer")
    response = await recommend(stub)
    assert "the language model does not answer" in response.degraded[0].message


async def test_a_hung_generator_leaves_time_for_an_answer(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.generator.trouble.hangs = True
    response = await recommend(stub, timeout=2)
    assert response.degraded[0].reason == "GENERATOR_TIMEOUT"
    assert len(response.recommendations) == 1


async def test_captions_that_cannot_be_checked_are_used_and_said_to_be(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.captioner.score_trouble.error = Unavailable("busy")
    peers.generator.unsupported = {"caption 1": ["roses"]}
    response = await recommend(stub)
    assert [each.stage for each in response.degraded] == ["grounding"]
    dropped = {each.caption for each in response.candidates if each.verdict == pb.VERDICT_DROPPED}
    assert dropped == {"caption 1"}, "what claims more than was read is not used unchecked"


@pytest.mark.parametrize("unsure", [{"object_type"}, {"object_type", "color", "mood"}])
async def test_a_photo_of_an_unsure_thing_is_not_written_about(stub: Any, peers: Peers, unsure: set[str]) -> None:
    await import_(stub, [item("oak")])
    calls = peers.generator.calls
    peers.captioner.unsure = unsure
    response = await recommend(stub)
    assert [each.reason for each in response.degraded] == ["NO_SURE_FEATURES"]
    assert "product" in response.candidates[0].caption
    assert peers.generator.calls == calls


@pytest.mark.parametrize("name", ["captioner", "ranker"])
async def test_a_dead_peer_is_a_clear_error(stub: Any, peers: Peers, name: str) -> None:
    await import_(stub, [item("oak")])
    await peers.stop(name)
    status = status_of(await error_of(recommend(stub)))
    assert reason_of(status) == f"{name.upper()}_UNAVAILABLE"
    assert retry_after_s_of(status) == 1
    assert name in status.message


async def test_a_hung_captioner_ends_with_the_deadline(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.captioner.trouble.hangs = True
    error = await error_of(recommend(stub, timeout=1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    peers.captioner.trouble.hangs = False
    assert len((await recommend(stub)).recommendations) == 1


async def test_a_bad_photo_is_named_by_its_field(stub: Any) -> None:
    await import_(stub, [item("oak")])
    error = await error_of(stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=b"not a photo")))
    [violation] = violations_of(status_of(error))
    assert (violation.field, violation.description) == ("image", "is not an image; send a JPEG")


@pytest.mark.parametrize("limit", [0, 10_000])
async def test_a_limit_out_of_range_is_refused(stub: Any, limit: int) -> None:
    error = await error_of(recommend(stub, limit=limit))
    assert [each.field for each in violations_of(status_of(error))] == ["limit"]


async def test_an_unknown_library_is_told_before_any_work(stub: Any, peers: Peers) -> None:
    error = await error_of(recommend(stub))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert peers.generator.calls == 0


async def test_filters_reach_the_ranker(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    await recommend(stub, filters=[pb.Filter(key="mood", any_of=["calm"], exclude=True)])
    [sent] = peers.ranker.ranked[-1].filters
    assert (sent.key, list(sent.any_of), sent.exclude) == ("mood", ["calm"], True)


async def test_an_imported_background_can_be_read_back(stub: Any) -> None:
    outcomes = await import_(stub, [item("oak", title="An oak table", keywords=["oak", "kitchen"])])
    assert outcomes["oak"].outcome == pb.OUTCOME_CREATED
    background = (await stub.GetBackground(pb.GetBackgroundRequest(name=OAK))).background
    assert background.sha256 == outcomes["oak"].background.sha256
    assert (background.title, list(background.keywords)) == ("An oak table", ["oak", "kitchen"])
    assert [(each.text, each.source) for each in background.captions] == [
        ("An oak table", pb.CAPTION_SOURCE_GIVEN),
        ("oak, kitchen", pb.CAPTION_SOURCE_GIVEN),
        ("caption 0", pb.CAPTION_SOURCE_GENERATED),
    ]
    assert (background.width, background.height, background.size_bytes) == (1200, 900, 7)
    image = await stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=OAK))
    assert (image.image, image.content_type) == (b"picture", "image/jpeg")
    listed = (await stub.ListBackgrounds(pb.ListBackgroundsRequest(parent=LIBRARY))).backgrounds
    assert [each.name for each in listed] == [OAK]


async def test_all_that_is_said_of_a_background_is_searched_as_one_text(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak", title="An oak table", keywords=["oak", "kitchen"])])
    assert list(peers.ranker.stored[OAK].captions) == ["An oak table oak, kitchen caption 0"]


async def test_attributes_are_what_filters_can_use(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak", keywords=["kitchen"])])
    attributes = {each.key: list(each.values) for each in peers.ranker.stored[OAK].attributes}
    assert attributes["surface"] == ["oak table"]
    assert attributes["keyword"] == ["kitchen"]
    assert attributes["orientation"] == ["landscape"]


async def test_importing_again_skips_what_is_unchanged(stub: Any) -> None:
    await import_(stub, [item("oak"), item("sand"), item("moss")])
    again = await import_(
        stub, [item("oak"), item("sand", image=b"new picture"), item("moss", title="Moss"), item("slate")]
    )
    assert {name: outcome.outcome for name, outcome in again.items()} == {
        "oak": pb.OUTCOME_UNCHANGED,
        "sand": pb.OUTCOME_UPDATED,
        "moss": pb.OUTCOME_UPDATED,
        "slate": pb.OUTCOME_CREATED,
    }
    forced = await import_(stub, [item("oak", force=True)])
    assert forced["oak"].outcome == pb.OUTCOME_UPDATED


async def test_a_replaced_picture_is_the_one_that_is_served(stub: Any, tmp_path: Path) -> None:
    await import_(stub, [item("oak")])
    await import_(stub, [item("oak", image=b"new picture")])
    assert (await stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=OAK))).image == b"new picture"
    assert len([path for path in (tmp_path / "assets").rglob("*") if path.is_file()]) == 1


async def test_one_bad_item_fails_alone(stub: Any) -> None:
    outcomes = await import_(
        stub,
        [item("oak"), item("empty", image=b""), item("text", image=b"not a photo"), item("Bad Name"), item("sand")],
    )
    failed = {name: outcome.error for name, outcome in outcomes.items() if outcome.outcome == pb.OUTCOME_FAILED}
    assert set(failed) == {"empty", "text", "Bad Name"}
    assert {violations_of(error)[0].field for error in failed.values()} == {"image", "name"}
    assert outcomes["sand"].outcome == pb.OUTCOME_CREATED


async def test_an_import_without_the_generator_is_marked_degraded(stub: Any, peers: Peers) -> None:
    await peers.stop("generator")
    background = (await import_(stub, [item("oak")]))["oak"].background
    assert background.captions[0].source == pb.CAPTION_SOURCE_TEMPLATE
    assert background.captions[0].text == "An oak table in front of a plain background, brown tones, calm mood."
    assert [each.reason for each in background.degraded] == ["GENERATOR_UNAVAILABLE"]


async def test_a_ranker_that_dies_during_an_import_fails_the_items_not_the_stream(stub: Any, peers: Peers) -> None:
    outcomes = await import_(stub, [item("oak")])
    peers.ranker.trouble.error = NotFound("gone wrong")
    await peers.stop("ranker")
    outcomes = await import_(stub, [item("sand"), item("moss")])
    assert [reason_of(each.error) for each in outcomes.values()] == ["RANKER_UNAVAILABLE"] * 2


async def test_an_import_comes_again_while_the_captioner_is_overloaded(stub: Any, peers: Peers) -> None:
    peers.captioner.trouble.error = ResourceExhausted("64 requests are pending.", retry_after_s=0.05)
    peers.captioner.trouble.times = 3

    outcomes = await import_(stub, [item("oak"), item("sand")])

    assert [each.outcome for each in outcomes.values()] == [pb.OUTCOME_CREATED] * 2
    assert peers.captioner.trouble.times == 0


async def test_a_recommendation_passes_the_captioners_hint_on(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.captioner.trouble.error = ResourceExhausted("64 requests are pending.", retry_after_s=1.5)
    peers.captioner.trouble.error.reason = "QUEUE_FULL"

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await recommend(stub)

    status = status_of(caught.value)
    assert (caught.value.code(), reason_of(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUEUE_FULL")
    assert retry_after_s_of(status) == 1.5


async def test_outcomes_come_as_they_are_done(stub: Any, peers: Peers) -> None:
    """A stream whose sender waits for the first outcome before it sends the second item goes on."""
    call = stub.ImportBackgrounds()
    for background_id in ("oak", "sand"):
        await call.write(item(background_id))
        async with asyncio.timeout(5):
            assert (await call.read()).name.endswith(background_id)
    await call.done_writing()


async def export(stub: Any) -> dict[str, pb.ExportBackgroundsResponse]:
    call = stub.ExportBackgrounds(pb.ExportBackgroundsRequest(parent=LIBRARY))
    return {each.background.name.rsplit("/", 1)[-1]: each async for each in call}


def restored(exported: pb.ExportBackgroundsResponse, library: str = LIBRARY) -> pb.ImportBackgroundsRequest:
    """The request that imports what was exported."""
    background = exported.background
    return pb.ImportBackgroundsRequest(
        name=f"{library}/backgrounds/{background.name.rsplit('/', 1)[-1]}",
        image=exported.image,
        title=background.title,
        keywords=background.keywords,
        attributes=background.attributes,
        expire_time=background.expire_time if background.HasField("expire_time") else None,
        record=exported.record,
    )


async def test_an_exported_library_is_imported_as_it_was_without_reading_or_writing(stub: Any, peers: Peers) -> None:
    season = pb.Attribute(key="season", values=["winter"])
    expires = Timestamp(seconds=1_900_000_000)
    oak = item("oak", title="An oak table", keywords=["kitchen"], attributes=[season], expire_time=expires)
    await import_(stub, [oak, item("sand", image=b"another picture")])
    await peers.stop("generator")
    peers.captioner.trouble.error = Unavailable("not to be asked")

    exported = await export(stub)
    copied = await import_(stub, [restored(each, "libraries/copy") for each in exported.values()])

    assert [each.outcome for each in copied.values()] == [pb.OUTCOME_CREATED] * 2
    for background_id in ("oak", "sand"):
        here, there = (
            peers.ranker.stored[f"{each}/backgrounds/{background_id}"] for each in (LIBRARY, "libraries/copy")
        )
        assert there.name == f"libraries/copy/backgrounds/{background_id}"
        there.name = here.name
        assert here == there
    image = await stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name="libraries/copy/backgrounds/sand"))
    assert image.image == b"another picture"


async def test_importing_an_export_again_skips_what_is_as_it_was(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak"), item("sand"), item("moss")])
    backup = await export(stub)
    await peers.stop("generator")
    await import_(stub, [item("sand", force=True), item("moss", image=b"new picture")])

    again = await import_(stub, [restored(each) for each in backup.values()])

    assert {name: outcome.outcome for name, outcome in again.items()} == {
        "oak": pb.OUTCOME_UNCHANGED,
        "sand": pb.OUTCOME_UPDATED,
        "moss": pb.OUTCOME_UPDATED,
    }
    assert [each.text for each in again["sand"].background.captions] == ["caption 0"], "as in the backup"
    assert (await stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=f"{LIBRARY}/backgrounds/moss"))).image


async def test_what_the_shop_says_of_a_picture_stands_in_the_request_not_in_the_record(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak", title="An oak table")])
    request = restored((await export(stub))["oak"])
    request.title = "An oak desk"

    outcomes = await import_(stub, [request])

    assert outcomes["oak"].outcome == pb.OUTCOME_UPDATED
    assert list(peers.ranker.stored[OAK].captions) == ["An oak desk caption 0"]


def changed(record: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(record) | fields).encode()


BAD_RECORDS = {
    "no JSON": lambda record: b"PK\x03\x04",
    "no object": lambda record: b"[]",
    "cut off": lambda record: record[:-20],
    "another version": lambda record: changed(record, version=2),
    "another picture": lambda record: changed(record, sha256="0" * 64),
    "a page to run": lambda record: changed(record, content_type="text/html"),
    "no size": lambda record: changed(record, width=0),
    "a huge size": lambda record: changed(record, width=10**30),
    "a name": lambda record: changed(record, name="libraries/other/backgrounds/oak"),
    "no text": lambda record: changed(record, captions=[{"text": 5, "source": "generated"}]),
    "no Unicode": lambda record: changed(record, captions=[{"text": "\ud800", "source": "generated"}]),
    "deep": lambda record: b'{"features":' * 9000,
    "empty": lambda record: b"",
    "too large": lambda record: record + b" " * 262_144,
}


@pytest.mark.parametrize("bad", BAD_RECORDS.values(), ids=BAD_RECORDS)
async def test_a_bad_record_is_refused_with_the_remedy(stub: Any, bad: Callable[[bytes], bytes]) -> None:
    await import_(stub, [item("oak")])
    request = restored((await export(stub))["oak"], "libraries/copy")
    good = restored((await export(stub))["oak"], "libraries/good")
    request.record = bad(request.record)

    outcomes = [each async for each in stub.ImportBackgrounds(iter([request, good]))]

    by_library = {each.name.split("/")[1]: each for each in outcomes}
    assert by_library["good"].outcome == pb.OUTCOME_CREATED
    [violation] = violations_of(by_library["copy"].error)
    assert violation.field == "record"
    assert "import the picture again without its record" in violation.description or "or none" in violation.description


async def test_a_record_of_another_image_text_model_says_what_to_do(stub: Any, peers: Peers, tmp_path: Path) -> None:
    await import_(stub, [item("oak")])
    request = restored((await export(stub))["oak"], "libraries/copy")
    peers.ranker.image_model = "another-eye"

    [outcome] = (await import_(stub, [request])).values()

    [violation] = violations_of(outcome.error)
    assert violation.field == "record"
    assert "backdrop import --recaption" in violation.description
    assert "this ranker is not of tiny-clip" in violation.description
    assert not [path for path in (tmp_path / "assets" / "libraries" / "copy").rglob("*") if path.is_file()]


async def test_a_full_store_is_told_as_such(stub: Any, peers: Peers) -> None:
    peers.ranker.refusal = ResourceExhausted("The disk is full.", retry_after_s=7)
    peers.ranker.refusal.reason = "STORE_FULL"

    [outcome] = (await import_(stub, [item("oak")])).values()

    assert outcome.outcome == pb.OUTCOME_FAILED
    assert outcome.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert (reason_of(outcome.error), retry_after_s_of(outcome.error)) == ("STORE_FULL", 7)


async def test_captioner_and_ranker_of_different_models_are_no_fault_of_the_request(
    stub: Any, peers: Peers, tmp_path: Path
) -> None:
    peers.ranker.image_model = "another-eye"

    [outcome] = (await import_(stub, [item("oak")])).values()

    assert reason_of(outcome.error) == "FAILED_PRECONDITION"
    assert "this ranker is not of tiny-clip" in outcome.error.message
    assert not violations_of(outcome.error)
    assert not [path for path in (tmp_path / "assets").rglob("*") if path.is_file()]


async def test_a_refused_record_leaves_the_picture_that_there_is(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    request = restored((await export(stub))["oak"])
    request.force = True
    peers.ranker.image_model = "another-eye"

    [outcome] = (await import_(stub, [request])).values()

    assert outcome.outcome == pb.OUTCOME_FAILED
    assert (await stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=OAK))).image == b"picture"


async def test_an_export_goes_on_where_a_picture_is_lost(stub: Any, tmp_path: Path) -> None:
    await import_(stub, [item("oak"), item("sand"), item("moss")])
    for path in (tmp_path / "assets" / OAK).iterdir():
        path.unlink()

    exported = await export(stub)

    assert reason_of(exported["oak"].error) == "PICTURE_NOT_FOUND"
    assert not exported["oak"].record
    assert [exported[each].image for each in ("sand", "moss")] == [b"picture"] * 2


async def test_an_export_of_nothing_is_told(stub: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(stub)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_deleted_background_and_its_picture_are_gone(stub: Any, tmp_path: Path) -> None:
    await import_(stub, [item("oak")])
    await stub.DeleteBackground(pb.DeleteBackgroundRequest(name=OAK))
    for call in (
        stub.GetBackground(pb.GetBackgroundRequest(name=OAK)),
        stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=OAK)),
        stub.DeleteBackground(pb.DeleteBackgroundRequest(name=OAK)),
    ):
        assert (await error_of(call)).code() is grpc.StatusCode.NOT_FOUND
    assert not [path for path in (tmp_path / "assets").rglob("*") if path.is_file()]


async def test_a_picture_that_was_lost_says_how_to_mend_it(stub: Any, tmp_path: Path) -> None:
    await import_(stub, [item("oak")])
    for path in (tmp_path / "assets").rglob("*"):
        if path.is_file():
            path.unlink()
    error = await error_of(stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=OAK)))
    assert reason_of(status_of(error)) == "PICTURE_NOT_FOUND"
    assert "import it again" in (error.details() or "")


async def test_the_same_again_is_answered_from_memory_until_the_library_changes(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak"), item("sand")])
    peers.ranker.etag = "1"
    reads = peers.captioner.reads
    first = await recommend(stub)
    again = await recommend(stub)
    assert [each.stage for each in again.stages] == ["remembered"]
    del first.stages[:], again.stages[:]
    assert again == first
    assert (peers.captioner.reads, peers.generator.calls) == (reads + 1, 3)

    other = await recommend(stub, limit=1)
    assert len(other.recommendations) == 1
    peers.ranker.etag = "2"
    del peers.ranker.stored[OAK]
    changed = await recommend(stub)
    assert [each.background.name for each in changed.recommendations] == [f"{LIBRARY}/backgrounds/sand"]
    # The photo is the same, so it was read once only.
    assert peers.captioner.reads == reads + 1


async def test_an_answer_says_which_rules_were_applied_and_why_it_is_empty(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.ranker.etag = "1"
    never_wood = pb.Filter(key="surface", any_of=["wood"], exclude=True)
    wide = pb.Filter(key="width", range=pb.Range(min=100), exclude=True)
    await stub.UpdateLibrary(pb.UpdateLibraryRequest(name=LIBRARY, rules=[never_wood, wide]))
    peers.ranker.empty_reason = "The rules leave nothing."

    first, remembered = await recommend(stub), await recommend(stub)

    assert [each.stage for each in remembered.stages] == ["remembered"]
    for answer in (first, remembered):
        assert list(answer.applied_rules) == [never_wood, wide]
        assert (len(answer.recommendations), answer.empty_reason) == (0, "The rules leave nothing.")


async def test_a_degraded_answer_is_not_kept(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.ranker.etag = "1"
    peers.generator.trouble.error = Unavailable("The language model is away.")
    assert (await recommend(stub)).degraded
    peers.generator.trouble.error = None
    assert not (await recommend(stub)).degraded


async def test_a_background_whose_licence_has_ended_is_not_recommended_from_memory(stub: Any, peers: Peers) -> None:
    end = Timestamp()
    end.FromDatetime(datetime.now(UTC) + timedelta(seconds=1))
    await import_(stub, [item("oak", expire_time=end), item("sand")])
    peers.ranker.etag = "1"
    assert len((await recommend(stub)).recommendations) == 2
    del peers.ranker.stored[OAK]
    await asyncio.sleep(1.1)
    assert len((await recommend(stub)).recommendations) == 1


async def test_where_the_library_s_state_cannot_be_told_only_readings_are_kept(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    reads = peers.captioner.reads
    await recommend(stub)
    again = await recommend(stub)
    assert "ranking" in {each.stage for each in again.stages}
    assert peers.captioner.reads == reads + 1


async def previews_of(stub: Any, **options: Any) -> pb.RecommendResponse:
    response: pb.RecommendResponse = await recommend(stub, preview=pb.PreviewOptions(**options))
    return response


async def test_the_product_is_shown_in_each_background_in_their_order(stub: Any) -> None:
    await import_(stub, [item(name, image=name.encode()) for name in ("oak", "beach", "sand")])
    response = await previews_of(stub)
    assert [each.background for each in response.previews] == [
        each.background.name for each in response.recommendations
    ]
    assert [each.image for each in response.previews] == [b"photo in beach", b"photo in oak", b"photo in sand"]
    first = response.previews[0]
    assert (first.content_type, first.width, first.product.height) == ("image/jpeg", 1024, 4)
    assert (first.cut_out.rough, first.cut_out.reason) == (True, "It is blurred.")
    assert "previews" in {each.stage for each in response.stages}
    assert not response.degraded


async def test_no_previews_are_rendered_that_nobody_asked_for(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak"), item("beach", image=b"beach")])
    assert not (await recommend(stub)).previews
    assert peers.compositor.calls == 0
    assert len((await previews_of(stub, count=1)).previews) == 1


async def test_a_stream_tells_each_preview_and_then_how_it_went(stub: Any) -> None:
    await import_(stub, [item("oak"), item("beach", image=b"beach")])
    request = pb.RecommendRequest(parent=LIBRARY, image=b"photo", preview=pb.PreviewOptions())
    steps = [each async for each in stub.RecommendStream(pb.RecommendStreamRequest(request=request))]
    assert [each.stage for each in steps] == ["features", "captions", "ranking", "previews", "previews", "previews"]
    assert [len(each.response.previews) for each in steps[3:]] == [1, 1, 0]
    assert [each.stage for each in steps[-1].response.stages] == ["previews"]


@pytest.mark.parametrize("down", [True, False])
async def test_previews_that_fail_do_not_fail_the_answer(stub: Any, peers: Peers, down: bool) -> None:
    await import_(stub, [item("oak"), item("beach", image=b"beach")])
    if down:
        await peers.stop("compositor")
    else:
        peers.compositor.trouble.error = ResourceExhausted("The compositor is busy.")
    response = await previews_of(stub)
    assert len(response.recommendations) == 2
    assert not response.previews
    [degraded] = response.degraded
    assert (degraded.stage, degraded.reason) == (
        "previews",
        "COMPOSITOR_UNAVAILABLE" if down else "RESOURCE_EXHAUSTED",
    )


async def test_one_preview_that_fails_leaves_the_others(stub: Any, peers: Peers) -> None:
    await import_(stub, [item(name, image=name.encode()) for name in ("oak", "beach", "sand")])
    peers.compositor.troubles[b"oak"] = trouble = Trouble()
    trouble.error = Unavailable("A lamp is broken.")
    response = await previews_of(stub)
    assert [each.background.rsplit("/", 1)[1] for each in response.previews] == ["beach", "sand"]
    assert "A lamp is broken." in response.degraded[0].message


async def test_a_hung_compositor_leaves_the_answer(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    peers.compositor.trouble.hangs = True
    response = await recommend(stub, timeout=2, preview=pb.PreviewOptions())
    assert len(response.recommendations) == 1
    assert [each.reason for each in response.degraded] == ["COMPOSITOR_TIMEOUT"]


async def test_previews_are_remembered_until_the_picture_or_their_form_is_another(stub: Any, peers: Peers) -> None:
    await import_(stub, [item("oak")])
    await previews_of(stub)
    await previews_of(stub)
    assert peers.compositor.calls == 1
    await previews_of(stub, size=512)
    assert peers.compositor.calls == 2
    await import_(stub, [item("oak", image=b"another")])
    assert [each.image for each in (await previews_of(stub)).previews] == [b"photo in another"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"count": 13}, "preview.count"),
        ({"size": 100}, "preview.size"),
        ({"preset": pb.PRESET_MARKETPLACE}, "preview.preset"),
        ({"format": pb.FORMAT_PNG}, "preview.format"),
    ],
)
async def test_a_bad_wish_for_previews_is_named(stub: Any, options: dict[str, Any], field: str) -> None:
    error = await error_of(recommend(stub, preview=pb.PreviewOptions(**options)))
    assert [each.field for each in violations_of(status_of(error))] == [field]


def render_preview(stub: Any, **fields: Any) -> Any:
    return stub.RenderPreview(pb.RenderPreviewRequest(parent=LIBRARY, image=b"photo", **fields), timeout=5)


async def test_one_preview_is_rendered_as_it_is_asked_for(stub: Any) -> None:
    await import_(stub, [item("oak", image=b"oak")])
    preview = (await render_preview(stub, background="oak", size=2048, format=pb.FORMAT_WEBP)).preview
    assert (preview.background, preview.image, preview.content_type) == (OAK, b"photo in oak", "image/webp")
    assert preview.width == 2048
    on_white = (await render_preview(stub, preset=pb.PRESET_MARKETPLACE)).preview
    assert (on_white.background, on_white.image) == ("", b"photo in ")


async def test_a_preview_that_cannot_be_is_a_clear_error(stub: Any, peers: Peers, tmp_path: Path) -> None:
    await import_(stub, [item("oak", image=b"oak")])
    missing = await error_of(render_preview(stub))
    assert "name a background" in missing.details()
    unknown = await error_of(render_preview(stub, background="elm"))
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
    await peers.stop("compositor")
    down = await error_of(render_preview(stub, background="oak"))
    assert reason_of(status_of(down)) == "COMPOSITOR_UNAVAILABLE"
