"""An audit as a page: one file that asks for nothing else, in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fogline.audit.findings import Finding, Outcome, Rebuilt
from fogline.audit.leaks import EVERYWHERE, LeakReport
from fogline.audit.pictures import drawn
from fogline.audit.registry import ATTACKS
from fogline.audit.tap import MODEL

STYLE = """
:root { color-scheme: light dark; --ink: #1c2127; --soft: #5b6672; --line: #d9dee3; --paper: #fff; --sheet: #f6f7f9;
  --leaks: #b3261e; --hints: #8a5a00; --holds: #1d6b3a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #333b44; --paper: #14181c;
  --sheet: #1c2127; --leaks: #ff8a80; --hints: #f0b95a; --holds: #7bd19a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; } .soft { color: var(--soft); }
.verdict { background: var(--sheet); border-left: .25rem solid var(--mark); padding: .75rem 1rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .925rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0; border-top: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; border-top: 0; } td.number { font-variant-numeric: tabular-nums; }
.leaks { --mark: var(--leaks); } .hints { --mark: var(--hints); } .holds { --mark: var(--holds); }
.outcome { color: var(--mark, var(--soft)); font-weight: 600; white-space: nowrap; }
.pairs { display: flex; flex-wrap: wrap; gap: .75rem; margin: .25rem 0 .5rem; }
figure { margin: 0; font-size: .75rem; color: var(--soft); } figure.recovered { color: var(--leaks); }
figure div { display: flex; gap: 2px; }
img, svg { width: 4rem; image-rendering: pixelated; background: var(--sheet); display: block; }
img { height: auto; } svg { width: 6rem; } polyline { fill: none; stroke: currentColor; stroke-width: 1; }
"""
REBUILDING = """An example counts as rebuilt where the result has at most half the squared error of the best that can be
said without the update, the nearest of up to 256 other examples or their mean, and is as much nearer to it than to
these. PSNR is in decibels, SSIM is 1 for the same picture. Beside each original stands what was made of the update. """
MEANS: dict[Outcome, str] = {  # The worst first.
    "leaks": "leaks",
    "hints": "hints",
    "holds": "holds",
    "not applicable": "does not apply",
}


def page_of(report: LeakReport) -> str:
    """The page of an audit, as HTML."""
    found = report.worst.values()
    worst = next((outcome for outcome in MEANS if outcome in found), "not applicable")
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in report.facts.items())
    places = sorted(dict.fromkeys(one.place for one in report.findings), key=EVERYWHERE.__eq__)  # That comes last.
    sections = "".join(_section(place, [one for one in report.findings if one.place == place]) for place in places)
    rebuilding = REBUILDING if any(one.rebuilt for one in report.findings) else ""
    name = escape(report.job.name)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Leak audit of {name}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Leak audit of {name}</h1>
<p class="soft">Attacks on the job's own settings, from the place of somebody who keeps to the protocol and is curious.
What they saw was taken off the links of a simulation of the job.</p>
<div class="verdict {_kind(worst)}">{"".join(f"<p>{escape(text)}</p>" for text in report.verdict)}</div>
<dl>{facts}</dl>
{sections}
<h2>How to read this</h2>
<p>{rebuilding}Attacks that found nothing are no proof that there is nothing; those that came through are proof that
there is.</p>
</body>
</html>
"""


def _section(place: str, findings: Sequence[Finding]) -> str:
    devices = max(one.devices for one in findings)
    sees = "each device's update by itself" if devices == 1 else f"sums of {devices} devices' updates"
    titles = {MODEL: f"Whoever gets the models sees {sees}", EVERYWHERE: "What does not apply"}
    title = titles.get(place, f"The {escape(place)} sees {sees}")
    rows = "".join(_row(one) for one in findings)
    return f"""<h2>{title}</h2>
<div class="wide"><table>
<thead><tr><th>attack</th><th>examples</th><th>devices</th><th>result</th><th>what was found</th></tr></thead>
<tbody>{rows}</tbody>
</table></div>
"""


def _row(one: Finding) -> str:
    examples = "its own" if one.examples is None else str(one.examples)
    pairs = f'<div class="pairs">{"".join(_pair(one, pair) for pair in one.rebuilt)}</div>' if one.rebuilt else ""
    return (
        f'<tr class="{_kind(one.outcome)}"><td title="{escape(ATTACKS.summary(one.attack))}">{escape(one.attack)}</td>'
        f'<td class="number">{examples}</td><td class="number">{one.devices}</td>'
        f'<td class="outcome">{MEANS[one.outcome]}</td><td>{escape(one.words)}{pairs}</td></tr>'
    )


def _pair(one: Finding, pair: Rebuilt) -> str:
    low, high = float(pair.original.min()), float(pair.original.max())
    likeness = "" if pair.ssim is None else f", {pair.ssim:.2f}"
    both = "".join(
        drawn(example, low, high, f"{what}, {escape(one.attack)}")
        for example, what in ((pair.original, "original"), (pair.rebuilt, "rebuilt"))
    )
    kind = ' class="recovered"' if pair.recovered else ""
    return f"<figure{kind}><div>{both}</div>{pair.psnr:.0f} dB{likeness}</figure>"


def _kind(outcome: str) -> str:
    return outcome.replace(" ", "-")
