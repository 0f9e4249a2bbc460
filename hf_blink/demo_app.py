"""The demo: a web page where a linker links the text that a visitor types, made with Gradio.

`create_demo` works with every linker, also with one whose code came from the Hub with its weights: together with the
`link_…` files this one is all that a Space needs of the package (see `space`). Nothing is loaded from elsewhere, no
usage is reported, and no text is kept.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hf_blink.link_markup import escape
from hf_blink.link_page import render_fragment, render_message

if TYPE_CHECKING:
    import gradio

MAX_CHARACTERS = 5000  # of a text; a visitor waits for the answer, and others wait in line
SHOWN_CANDIDATES = 4
ALL_WORLDS = ""  # no world of a knowledge base is called so
_TITLES_IN_HINT = 3
_STYLE = ".html-container { padding: 0 !important; }"  # Gradio indents HTML more than its own boxes
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")


def import_gradio() -> ModuleType:
    """The library of the demo.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import gradio
    except ImportError as error:
        raise ImportError(
            "expected gradio for the demo; install it with `pip install 'hf_blink[demo]'` "
            "(in a clone: `pip install -c constraints.txt -e '.[demo]'`)"
        ) from error
    return gradio


def launch(
    path: str | os.PathLike[str], *, host: str = "127.0.0.1", port: int = 7860, share: bool = False
) -> None:
    """Serves the demo of a saved linker until SIGTERM or Ctrl-C; then it returns.

    Args:
        path: folder or Hub name of the linker.
        host: address to listen on; "0.0.0.0" lets other machines in.
        port: port to listen on.
        share: also open a public address through Gradio's servers.

    Raises:
        ImportError: Gradio is not installed.
        FileNotFoundError, ValueError: see `EntityLinker.from_pretrained`.
        OSError: the port is taken.
    """
    import_gradio()  # before the linker is loaded
    from hf_blink.modeling.entity_linker import EntityLinker

    name = os.path.basename(os.path.normpath(path))
    demo = create_demo(EntityLinker.from_pretrained(path), title=f"Entity linking with {name}")
    with _interrupted_by_sigterm():
        demo.launch(server_name=host, server_port=port, share=share, **launch_options())


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Within it SIGTERM is what Ctrl-C is, on which Gradio closes its server."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def launch_options() -> dict[str, Any]:
    """What Gradio takes at the launch of a demo: fonts of the system, no record of visits, a short footer."""
    gradio = import_gradio()
    theme = gradio.themes.Default(
        primary_hue="blue", neutral_hue="slate", font=_FONTS, font_mono=("ui-monospace", "monospace")
    )
    return {
        "theme": theme.set(button_primary_background_fill="*primary_600"),  # white letters are readable on it
        "css": _STYLE,
        "footer_links": ["gradio", "settings"],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
    }


def create_demo(linker: Any, *, title: str = "Entity linking", examples: Sequence[str] = ()) -> gradio.Blocks:
    """Builds the page.

    Args:
        linker: an `EntityLinker`.
        title: heading of the page.
        examples: texts to choose from.

    Returns:
        The Gradio app; `app.launch(**launch_options())` serves it.

    Raises:
        ImportError: Gradio is not installed.
    """
    gradio = import_gradio()
    link = partial(linked_html, linker)
    with gradio.Blocks(title=title, analytics_enabled=False) as demo:
        gradio.HTML(f"<h1>{escape(title)}</h1><p>{escape(describe(linker))}</p>")
        text = gradio.Textbox(
            label=f"Text, at most {MAX_CHARACTERS:,} characters",
            placeholder=hint(linker),
            lines=4,
            max_lines=16,
        )
        samples = [[example] for example in examples]
        choice = gradio.Examples(samples, [text], cache_examples=False) if samples else None
        options = _options(gradio, linker)
        button = gradio.Button("Link", variant="primary")
        result = gradio.HTML(apply_default_css=False, js_on_load=None)
        call = {"inputs": [text, *options], "outputs": result, "api_visibility": "private"}
        gradio.on([button.click, text.submit], link, **call)
        if choice is not None:
            choice.load_input_event.then(link, **call)
    return demo


def linked_html(
    linker: Any, text: str, top_k: int, threshold: float, show_nil: bool, world: str = ALL_WORLDS
) -> str:
    """Links a visitor's text and shows the result, or what is wrong with the input.

    Args:
        linker: an `EntityLinker`.
        text: what the visitor typed.
        top_k: candidates shown of each mention.
        threshold: probability under which a mention has no entity.
        show_nil: whether mentions without entity are shown.
        world: the world to search; `ALL_WORLDS` for the whole knowledge base.

    Returns:
        A fragment of HTML.
    """
    if not text.strip():
        return render_message("There is no text yet: type one, then press Link.")
    if len(text) > MAX_CHARACTERS:
        return render_message(
            f"The text has {len(text):,} characters, and {MAX_CHARACTERS:,} is the most here: link it in parts."
        )
    try:
        links = linker.link(
            text, worlds=world or None, top_k=int(top_k), threshold=threshold, return_nil=show_nil
        )
    except ValueError as error:  # of an option that this page does not offer
        return render_message(str(error))
    return render_fragment(text, links)


def describe(linker: Any) -> str:
    """The knowledge base and the models of a linker, in one line."""
    knowledge_base = linker.knowledge_base
    worlds = len(knowledge_base.worlds)
    entities = f"{len(knowledge_base):,} {'entity' if len(knowledge_base) == 1 else 'entities'}"
    models = "a bi-encoder" if linker.cross_encoder is None else "a bi-encoder and a cross-encoder"
    return f"{entities}{f' in {worlds} worlds' if worlds > 1 else ''}, ranked by {models}."


def hint(linker: Any) -> str:
    """Names that a text may hold: the first titles of the knowledge base."""
    titles = dict.fromkeys(entity.title for entity in islice(linker.knowledge_base, 4 * _TITLES_IN_HINT))
    return f"A text with names such as {', '.join(islice(titles, _TITLES_IN_HINT))}"


def _options(gradio: ModuleType, linker: Any) -> list[Any]:
    """The controls, in the order of `linked_html`'s arguments."""
    most = linker.num_candidates
    worlds = linker.knowledge_base.worlds
    with gradio.Accordion("Options", open=False), gradio.Row():
        with gradio.Column(min_width=250):
            top_k = gradio.Slider(  # Gradio refuses one from 1 to 1
                1,
                max(most, 2),
                min(SHOWN_CANDIDATES, most),
                step=1,
                label="Candidates shown",
                visible=most > 1,
            )
            show_nil = gradio.Checkbox(True, label="Show mentions without entity (NIL)")
        with gradio.Column(min_width=250):
            threshold = gradio.Slider(0, 1, linker.threshold, step=0.01, label="Threshold (probability)")
            choices = [("All worlds", ALL_WORLDS), *worlds]
            world = gradio.Dropdown(choices, value=ALL_WORLDS, label="World", visible=bool(worlds))
    return [top_k, threshold, show_nil, world]
