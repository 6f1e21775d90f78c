"""Commands, options and help of `backdrop`."""

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf import json_format

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.cli import (
    contact_sheet,
    exporting,
    giving_feedback,
    importing,
    keeping_rules,
    making_keys,
    previewing,
    stack,
    tables,
)
from gateway.cli.client import (
    all_backgrounds,
    all_feedback,
    connect,
    explained_errors,
    parse_filter,
    parse_weight,
    read_image,
)
from gateway.cli.console import fail, out
from gateway.domain import Preset

app = typer.Typer(
    name="backdrop",
    help="Recommends backgrounds for product photos from a shop's own library.",
    epilog="First steps: backdrop up; backdrop import PICTURES/; backdrop recommend PHOTO.jpg; backdrop down",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
backgrounds = typer.Typer(help="Look at the backgrounds of a library, or delete one.", no_args_is_help=True)
app.add_typer(backgrounds, name="backgrounds")
feedback = typer.Typer(help="Say what was chosen or rejected: the library learns.", no_args_is_help=True)
app.add_typer(feedback, name="feedback")
rules = typer.Typer(help="Say once what every recommendation of a library obeys.", no_args_is_help=True)
app.add_typer(rules, name="rules")
keys = typer.Typer(help="Make, list or revoke API keys of the gateway.", no_args_is_help=True)
app.add_typer(keys, name="keys")

Target = Annotated[
    str, typer.Option(envvar="BACKDROP_TARGET", help="Where the gateway listens, HOST:PORT.", show_default=True)
]
Library = Annotated[str, typer.Option("--library", "-l", help="The library's id: a-z, 0-9 and dashes.")]
Data = Annotated[Path, typer.Option(help="Folder for libraries, logs and caches.", envvar="BACKDROP_DATA")]
DEFAULT_TARGET = "127.0.0.1:50050"
DEFAULT_LIBRARY = "default"
DEFAULT_DATA = Path(".backdrop")


@app.command()
def up(
    data: Data = DEFAULT_DATA,
    port: Annotated[int, typer.Option(help="The gateway's gRPC port; all else takes the next six.")] = 50050,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until all servers are healthy.")] = 180,
) -> None:
    """Start all servers on this machine, with the embedded models and stores.

    Waits until they are healthy and says where each listens. They go on in the background, and one that dies is
    started again, until `backdrop down`. With BACKDROP_GENERATOR_LLM_URL set, that language model is used and none is
    started here.
    """
    stack.up(data, port, timeout)


@app.command()
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop the servers that `up` started. Calls in flight finish; libraries stay."""
    stack.down(data)


@app.command(name="import")
def import_(
    source: Annotated[
        Path, typer.Argument(help="Folder of pictures, or a file that `backdrop export` wrote.", exists=True)
    ],
    library: Library = DEFAULT_LIBRARY,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="CSV or JSON lines with file, title, keywords, expire_time, and attributes of your own to filter by."
            " [default: manifest.jsonl or .csv in the folder]",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    no_manifest: Annotated[bool, typer.Option("--no-manifest", help="Use no titles and keywords.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Import unchanged pictures as well.")] = False,
    recaption: Annotated[
        bool,
        typer.Option(
            "--recaption",
            help="Of a file: read its pictures and write captions anew, as another image-text model here demands.",
        ),
    ] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Import pictures as backgrounds: those of a folder, or a library that was exported to a file.

    The id of a background is its file's name. Unchanged ones are skipped, so an import that was stopped (Ctrl-C, a
    dead server) goes on where it was when it is run again. Failures are listed at the end, a line each.

    A file of `backdrop export` holds features and captions as well, so nothing is read or written anew. Where this
    installation has another image-text model than the one that read its pictures, the import says so: use --recaption.
    """
    if source.is_dir() and recaption:
        fail("--recaption is for a file of backdrop export: the pictures of a folder are always read.")
    if source.is_file() and (manifest or no_manifest):
        fail("--manifest and --no-manifest are for a folder: a file of backdrop export has its own.")
    with explained_errors(target), connect(target) as stub:
        if source.is_dir():
            importing.import_folder(stub, source, library, manifest, use_manifest=not no_manifest, force=force)
        else:
            importing.import_file(stub, source, library, recaption=recaption, force=force)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The zip file to write, such as shop.zip.", dir_okay=False)],
    library: Library = DEFAULT_LIBRARY,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Write a library to one file: a backup, or the way to another installation.

    It holds the pictures, your titles, keywords, attributes and licences' ends, what was read and written at import,
    the rules and the feedback, so that `backdrop import FILE` needs no captions written again. Unzipped, it is a folder
    of pictures with a manifest. The file appears when it is whole; Ctrl-C leaves nothing behind.
    """
    with explained_errors(target), connect(target) as stub:
        exporting.run(stub, file, library, force=force)


@app.command()
def recommend(
    photo: Annotated[Path, typer.Argument(help="The product photo.", exists=True, dir_okay=False)],
    library: Library = DEFAULT_LIBRARY,
    limit: Annotated[int, typer.Option("--limit", "-k", help="How many backgrounds, 1 to 100.")] = 5,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Only backgrounds with KEY=VALUE, such as mood=calm or season=winter; KEY!=VALUE leaves them out;"
            " width>=1200, aspect_ratio=0.9..1.2 for numbers. Repeatable, all must hold."
        ),
    ] = None,
    diversity: Annotated[
        float, typer.Option(help="0 for the best first, up to 1 for backgrounds as unlike each other as they can be.")
    ] = 0.0,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            help="How much a signal counts, such as color=0.2 or keywords=0: text, image, photo, color, space,"
            " keywords, feedback. Repeatable."
        ),
    ] = None,
    language: Annotated[str, typer.Option(help="Language to show captions and scenes in, such as en or de.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print the response as canonical proto JSON.")] = False,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a picture: the product in its backgrounds.", dir_okay=False)
    ] = None,
    previews: Annotated[
        Path | None, typer.Option(help="Also write a preview for each background to this folder.", file_okay=False)
    ] = None,
    preset: Annotated[previewing.ScenePreset, typer.Option(help="The shape of the previews.")] = (
        previewing.ScenePreset.SQUARE
    ),
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Recommend backgrounds for a product photo, each with its reason.

    Keep the answer with --json > answer.json, and tell it later which one was chosen: backdrop feedback record.
    """
    with explained_errors(target), connect(target) as stub:
        image = read_image(photo)
        request = pb.RecommendRequest(
            parent=f"libraries/{library}",
            image=image,
            limit=limit,
            language=language,
            filters=[parse_filter(each) for each in where or []],
            diversity=diversity,
            weights=[parse_weight(each) for each in weight or []],
            preview=previewing.options(preset) if sheet or previews else None,
        )
        response = stub.Recommend(request, timeout=timeout)
        if json:
            print(json_format.MessageToJson(response))
        else:
            tables.print_recommendation(photo.name, response)
        if previews:
            for path in previewing.write_all(response.previews, previews):
                out(f"Wrote {path}", quiet=json)
        if sheet:
            contact_sheet.write(stub, image, photo.name, response, sheet)
            out(f"Wrote {sheet}", quiet=json)


@app.command()
def preview(
    photo: Annotated[Path, typer.Argument(help="The product photo.", exists=True, dir_okay=False)],
    background: Annotated[str, typer.Argument(help="The background's id; none for --preset marketplace.")] = "",
    library: Library = DEFAULT_LIBRARY,
    preset: Annotated[
        Preset,
        typer.Option(help="Its shape: 1:1, 4:5, 16:9, or 1:1 on pure white as marketplaces want it."),
    ] = Preset.SQUARE,
    size: Annotated[int, typer.Option(help="The longer side in pixels, 256 to 2048.")] = 1024,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: .jpg, .webp or .png.", dir_okay=False)
    ] = Path("preview.jpg"),
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.")] = 30,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show a product in one background of a library. The product's own pixels are scaled, never altered."""
    with explained_errors(target), connect(target) as stub:
        request = previewing.request(read_image(photo), library, background, preset, size, output)
        previewing.write_one(stub.RenderPreview(request, timeout=timeout).preview, output)


@app.command(name="eval")
def eval_(
    labels: Annotated[
        Path,
        typer.Argument(
            help='JSON lines such as {"product": "mug.jpg", "grades": {"oak-table": 3, "beach": 0}}.',
            exists=True,
            dir_okay=False,
        ),
    ],
    library: Library = DEFAULT_LIBRARY,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of the product photos. [default: that of LABELS]", file_okay=False)
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Write the figures to this file.", dir_okay=False)] = None,
    compare: Annotated[
        Path | None, typer.Option(help="Figures that an earlier run saved.", exists=True, dir_okay=False)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the figures to this PNG.", dir_okay=False)] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Measure how well a library is ranked, by grades of your own, and learn the signals' weights from them.

    Grade some backgrounds for some products: 0 for unfit, 3 for perfect. Shown are nDCG@10, recall@5, MRR, how much the
    answers to different products differ (coverage@5), and the latency; then what each signal adds, with weights that
    were learned on the other products (leave one out); and the weights that all of your grades teach.
    """
    # What it needs takes a second to import, and no other command needs it.
    from gateway.cli import evaluating

    with explained_errors(target), connect(target) as stub:
        evaluating.run(stub, labels, photos, library, save_to=save, compare_with=compare, plot_to=plot)


@backgrounds.command(name="list")
def list_(
    library: Library = DEFAULT_LIBRARY,
    json: Annotated[bool, typer.Option("--json", help="Print one canonical proto JSON object a line.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List the backgrounds of a library."""
    with explained_errors(target), connect(target) as stub:
        tables.print_backgrounds(all_backgrounds(stub, library), json=json)


@backgrounds.command()
def show(
    background: Annotated[str, typer.Argument(help="The background's id.")],
    library: Library = DEFAULT_LIBRARY,
    save: Annotated[Path | None, typer.Option(help="Also write the picture to this file.", dir_okay=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print canonical proto JSON.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Show what is known of a background."""
    name = f"libraries/{library}/backgrounds/{background}"
    with explained_errors(target), connect(target) as stub:
        found = stub.GetBackground(pb.GetBackgroundRequest(name=name)).background
        if json:
            print(json_format.MessageToJson(found))
        else:
            tables.print_background(found)
        if save:
            save.write_bytes(stub.GetBackgroundImage(pb.GetBackgroundImageRequest(name=name)).image)
            out(f"Wrote {save}", quiet=json)


@backgrounds.command()
def delete(
    background: Annotated[list[str], typer.Argument(help="The ids of the backgrounds.")],
    library: Library = DEFAULT_LIBRARY,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Delete backgrounds and their pictures."""
    with explained_errors(target), connect(target) as stub:
        for each in background:
            stub.DeleteBackground(pb.DeleteBackgroundRequest(name=f"libraries/{library}/backgrounds/{each}"))
            out(f"Deleted {each}")


@feedback.command()
def record(
    answer: Annotated[
        Path,
        typer.Argument(
            help="What `backdrop recommend --json` printed; - reads it from the pipe.",
            exists=True,
            dir_okay=False,
            allow_dash=True,
        ),
    ],
    chosen: Annotated[list[str] | None, typer.Option(help="Id of a background that was chosen. Repeatable.")] = None,
    rejected: Annotated[
        list[str] | None, typer.Option(help="Id of a background that was rejected. Repeatable.")
    ] = None,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Say which of the recommended backgrounds were chosen, and which rejected.

    Similar products are ranked by it from then on, in this library only. Saying it again for the same answer replaces
    what was said; with neither --chosen nor --rejected it is taken back.
    """
    with explained_errors(target), connect(target) as stub:
        giving_feedback.record(stub, answer, chosen or [], rejected or [])


@feedback.command(name="list")
def list_feedback(
    library: Library = DEFAULT_LIBRARY,
    json: Annotated[bool, typer.Option("--json", help="Print one canonical proto JSON object a line.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List what was said of a library's recommendations."""
    with explained_errors(target), connect(target) as stub:
        tables.print_feedback(all_feedback(stub, library), json=json)


@feedback.command()
def reset(
    library: Library = DEFAULT_LIBRARY,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Forget all that was said of a library's recommendations. `backdrop export` writes it down before."""
    if not yes:
        typer.confirm(f"Forget all feedback of library {library}?", abort=True)
    with explained_errors(target), connect(target) as stub:
        count = stub.ResetFeedback(pb.ResetFeedbackRequest(parent=f"libraries/{library}")).count
        out(f"Forgot the feedback on {count} recommendations")


@rules.command(name="list")
def list_rules(
    library: Library = DEFAULT_LIBRARY,
    json: Annotated[bool, typer.Option("--json", help="Print one canonical proto JSON object a line.")] = False,
    target: Target = DEFAULT_TARGET,
) -> None:
    """List the rules of a library, each with its number."""
    with explained_errors(target), connect(target) as stub:
        tables.print_rules(keeping_rules.read(stub, library) or [], json=json)


@rules.command(name="add")
def add_rules(
    rule: Annotated[
        list[str],
        typer.Argument(
            help="KEY!=VALUE for never, such as surface!=wood; KEY=VALUE for only, such as mood=calm,fresh;"
            " width>=1200, aspect_ratio=0.9..1.2 for numbers."
        ),
    ],
    library: Library = DEFAULT_LIBRARY,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Add rules: every recommendation of the library obeys them from now on, whoever asks.

    Quote a rule: shells have plans of their own for ! and >. Backgrounds that break it stay in the library.
    """
    with explained_errors(target), connect(target) as stub:
        keeping_rules.add(stub, library, [parse_filter(each, "rule") for each in rule])


@rules.command(name="remove")
def remove_rules(
    number: Annotated[list[int], typer.Argument(help="Numbers of rules, as `backdrop rules list` shows them.")],
    library: Library = DEFAULT_LIBRARY,
    target: Target = DEFAULT_TARGET,
) -> None:
    """Remove rules by their numbers."""
    with explained_errors(target), connect(target) as stub:
        keeping_rules.remove(stub, library, number)


@rules.command(name="clear")
def clear_rules(library: Library = DEFAULT_LIBRARY, target: Target = DEFAULT_TARGET) -> None:
    """Remove all rules."""
    with explained_errors(target), connect(target) as stub:
        keeping_rules.write(stub, library, [])


KeysFile = Annotated[
    Path, typer.Option("--file", envvar="BACKDROP_GATEWAY_KEYS_FILE", help="The file of keys.", dir_okay=False)
]
DEFAULT_KEYS = Path("keys.jsonl")


@keys.command(name="create")
def create_key(
    name: Annotated[str, typer.Argument(help="The key's name, in lists and logs: a-z, 0-9 and dashes.")],
    library: Annotated[
        list[str], typer.Option("--library", "-l", help="A library that it is for; * stands for any characters.")
    ],
    rate: Annotated[
        str,
        typer.Option(help="Calls that it may make, such as 600/minute; imported pictures count. [default: any]"),
    ] = "",
    file: KeysFile = DEFAULT_KEYS,
) -> None:
    """Make a key and show it, once: the file keeps its digest only.

    A gateway that was started with BACKDROP_GATEWAY_KEYS_FILE=FILE takes it within a second. Clients send it as
    `authorization: Bearer KEY`; this command line, from BACKDROP_API_KEY.
    """
    making_keys.create(file, name, library, rate)


@keys.command(name="list")
def list_keys(file: KeysFile = DEFAULT_KEYS) -> None:
    """List the keys by name, with their libraries."""
    making_keys.show(file)


@keys.command(name="revoke")
def revoke_key(name: Annotated[str, typer.Argument(help="The key's name.")], file: KeysFile = DEFAULT_KEYS) -> None:
    """Revoke a key: a running gateway refuses it within a second."""
    making_keys.revoke(file, name)


def main() -> None:
    """Runs the command line."""
    app()
