import io
from decimal import Decimal

from PIL import Image

from examples import documents


def test_there_are_enough_documents_and_no_two_are_alike() -> None:
    receipts, forms = documents.receipts(seed=1), documents.forms(seed=1)
    assert len(receipts) >= 12
    assert len(forms) >= 4
    assert len({document.png for document in receipts + forms}) == len(receipts + forms)
    assert len({document.name for document in receipts + forms}) == len(receipts + forms)


def test_a_seed_draws_the_same_pixels_and_another_seed_does_not() -> None:
    first, again, other = (documents.receipts(seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {document.png for document in first}.isdisjoint(document.png for document in other)


def test_every_document_is_a_png_of_a_page() -> None:
    for document in documents.receipts(seed=1) + documents.forms(seed=1):
        with Image.open(io.BytesIO(document.png)) as image:
            assert image.format == "PNG"
            assert image.width >= 400
            assert image.height >= 400


def test_a_receipt_adds_up() -> None:
    shop = documents.PAPER.shops[0]
    sales = [documents.Sale("Loaf", 3, Decimal("4.20")), documents.Sale("Tea", 1, Decimal("2.40"))]
    receipt = documents.Receipt(shop, "1", "2026-03-02", sales)
    assert receipt.total == Decimal("15.00")
    assert receipt.vat == Decimal("2.50")  # 20 % of the net 12.50


def test_missing_facts_ignores_blanks_and_capitals_and_nothing_else() -> None:
    document = documents.Document("receipt", b"", ("City Books", "12.40"))
    assert documents.missing_facts(document, "CITYBOOKS\n… 12. 40") == []
    assert documents.missing_facts(document, "City Book 12,40") == ["City Books", "12.40"]
