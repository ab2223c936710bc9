"""The page: one file that loads nothing, tells all that counts, and does not grow with the number of runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import islice, pairwise
from random import Random

import pytest

from dbos_shadow.report import Report, ReportBuilder, render_html, to_json
from dbos_shadow.report.charts import histogram
from dbos_shadow.report.histogram import Histogram
from dbos_shadow.report.sums import distribution
from dbos_shadow.verdict import Judgement
from tests.unit.shadow.judgements import TYPES, config, judged, mixed_runs, no_quote, run, same_runs

VOID = {"meta", "input", "br"}


class Page(HTMLParser):
    """The elements of a page; one that is not closed, or closed out of turn, is an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


def built(judgements: Iterator[Judgement] | list[Judgement], **fields: object) -> Report:
    builder = ReportBuilder(config(**fields))
    for judgement in judgements:
        builder.add(judgement)
    return builder.finish()


@pytest.fixture(scope="module")
def mixed() -> Report:
    return built(mixed_runs(900))


@pytest.mark.parametrize("runs", [[], list(same_runs(60)), list(mixed_runs(300))], ids=["nothing", "clean", "mixed"])
def test_it_is_one_well_formed_page_that_loads_nothing(runs: list[Judgement]) -> None:
    page = Page(render_html(built(runs)))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"link", "img", "iframe", "object", "embed", "audio", "video", "source", "form", "base"}
    for tag, attributes in page.elements:
        assert "src" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), "the page's own policy would stop it"
        assert (attributes.get("href") or "#").startswith("#"), attributes
    (policy,) = [a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a]
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {(a.get("href") or "#")[1:] for t, a in page.elements if t == "a"} <= {*ids}


def test_the_decision_comes_first_then_why_then_what_was_not_checked(mixed: Report) -> None:
    words = Page(render_html(mixed)).words
    places = [words.index(text) for text in ("No-go", mixed.why, "Not checked", "Workflow types", "What differs")]
    assert places == sorted(places)
    for group in mixed.groups:
        assert group.fingerprint in words
        assert group.exemplar.command in words
    for text in ("First divergence", "What was not checked", "send_mail", "Masks", "temporalio 1.35.0", "6d1f0c22ab90"):
        assert text in words
    assert Page(render_html(built(same_runs(60)))).words.index("Go") < 200
    assert "There was no run to compare." in Page(render_html(built([]))).words


def test_names_are_text_and_never_markup() -> None:
    of = run("<script>alert(1)</script>{{ 7 * 7 }}", 1, Random(1))
    text = render_html(built([judged(of, no_quote(of))]))
    assert "<script>alert" not in text
    assert "{{ 7 * 7 }}" in Page(text).words


def test_it_does_not_grow_with_the_number_of_runs() -> None:
    few, many = (len(render_html(built(mixed_runs(runs), runs_max=20))) for runs in (600, 3000))
    assert many < few * 1.1
    assert len(render_html(built(islice(mixed_runs(600), 600), groups_max=3, runs_max=0))) < few / 2


def test_it_can_be_used_with_the_keyboard_and_heard(mixed: Report) -> None:
    page = Page(render_html(mixed))
    assert page.elements[0] == ("html", {"lang": "en"})
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all("aria-label" in a or a.get("aria-hidden") == "true" for tag, a in page.elements if tag == "svg")
    assert all(a.get("type") == "button" for tag, a in page.elements if tag == "button")
    assert all("scope" in a for tag, a in page.elements if tag == "th")
    assert {"main", "header", "nav"} <= {tag for tag, _ in page.elements}


def light(colour: str) -> float:
    """Relative luminance, as WCAG 2 has it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_can_be_read_on_light_and_on_dark() -> None:
    page = render_html(built([]))
    schemes = [
        dict(re.findall(r"--([\w-]+): (#\w{6});", block)) for block in re.findall(r":root \{(.*?)\}", page, re.S)
    ]
    light_one, dark_one = schemes[:2]
    assert light(light_one["paper"]) > 0.9
    assert light(dark_one["paper"]) < 0.05
    for colours in (light_one, dark_one):
        for ink in ("ink", "quiet", "go", "bad", "warn"):
            for ground in ("paper", "card", *([f"{ink}-soft"] if f"{ink}-soft" in colours else ["soft", "bad-soft"])):
                low, high = sorted((light(colours[ink]), light(colours[ground])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_hundred_thousand_runs() -> None:
    builder = ReportBuilder(config())
    some = list(mixed_runs(600))
    for number in range(100_000):
        builder.add(replace(some[number % 600], workflow_id=f"w-{number}", shape=f"shape {number % 5000}"))
    report = builder.finish()
    assert report.counts.total == 100_000
    assert len(report.groups) == 18
    assert len(render_html(report)) < 400_000
    assert len(to_json(report)) < 1_000_000


@pytest.mark.parametrize(
    "numbers",
    [[0], [7], [1, 1, 1], list(range(40)), [3, 90_000_000], [Random(n).randint(0, 10**6) for n in range(500)]],
)
def test_every_number_is_in_a_bar(numbers: list[int]) -> None:
    counted = Histogram()
    for number in numbers:
        counted.add(number)
    of = distribution(counted, "steps")
    assert of is not None
    chart = histogram(of)
    assert sum(int(bar.title.split(": ")[1].split()[0].replace(",", "")) for bar in chart.bars) == len(numbers)
    assert all(0 <= bar.x < bar.x + bar.width <= 100.001 and 0 <= bar.y <= 100 for bar in chart.bars)
    assert all(0 <= mark.x <= 100 for mark in chart.marks)
    assert len(chart.bars) <= 28
    middle = sorted(numbers)[(len(numbers) - 1) // 2]
    assert middle <= of.median <= max(middle * 9 // 8, middle)


def test_the_types_are_all_there(mixed: Report) -> None:
    rows = [a for tag, a in Page(render_html(mixed)).elements if tag == "tr" and "data-text" in a]
    assert [(a["data-text"] or "").split()[0] for a in rows[:6]] == sorted(TYPES)
