import base64
import io
from typing import Any

import pytest
import requests
from PIL import Image

from examples import documents
from examples.upstreams import tokens

PAPER = documents.receipts(seed=1) + documents.forms(seed=1)


def _read(url: str, document: Any) -> requests.Response:
    return requests.post(f"{url}/predict", json=document, timeout=60)


def _encoded(png: bytes) -> str:
    return base64.b64encode(png).decode()


@pytest.mark.parametrize("document", PAPER, ids=lambda document: document.name)
def test_every_document_is_read_as_it_was_written(ocr_url: str, document: documents.Document) -> None:
    answer = _read(ocr_url, {"image": _encoded(document.png), "request_id": "ignored"}).json()
    assert documents.missing_facts(document, answer["text"]) == []


def test_the_answer_has_lines_with_scores_and_boxes_inside_the_image(ocr_url: str) -> None:
    answer = _read(ocr_url, {"image": _encoded(PAPER[0].png)}).json()
    width, height = Image.open(io.BytesIO(PAPER[0].png)).size
    assert answer["text"] == "\n".join(line["text"] for line in answer["lines"])
    for line in answer["lines"]:
        assert 0.5 <= line["score"] <= 1
        assert len(line["box"]) == 4
        assert all(0 <= x <= width and 0 <= y <= height for x, y in line["box"])


def test_usage_can_be_recounted_from_the_image_and_the_text(ocr_url: str) -> None:
    answer = _read(ocr_url, {"image": _encoded(PAPER[1].png)}).json()
    width, height = Image.open(io.BytesIO(PAPER[1].png)).size
    assert answer["usage"] == {
        "input_tokens": tokens.image_tokens(width, height),
        "output_tokens": len(tokens.text_tokens(answer["text"])),
    }


def test_the_same_image_is_read_the_same_way_twice(ocr_url: str) -> None:
    request = {"image": _encoded(PAPER[2].png)}
    assert _read(ocr_url, request).json() == _read(ocr_url, request).json()


def test_all_forms_of_an_image_are_read_alike(ocr_url: str) -> None:
    png = PAPER[2].png
    whole = requests.post(f"{ocr_url}/predict", data=png, headers={"content-type": "image/png"}, timeout=60)
    form = requests.post(f"{ocr_url}/predict", files={"image": ("a.png", png, "image/png")}, timeout=60)
    data_url = _read(ocr_url, {"image": f"data:image/png;base64,{_encoded(png)}"})
    plain = _read(ocr_url, {"image": _encoded(png)})
    assert plain.json() == data_url.json() == form.json() == whole.json()
    assert plain.status_code == whole.status_code == 200


def test_a_blank_page_has_no_text_and_costs_its_pixels(ocr_url: str) -> None:
    page = io.BytesIO()
    Image.new("RGB", (280, 280), "white").save(page, "PNG")
    answer = _read(ocr_url, {"image": _encoded(page.getvalue())}).json()
    assert answer == {"text": "", "lines": [], "usage": {"input_tokens": 100, "output_tokens": 0}}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "must be a string"),
        ({"image": 7}, "must be a string"),
        ({"image": "%%%"}, "not base64"),
        ({"image": "data:image/png,abcd"}, "not base64"),
        ({"image": "bm90IGFuIGltYWdl"}, "not a readable PNG or JPEG"),
        ({"image": _encoded(PAPER[0].png[:900])}, "not a readable PNG or JPEG"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(ocr_url: str, request_: Any, reason: str) -> None:
    response = _read(ocr_url, request_)
    assert response.status_code == 400
    assert reason in response.json()["detail"]
