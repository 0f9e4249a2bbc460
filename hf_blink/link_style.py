"""How links look: the CSS of a page of their own, and of a fragment inside another page.

The rules for texts and cards are the same. A page's follow the system's dark mode; a fragment's are nested in its class
`entity-links`, so that they touch nothing else, and follow the class `dark` of an element around it, as Gradio sets it.
"""

PALETTE = ("#2563eb", "#c2410c", "#0b7a53", "#c2255c", "#7c3aed", "#a16207", "#0e7490", "#4d7c0f")

_LIGHT = """color-scheme: light; --page: #f5f6f8; --card: #fff; --ink: #1b1f27; --soft: #5c6573; --line: #e2e5ea;
  --tint: 14%; --text-mix: black;"""
_DARK = """color-scheme: dark; --page: #101318; --card: #191d24; --ink: #e8eaee; --soft: #9aa4b2; --line: #2b313b;
  --tint: 30%; --text-mix: white;"""

_PARTS = """* { box-sizing: border-box; margin: 0; }
.nil { --colour: #6b7280; }
.mention, .card { --strong: color-mix(in srgb, var(--colour) 72%, var(--text-mix));
  --light: color-mix(in srgb, var(--colour) var(--tint), var(--card)); }
.summary, .note, footer { color: var(--soft); }
.text, .card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.text { padding: 18px 24px; font-size: 16.5px; line-height: 1.9; }
.text p { white-space: pre-wrap; overflow-wrap: anywhere; }
.text p + p { margin-top: 10px; }
.mention { color: inherit; text-decoration: none; background: var(--light); padding: 3px 4px 3px 6px;
  border-radius: 6px; -webkit-box-decoration-break: clone; box-decoration-break: clone; }
.mention mark { background: none; color: inherit; font-weight: 600; }
.label { margin-left: 6px; padding: 2px 7px 2px 6px; border-radius: 4px; background: var(--colour);
  color: #fff; font-size: 11.5px; font-weight: 500; vertical-align: 1.5px; white-space: nowrap; }
.label b, .label code { font: inherit; opacity: 0.8; margin: 0 1px; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 16px;
  margin-top: 16px; }
.card { padding: 17px 18px 15px; box-shadow: inset 0 4px 0 var(--colour); break-inside: avoid;
  overflow-wrap: anywhere; }
.card:target { outline: 2px solid var(--colour); }
.card > header { color: var(--soft); font-size: 13px; margin-bottom: 6px; }
.number { display: inline-block; min-width: 20px; padding: 0 5px; border-radius: 10px; color: #fff;
  background: var(--colour); font-size: 11.5px; line-height: 20px; text-align: center; margin-right: 3px; }
.inside { font-size: 11.5px; font-style: italic; }
h2 { display: inline; font-size: 17px; font-weight: 700; line-height: 1.35; letter-spacing: -0.01em; margin-right: 6px; }
.id { font: 11.5px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  color: var(--strong); background: var(--light); padding: 1px 6px; border-radius: 4px; }
.card > .description { margin: 5px 0 9px; font-size: 13px; line-height: 1.45; text-wrap: pretty; }
.probability { display: flex; align-items: center; gap: 10px; font-weight: 650; }
.probability, .raw { font-variant-numeric: tabular-nums; }
.bar { flex: 1; height: 8px; border-radius: 4px; background: var(--light); overflow: hidden; }
.bar i { display: block; height: 100%; border-radius: 4px; background: var(--colour); }
.raw { color: var(--soft); font-size: 12px; }
.raw span { margin-right: 10px; }
.raw b { color: var(--ink); font-weight: 550; }
.others { list-style: none; padding: 9px 0 0; margin-top: 9px; border-top: 1px solid var(--line);
  display: grid; gap: 7px; font-size: 12px; }
.others li { display: grid; grid-template-columns: 1fr auto; column-gap: 14px; align-items: center; }
.others .name { grid-column: 1 / -1; font-weight: 600; white-space: nowrap; overflow: hidden;
  text-overflow: ellipsis; }
.others .id { font-size: 11px; padding: 0 4px; color: var(--soft); background: var(--page); }
.others .description { color: var(--soft); font-weight: 400; }
.others .probability { gap: 8px; font-weight: 550; }
.others .probability > :last-child { min-width: 38px; text-align: right; }
.others .bar { height: 5px; opacity: 0.75; }
.others .raw span + span { margin: 0; }
footer { font-size: 11.5px; margin-top: 14px; }
@media (max-width: 600px) { .label { white-space: normal; } }
""" + "".join(f".c{number} {{ --colour: {colour}; }}\n" for number, colour in enumerate(PALETTE))

PAGE_STYLE = f""":root {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
{_PARTS}body {{ color: var(--ink); background: var(--page); print-color-adjust: exact;
  font: 14px/1.5 Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }}
main {{ max-width: 1200px; margin: 0 auto; padding: 28px 36px 22px; }}
.top {{ display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 16px; }}
h1 {{ font-size: 23px; line-height: 1.3; letter-spacing: -0.015em; }}
.note {{ flex-basis: 100%; }}
@media (max-width: 600px) {{ main {{ padding: 16px; }} }}
@media print {{ body {{ background: none; }} main {{ padding: 0; }} }}
"""

# A card opens beside its mention where the browser can anchor it there, and else in the middle of the window.
_POPOVERS = """.message { padding: 10px 14px; border-radius: 8px; border: 1px solid var(--line); background: var(--card);
  border-inline-start: 4px solid #dc2626; }
.summary { margin-bottom: 8px; }
.text { padding: 14px 18px; }
.overlapping { margin-top: 10px; }
.mention { border: 0; font: inherit; line-height: 1.45; text-align: start; cursor: pointer; interest-delay: 0.2s; }
.mention:hover, .mention:focus-visible { outline: 2px solid var(--colour); }
.card { position: fixed; width: min(440px, 100vw - 24px); max-height: min(100% - 12px, 640px); overflow-y: auto;
  color: var(--ink); box-shadow: inset 0 4px 0 var(--colour), 0 12px 36px rgb(0 0 0 / 30%); }
.card { margin: auto; }
@supports (position-area: block-end) {
  .card { inset: auto; margin: 6px 0; position-area: block-end span-all; position-try: most-height flip-block; }
}
.others .name { white-space: normal; }
.label { display: inline-block; line-height: 1.5; }
"""

FRAGMENT_STYLE = f""".entity-links {{ {_LIGHT} color: var(--ink); font-size: 14px; line-height: 1.5;
{_PARTS}{_POPOVERS}}}
.dark .entity-links {{ {_DARK} }}
"""
