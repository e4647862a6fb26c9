import json

from asyncstream.lab.report.document import FORMAT, VERSION, document
from asyncstream.lab.report.measurement import Failure

from .report_builders import (
    a_comparison,
    a_comparison_with_faults,
    a_run,
    a_section,
    a_web_comparison,
    measured,
)


def test_the_document_says_what_it_is_and_how_to_repeat_it() -> None:
    read = json.loads(document(a_comparison([a_section(measured("sequential", a_run()))])))
    assert (read["format"], read["version"]) == (FORMAT, VERSION) == ("asyncstream-compare", 3)
    assert read["command"] == "asyncstream compare"
    assert read["network"]["model"] == "53/90/25"
    assert read["billing"]["prices"]["date"]
    assert read["environment"]["packages"] == {"boto3": "1.40.61"}


def test_rows_have_all_figures_and_the_sum_of_the_price() -> None:
    read = json.loads(document(a_comparison([a_section(measured("sequential", a_run(20.0)))])))
    section = read["sections"][0]
    assert section["workload"] == {"files": 10, "size": 100_000_000}
    figures = section["rows"][0]["figures"]
    assert figures["seconds"] == 20.0
    assert figures["requests"] == {"GetObject": 10, "PutObject": 10}
    assert figures["usd"] == figures["compute_usd"] + figures["requests_usd"]


def test_faults_are_counted_by_kind_if_they_were_requested() -> None:
    read = json.loads(document(a_comparison_with_faults()))
    assert read["network"]["faults"] == 0.05
    figures = read["sections"][0]["rows"][0]["figures"]
    assert (figures["faults"], figures["left_open"]) == ({"reset": 1_200, "SlowDown": 34}, 7)
    read = json.loads(document(a_comparison([a_section(measured("threads", a_run()))])))
    assert read["network"]["faults"] is read["sections"][0]["rows"][0]["figures"]["faults"] is None


def test_failed_rows_have_their_error_and_no_figures() -> None:
    read = json.loads(document(a_comparison([a_section(measured("threads", Failure("Boom: no")))])))
    assert read["sections"][0]["rows"] == [
        {
            "way": {"name": "threads", "label": "threads", "reference": False},
            "memory_mb": None,
            "errors": ["Boom: no"],
            "noise": None,
            "figures": None,
        }
    ]


def test_a_section_says_what_it_comes_to_and_how_noisy_it_was() -> None:
    rows = [measured("threads", a_run(10.0)), measured("threads", a_run(11.0), repeat=True)]
    section = json.loads(document(a_comparison([a_section(*rows)])))["sections"][0]
    assert section["verdict"][0].startswith("Fastest: threads")
    assert round(section["rows"][0]["noise"], 6) == 0.1


def test_a_web_document_has_its_model_floor_and_article_figures() -> None:
    read = json.loads(document(a_web_comparison()))
    assert read["network"]["round_trip"] == 0.0095
    section = read["sections"][0]
    assert section["workload"] == {"pages": 80, "rows": 10, "seconds": 15.0, "slowest": 1.5, "floor": 1.6}
    assert "23 s one by one, 8 s with 60 threads" in section["article"]
    figures = section["rows"][0]["figures"]
    assert (figures["floor_ratio"], figures["requests"]) == (1.25, {"web": 81, "postgres": 7})
