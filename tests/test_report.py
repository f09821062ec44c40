"""docs/performance.md out of results: tables between their marks, nothing else touched; a plot that is well-formed."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from benchmarks import functions, report, sampled

DSP = {
    "rows": {
        "g711_opus": {"calls": 10, "share": 0.07, "dsp_share": 0.06, "calls_per_core": 142.8},
        "g711_g722": {"calls": 10, "share": 0.02, "dsp_share": 0.01, "calls_per_core": 500.0},
        "conference": {"party": 100, "speakers": 3, "share": 0.07, "dsp_share": 0.02},
        "conference_mixed": {"party": 100, "speakers": 3, "share": 0.1, "dsp_share": 0.05},
    },
    "conditions": {"counted": "CPU < time & all", "opus": "24 kbit/s"},
}


def test_a_table_takes_the_place_of_the_old_one() -> None:
    page = "before\n<!-- dsp -->\nold\n<!-- end of dsp -->\nafter\n"
    filled = report.fill(page, {"dsp": DSP})
    assert filled.startswith("before\n<!-- dsp -->\n| calls |")
    assert filled.endswith("<!-- end of dsp -->\nafter\n")
    assert "old" not in filled
    assert "| G.711 to Opus | 10 | 7.0 % | 6.0 % | 143 |" in filled
    assert report.fill(filled, {"dsp": DSP}) == filled


def test_a_page_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for dsp"):
        report.fill("nothing", {"dsp": DSP})


def test_the_page_has_a_place_for_every_benchmark() -> None:
    assert set(report.TABLES) == set(report.COMMANDS)
    page = report.DOCUMENT.read_text()
    for name in report.COMMANDS:
        assert page.count(f"<!-- {name} -->") == page.count(f"<!-- end of {name} -->") == 1


def test_the_plot_is_well_formed_and_to_scale() -> None:
    drawing = ElementTree.fromstring(report.plot({"dsp": DSP}))
    widths = [
        float(bar.get("width", "0")) for bar in drawing.iter("{http://www.w3.org/2000/svg}rect") if bar.get("class")
    ]
    assert widths[0] / widths[1] == pytest.approx(142.8 / 500, rel=0.01)


def test_a_panel_without_a_new_result_stays_in_the_plot() -> None:
    calls = {"cpu_ms_per_call": 3.0, "kamailio_rtpengine": {"cpu_ms_per_call": 1.5}}
    both = report.plot({"dsp": DSP, "calls": calls})
    assert report.plot({}, both) == both
    assert report.plot({"dsp": DSP}, report.plot({"calls": calls})) == both
    faster = report.plot({"calls": {**calls, "cpu_ms_per_call": 1.0}}, both)
    assert faster != both
    assert "G.711 to Opus" in faster


def test_a_function_is_compared_in_yardsticks_of_its_own_run() -> None:
    stored = {"scan": 0.5, "parse": 2.0}
    fast_machine = {functions.YARDSTICK: 1e-6, "scan": 0.6e-6, "parse": 2.8e-6, "new": 1e-6}
    slow_machine = {name: 10 * seconds for name, seconds in fast_machine.items()}
    for times in (fast_machine, slow_machine):
        rows = functions.compare(times, stored)
        assert [(row["name"], row["of_baseline"]) for row in rows] == [("scan", 1.2), ("parse", 1.4), ("new", None)]
        assert functions.slower(rows) == ["parse"]


def test_every_function_that_is_measured_has_a_stored_value() -> None:
    assert functions.YARDSTICK not in json.loads(functions.BASELINE.read_text())
    assert all(value > 0 for value in json.loads(functions.BASELINE.read_text()).values())


def test_samples_are_counted_by_function() -> None:
    """As py-spy writes them: frames from the outermost on, with lines, which make no other function; recursion counts once."""
    stacks = "main (a.py:1);send (b.py:7) 3\nmain (a.py:2);send (b.py:9);send (b.py:9) 1\nmain (a.py:1) 4\n\nnonsense\n"
    assert sampled.counted(stacks) == [
        {"function": "main (a.py)", "self": 0.5, "with_callees": 1.0},
        {"function": "send (b.py)", "self": 0.5, "with_callees": 0.5},
    ]
