"""docs/performance.md and its plot out of what the benchmarks print: python -m benchmarks.report [name ...] [--keep] [-- options].

Runs the benchmarks named (all, if none is), keeps the last line of each under artefacts/benchmarks/, and writes the tables between
the marks in docs/performance.md and docs/performance.svg again from all that is kept; what is not kept stays as it is there. --keep runs
nothing. Options behind -- go to every benchmark. A benchmark that fails leaves its old table and makes this program fail.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "artefacts" / "benchmarks"
DOCUMENT = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
COMMANDS = {  # module and its options
    "relay": ["relay"],
    "pairs": ["pairs"],
    "srtp": ["srtp"],
    "survive": ["survive", "--process", "core"],
    "survive-calls": ["survive", "--process", "calls"],
    "dsp": ["dsp"],
    "tls": ["tls"],
    "hold": ["hold", "--full"],
    "calls": ["calls"],
    "functions": ["functions"],
}
KINDS = {"rtp": "RTP to RTP", "srtp": "RTP to SRTP", "srtp_srtp": "SRTP to SRTP"}
Result = dict[str, Any]


def run(name: str, options: list[str]) -> str:
    """Run one benchmark; "" or why there is no result of it."""
    module, *own = COMMANDS[name]
    command = [sys.executable, "-m", f"benchmarks.{module}", *own, *(options if module != "survive" else [])]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="", flush=True)
    try:
        result = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return f"{name}: no result (status {done.returncode})"
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    return "" if done.returncode == 0 else f"{name}: status {done.returncode}"


# ---- tables ----------------------------------------------------------------------------------------------------------


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    head = list(head)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def relay(result: Result) -> str:
    head = ["kind", "what", "µs CPU per packet", "packets per second", "lost", "delay p50 / p99 / p99.9, µs"]
    rows = [
        (
            KINDS[row["kind"]],
            row["name"],
            f"{row['us_per_packet']:.2f}",
            f"{row['rate']:.0f}",
            row["lost"],
            f"{row['delay_us_p50']:.0f} / {row['delay_us_p99']:.0f} / {row['delay_us_p99.9']:.0f}",
        )
        for row in result["rows"]
    ]
    ratios = [
        (key, result[key]) for key in sorted(result) if key.startswith("ratio_") or key in ("overload_kept", "growth")
    ]
    points = [
        (
            row["calls"],
            f"{row['load']} %",
            round(row["rate"]),
            f"{row['us_per_packet']:.2f}",
            f"{100 * row['cpu_share']:.0f} %",
            row["lost"],
            f"{row['delay_us_p50']:.0f} / {row['delay_us_p99']:.0f} / {row['delay_us_p99.9']:.0f}",
        )
        for row in result["curve"]
    ]
    curve = table(["calls", "load", "offered per second", "µs per packet", "core", "lost", "delay, µs"], points)
    return f"{result['calls']} calls.\n\n{table(head, rows)}\n\n{table(['ratio', 'value'], ratios)}\n\n{curve}"


def pairs(result: Result) -> str:
    head = ["kind", "what", "µs CPU per packet", "of one worker's", "lost", "delay p50 / p99 / p99.9, µs"]
    one = {
        row["kind"]: row["us_per_packet"] for row in reversed(result["rows"]) if row["name"].startswith("one worker")
    }
    rows = [
        (
            KINDS[row["kind"]],
            row["name"],
            f"{row['us_per_packet']:.2f}",
            f"{row['us_per_packet'] / one[row['kind']]:.2f}",
            row["lost"],
            f"{row['delay_us_p50']:.0f} / {row['delay_us_p99']:.0f} / {row['delay_us_p99.9']:.0f}",
        )
        for row in result["rows"]
    ]
    return f"{result['calls']} calls, {result['rows'][0]['rate']:.0f} packets per second.\n\n{table(head, rows)}"


def srtp(result: Result) -> str:
    names = [name for name in ("ipsec-mb", "openssl") if name in result]
    head = ["suite", *(f"{name}, {way}" for name in names for way in ("protect", "unprotect"))]
    suites = list(result[names[0]])
    rows = [
        [suite, *(result[name][suite][way] for name in names for way in ("protect", "unprotect"))] for suite in suites
    ]
    peers = [
        [label, *(result[key][suite] for suite in ("cm80", "gcm128"))]
        for key, label in (("libsrtp_c", "libsrtp, C function"), ("pylibsrtp", "pylibsrtp from Python"))
    ]
    conditions = result["conditions"]
    text = f"ns per packet of {conditions['packet']} octets, {conditions['streams']} streams, batches of {conditions['batch']}."
    return f"{text}\n\n{table(head, rows)}\n\n{table(['peer, protect', 'cm80', 'gcm128'], peers)}"


def survive(result: Result) -> str:
    head = ["calls", "kills", "calls lost", "gap p50, ms", "gap p99, ms", "longest, ms", "p99 without kills, ms"]
    keys = ("calls", "kills", "lost", "gap_ms_p50", "gap_ms_p99", "gap_ms_max", "gap_ms_p99_without_kills")
    return table(head, [[result[key] for key in keys]])


def survive_calls(result: Result) -> str:
    head = ["calls at once", "telephoned", "kills", "lost", "refused", "ghosts", "media gap, ms", "restart p50, ms"]
    keys = ("calls", "telephoned", "kills", "lost", "refused", "ghosts", "media_gap_ms")
    calls = table(head, [[*(result[key] for key in keys), result["restart_ms"]["p50"]]])
    moments = {"kills": "killed", "starts": "only a start beside", "shams": "nothing"}
    rows = [[name, *(result[f"gap_ms_{key}"][part] for part in ("p50", "p90", "max"))] for key, name in moments.items()]
    gaps = table(["what was done in the moments", "longest gap p50, ms", "p90, ms", "longest, ms"], rows)
    words = (
        f"At the mean kills are {result['gap_ms_added']:+} ms from nothing (as much or more comes about by chance in {result['gap_by_chance']:.0%} "
        f"of cases), {result['gap_ms_added_to_starts']:+} ms from starts ({result['gap_by_chance_of_starts']:.0%}). {result['processors']} processors, "
        f"load {result['load_average']}, core at nice {result['core_nice']}."
    )
    return f"{calls}\n\n{gaps}\n\n{words}"


def dsp(result: Result) -> str:
    rows = result["rows"]
    head = ["calls", "at once", "share of a core", "of it DSP", "calls per core"]
    bridged = [
        (
            label,
            rows[key]["calls"],
            percent(rows[key]["share"]),
            percent(rows[key]["dsp_share"]),
            f"{rows[key]['calls_per_core']:.0f}",
        )
        for key, label in (("g711_opus", "G.711 to Opus"), ("g711_g722", "G.711 to G.722"))
    ]
    rooms = [
        (label, rows[key]["party"], rows[key]["speakers"], percent(rows[key]["share"]), percent(rows[key]["dsp_share"]))
        for key, label in (("conference", "G.711"), ("conference_mixed", "G.711, G.722 and Opus"))
    ]
    conference = table(["conference", "members", "speaking", "share of a core", "of it DSP"], rooms)
    conditions = result["conditions"]
    return f"{table(head, bridged)}\n\n{conference}\n\nCounted: {conditions['counted']}. Opus: {conditions['opus']}."


def tls(result: Result) -> str:
    return table(["figure", "value"], [(key, value) for key, value in result.items() if isinstance(value, int | float)])


def hold(result: Result) -> str:
    figures = [(key, value) for key, value in result.items() if isinstance(value, int | float)]
    own = ("name", "rate", "sources", "seconds")
    attacks = [
        (
            row["name"],
            *(f"{row[key]:g}" for key in own[1:]),
            ", ".join(f"{key} {value}" for key, value in row.items() if key not in own),
        )
        for row in result["attacks"]
    ]
    head = ["attack", "a second", "addresses", "seconds", "what it did"]
    return f"{table(['figure', 'value'], figures)}\n\n{table(head, attacks)}"


def calls(result: Result) -> str:
    peer = result["kamailio_rtpengine"]
    keys = ("calls", "refused", "calls_per_second", "cpu_ms_per_call", "records")
    rows = [(key, result[key], peer.get(key, "")) for key in keys]
    rows += [(f"set-up {part}, ms", *(each["set_up_ms"][part] for each in (result, peer))) for part in ("p50", "p99")]
    rows += [(f"CPU of {name}, ms per call", value, "") for name, value in result["cpu_ms_of"].items()]
    rows += [(f"CPU of {name}, ms per call", "", value) for name, value in peer["cpu_ms_of"].items()]
    figures = table(
        [f"{result['rate']:g} calls a second, {result['seconds']:g} s", "switchroom", "Kamailio + rtpengine"], rows
    )
    return f"{figures}\n\nratio_vs_kamailio_rtpengine: {result['ratio_vs_kamailio_rtpengine']}"


def functions(result: Result) -> str:
    head = ["function", "µs", "yardsticks", "of what is stored"]
    rows = [
        (row["name"], f"{row['us']:.2f}", f"{row['yardsticks']:.3f}", row["of_baseline"] or "")
        for row in result["rows"]
    ]
    return table(head, rows)


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


TABLES: dict[str, Callable[[Result], str]] = {
    "relay": relay,
    "pairs": pairs,
    "srtp": srtp,
    "survive": survive,
    "survive-calls": survive_calls,
    "dsp": dsp,
    "tls": tls,
    "hold": hold,
    "calls": calls,
    "functions": functions,
}


def fill(document: str, results: dict[str, Result]) -> str:
    """The document with the tables of these results between their marks."""
    for name, result in results.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in document or end not in document:
            raise ValueError(f"docs/performance.md has no place for {name}")
        block = f"{begin}\n{TABLES[name](result)}\n{end}"
        document = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, text=block: text, document, flags=re.S)  # type: ignore[misc]
    return document


# ---- the plot --------------------------------------------------------------------------------------------------------

BAR, WIDTH, LEFT, RIGHT = 22, 860, 270, 90


Row = tuple[str, float]


def bars(title: str, rows: list[Row]) -> tuple[str, int]:
    """A panel of horizontal bars and its height; what is ours is in the strong colour."""
    most = max(value for _, value in rows)
    parts = [f'<text x="10" y="18" class="title">{escape(title)}</text>']
    for number, (label, value) in enumerate(rows):
        y = 30 + number * BAR
        length = (WIDTH - LEFT - RIGHT) * value / most
        kind = "ours" if "switchroom" in label else "other"
        parts.append(f'<text x="{LEFT - 8}" y="{y + 14}" class="label">{escape(label)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR - 5}" class="{kind}"/>')
        parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 14}">{value:,.2f}</text>' if value < 10 else
                     f'<text x="{LEFT + length + 6:.1f}" y="{y + 14}">{value:,.0f}</text>')  # fmt: skip
    return "\n".join(parts), 30 + len(rows) * BAR + 24


def relay_bars(result: Result) -> list[Row]:
    return [(f"{KINDS[row['kind']]}, {row['name']}", row["us_per_packet"]) for row in result["rows"]]


def srtp_bars(result: Result) -> list[Row]:
    suites, peer = ("cm80", "gcm128"), result["libsrtp_c"]
    rows = [(f"{suite}, switchroom", float(result[f"{suite}_ns"])) for suite in suites]
    return rows + [(f"{suite}, libsrtp", peer[suite]) for suite in suites if isinstance(peer[suite], float)]


def dsp_bars(result: Result) -> list[Row]:
    rows = result["rows"]
    labels = (("g711_opus", "G.711 to Opus"), ("g711_g722", "G.711 to G.722"))
    return [(f"{label}, switchroom", rows[key]["calls_per_core"]) for key, label in labels]


def calls_bars(result: Result) -> list[Row]:
    return [
        ("switchroom", result["cpu_ms_per_call"]),
        ("Kamailio + rtpengine", result["kamailio_rtpengine"]["cpu_ms_per_call"]),
    ]


PANELS: dict[str, tuple[str, Callable[[Result], list[Row]]]] = {
    "relay": ("Relay: µs of CPU per packet (less is better)", relay_bars),
    "srtp": ("SRTP protect: ns per packet (less is better)", srtp_bars),
    "dsp": ("Transcoding: calls per core (more is better)", dsp_bars),
    "calls": ("Call set-up: ms of CPU per call (less is better)", calls_bars),
}
GROUP = re.compile(r'<g id="(\w+)" data-height="(\d+)"[^>]*>\n(.*?)\n</g>', re.DOTALL)


def plot(results: dict[str, Result], before: str = "") -> str:
    """One SVG: a panel of each result, and the panels of `before`, an SVG made here, of which there is no new one."""
    panels = {name: (text, int(height)) for name, height, text in GROUP.findall(before)}
    panels |= {name: bars(title, rows(results[name])) for name, (title, rows) in PANELS.items() if name in results}
    drawn, top = [], 10
    for name in (name for name in PANELS if name in panels):
        text, height = panels[name]
        drawn.append(f'<g id="{name}" data-height="{height}" transform="translate(0 {top})">\n{text}\n</g>')
        top += height
    style = (
        "text{font:13px sans-serif;fill:#222}.title{font-weight:bold;font-size:15px}.label{text-anchor:end}"
        ".ours{fill:#0b6e4f}.other{fill:#b8c0c8}"
    )
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(COMMANDS)}; all, if none is given")
    parser.add_argument("--keep", action="store_true", help="run nothing: only write tables and plot again")
    before, _, options = " ".join(sys.argv[1:]).partition(" -- ")
    arguments = parser.parse_args(before.split())
    unknown = set(arguments.names) - set(COMMANDS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    problems = [] if arguments.keep else [run(name, options.split()) for name in arguments.names or COMMANDS]
    results = {path.stem: json.loads(path.read_text()) for path in sorted(KEPT.glob("*.json")) if path.stem in TABLES}
    DOCUMENT.write_text(fill(DOCUMENT.read_text(), results))
    PLOT.write_text(plot(results, PLOT.read_text()))
    print("\n".join(problem for problem in problems if problem) or f"{DOCUMENT.relative_to(ROOT)} is up to date")
    return 1 if any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
