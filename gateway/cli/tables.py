"""Answers as tables that a person likes to read."""

from collections.abc import Iterable

from google.protobuf import json_format
from rich.table import Table
from rich.text import Text

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli.client import filter_text
from gateway.cli.console import stdout


def print_recommendation(photo: str, response: pb.RecommendResponse) -> None:
    """Features, captions with verdicts, backgrounds with reasons, and what was degraded."""
    stdout.print(Text(photo, style="bold"))
    stdout.print(_features(response.features))
    stdout.print(_candidates(response.candidates))
    stdout.print(_recommendations(response.recommendations))
    if response.empty_reason:
        stdout.print(Text(response.empty_reason, style="yellow"))
    for each in response.degraded:
        stdout.print(Text.assemble(("degraded ", "yellow"), f"{each.stage}: {each.message} ({each.reason})"))
    timings = ", ".join(f"{each.stage} {each.duration.ToMilliseconds()} ms" for each in response.stages)
    stdout.print(Text(timings, style="dim"))


def print_backgrounds(backgrounds: Iterable[pb.Background], *, json: bool) -> None:
    """A row for each background, or a line of JSON."""
    if json:
        for each in backgrounds:
            print(json_format.MessageToJson(each, indent=None))
        return
    table = Table("id", "size", "caption", box=None, pad_edge=False)
    for each in backgrounds:
        caption = each.captions[0].text if each.captions else ""
        table.add_row(_id(each), f"{each.width}x{each.height}", Text(caption))
    stdout.print(table)


def print_feedback(feedback: Iterable[pb.Feedback], *, json: bool) -> None:
    """A row for each recommendation, or a line of JSON."""
    if json:
        for each in feedback:
            print(json_format.MessageToJson(each, indent=None))
        return
    table = Table("said", "chosen", "rejected", "of", box=None, pad_edge=False)
    for each in feedback:
        table.add_row(each.update_time.ToJsonString(), *map(_ids, (each.chosen, each.rejected, each.shown)))
    stdout.print(table)


def print_rules(rules: Iterable[pb.Filter], *, json: bool) -> None:
    """A row for each rule with its number, or a line of JSON."""
    if json:
        for each in rules:
            print(json_format.MessageToJson(each, indent=None))
        return
    table = Table("", "rule", box=None, pad_edge=False)
    for number, each in enumerate(rules, start=1):
        table.add_row(str(number), Text(filter_text(each)))
    stdout.print(table if table.rows else Text("There are no rules."))


def print_background(background: pb.Background) -> None:
    """All that is known of one background."""
    table = _facts()
    table.add_row("id", Text(_id(background)))
    table.add_row("title", Text(background.title))
    table.add_row("keywords", Text(", ".join(background.keywords)))
    for caption in background.captions:
        source = pb.CaptionSource.Name(caption.source).removeprefix("CAPTION_SOURCE_").lower()
        table.add_row(f"caption, {source}", Text(caption.text))
    for feature in background.features:
        table.add_row(feature.category, _labels(feature))
    for attribute in background.attributes:
        table.add_row(attribute.key, Text(", ".join(attribute.values)))
    if background.HasField("expire_time"):
        table.add_row("shown until", background.expire_time.ToJsonString())
    table.add_row("picture", f"{background.width}x{background.height}, {background.size_bytes:,} bytes")
    table.add_row("stored", background.update_time.ToJsonString())
    for each in background.degraded:
        table.add_row("degraded", Text(f"{each.stage}: {each.message} ({each.reason})", style="yellow"))
    stdout.print(table)


def _ids(names: Iterable[str]) -> Text:
    return Text(", ".join(name.rsplit("/", 1)[1] for name in names))


def _facts() -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    return table


def _features(features: Iterable[pb.Feature]) -> Table:
    table = _facts()
    for feature in features:
        table.add_row(feature.category, _labels(feature))
    return table


def _labels(feature: pb.Feature) -> Text:
    if not feature.labels:
        return Text("unsure", style="dim")
    return Text(", ".join(f"{label.name} {label.confidence:.0%}" for label in feature.labels))


def _candidates(candidates: Iterable[pb.Candidate]) -> Table:
    table = Table("caption", "scene", "score", "", title="Captions", title_justify="left", title_style="bold")
    for each in candidates:
        used = each.verdict == pb.VERDICT_USED
        verdict = Text("used", style="green") if used else Text("dropped", style="red")
        table.add_row(_caption(each), _scene(each), f"{each.score:.2f}", verdict)
    return table


def _caption(candidate: pb.Candidate) -> Text:
    """In the language asked for, with what the photo's features do not support."""
    text = Text(candidate.translation.caption or candidate.caption)
    if candidate.unsupported:
        text.append(f" (not seen: {', '.join(candidate.unsupported)})", style="red")
    return text


def _scene(candidate: pb.Candidate) -> Text:
    return Text(candidate.translation.scene or candidate.scene)


def _recommendations(recommendations: Iterable[pb.Recommendation]) -> Table:
    columns = ("", "background", "score", "of which", "reason")
    table = Table(*columns, title="Backgrounds", title_justify="left", title_style="bold")
    for rank, each in enumerate(recommendations, start=1):
        reason = Text(each.reason)
        if each.duplicates:
            reason.append(f" Looks the same: {', '.join(map(background_id, each.duplicates))}.", style="dim")
        table.add_row(str(rank), _id(each.background), f"{each.score:.2f}", _parts(each.signals), reason)
    return table


def signal_name(part: pb.SignalPart) -> str:
    """What a signal is called here."""
    return pb.Signal.Name(part.signal).removeprefix("SIGNAL_").lower()


def _parts(parts: Iterable[pb.SignalPart]) -> Text:
    """What each signal contributed, the most first; what rounds to nothing is left out."""
    shown = ((signal_name(each), each.similarity * each.weight) for each in parts)
    return Text("\n".join(f"{name} {value:.2f}" for name, value in shown if abs(value) >= 0.005), style="dim")


def _id(background: pb.Background) -> str:
    return background_id(background.name)


def background_id(name: str) -> str:
    """The last part of a background's name."""
    return name.rsplit("/", 1)[1]
