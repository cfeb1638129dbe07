import string
import time
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cacheproxy.sensitive.checksums import is_resident_id, passes_luhn
from cacheproxy.sensitive.detectors import DETECTORS, Kind, plain_width


def found(kind: Kind, text: str) -> list[str]:
    return [text[start:end] for start, end in DETECTORS[kind](plain_width(text), 0, len(text))]


RESIDENT = "11010519491231002X"  # of GB 11643's own examples


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f"身份证号{RESIDENT}，请核对。", RESIDENT),
        (f"ID {RESIDENT.lower()}.", RESIDENT.lower()),
        ("公民身份号码：110105 19491231 002X", "110105 19491231 002X"),
        ("１１０１０５１９４９１２３１００２X", "１１０１０５１９４９１２３１００２X"),
        ("His SSN is 123-45-6789.", "123-45-6789"),
        ("123 45 6789", "123 45 6789"),
        ("ssn: 123456789", "ssn: 123456789"),
        ("Social Security number is 123456789", "Social Security number is 123456789"),
        ("NI number AB123456C", "AB123456C"),
        ("JG 10 37 59 A", "JG 10 37 59 A"),
        ("HKID A123456(3)", "A123456(3)"),
        ("身分證字號A123456789", "A123456789"),
    ],
)
def test_identity_numbers_are_found(text: str, number: str) -> None:
    assert found("identity", text) == [number]


@pytest.mark.parametrize(
    "text",
    [
        "110105194912310021",  # its check digit is X
        "99010519491231002X",  # there is no such province
        "110105194913310025",  # nor such a month
        "110105202302300026",  # nor February 30th
        "1" + RESIDENT + "7",  # part of something longer
        "0.11010519491231002",
        "000-12-3456",
        "666-12-3456",
        "900-12-3456",
        "123-00-4567",
        "123-45-0000",
        "123-45 6789",
        "123456789",
        "GB123456A",
        "A123456(4)",
        "A123456780",
        "order 2024-11-21",
    ],
)
def test_what_only_looks_like_an_identity_number_is_not(text: str) -> None:
    assert found("identity", text) == []


@pytest.mark.parametrize(
    "number",
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "４１１１　１１１１　１１１１　１１１１",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "3782 822463 10005",
        "30569309025904",
        "3056 930902 5904",
        "6011111111111117",
        "3530111333300000",
        "6240008631401148",
        "2201382000000013",
    ],
)
def test_cards_are_found(number: str) -> None:
    assert found("card", f"卡号{number}，谢谢") == [number]
    assert found("card", f"12/2027 {number} 123") == [number]


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112",  # its check digit is wrong
        "9111111111111111",  # no issuer
        "0000000000000000",
        "4444444444444444444",
        "41111111111111110",
        "0.4111111111111111",
        "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",  # nobody writes a card so
        "4111 1111\n1111 1111",
        "1763726400123",  # a time
    ],
)
def test_what_only_looks_like_a_card_is_not(text: str) -> None:
    assert found("card", text) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Write to jane.doe+news@mail.example.co.uk.", "jane.doe+news@mail.example.co.uk"),
        ("邮箱zhang_san@example.com，谢谢", "zhang_san@example.com"),
        ("邮箱zhang＠example．com请", "zhang＠example．com"),
        ("<a@b.cn>", "a@b.cn"),
        ("x@xn--fsqu00a.xn--0zwm56d.example", "x@xn--fsqu00a.xn--0zwm56d.example"),
    ],
)
def test_addresses_are_found(text: str, address: str) -> None:
    assert found("email", text) == [address]


@pytest.mark.parametrize(
    "text", ["@example.com", "a@b", "a @b.com", "a@ b.com", "@@@", "user@localhost", "x@1.2"]
)
def test_what_only_looks_like_an_address_is_not(text: str) -> None:
    assert found("email", text) == []


@pytest.mark.parametrize(
    "number",
    [
        "13800138000",
        "138 0013 8000",
        "138-0013-8000",
        "+86 13800138000",
        "86-13800138000",
        "008613800138000",
        "１３８００１３８０００",
        "010-12345678",
        "0755-1234567",
        "（010）12345678",
        "(415) 555-2671",
        "415-555-2671",
        "415.555.2671",
        "+1 415-555-2671",
        "1-415-555-2671",
        "+442071838750",
        "+44 20 7183 8750",
        "+49 (30) 901820",
    ],
)
def test_telephone_numbers_are_found(number: str) -> None:
    assert found("phone", f"电话{number}。") == [number]
    assert found("phone", f"call {number}, please") == [number]


@pytest.mark.parametrize(
    "text",
    [
        "1763726400",  # a time
        "1763726400123",
        "23800138000",
        "0.13800138000",
        "a13800138000",
        "13800138000.5",
        "3f13800138000b",  # a digest
        "200 300 4000",
        "+1",
        "115-555-2671",
        "version 1.2.3",
    ],
)
def test_what_only_looks_like_a_telephone_number_is_not(text: str) -> None:
    assert found("phone", text) == []


digits = st.text(string.digits, min_size=12, max_size=18)


@settings(deadline=None)
@given(digits)
def test_one_digit_of_ten_passes_luhn(payload: str) -> None:
    assert sum(passes_luhn(payload + check) for check in string.digits) == 1


@settings(deadline=None)
@given(st.dates().filter(lambda day: 1900 <= day.year < 2100), st.integers(0, 999))
def test_one_check_of_eleven_makes_a_resident_id(birthday: date, number: int) -> None:
    payload = f"110105{birthday:%Y%m%d}{number:03}"
    assert sum(is_resident_id(payload + check) for check in "0123456789X") == 1


@pytest.mark.parametrize("kind", DETECTORS)
@pytest.mark.parametrize(
    "piece", ["1 ", "4111 ", "4", "a@", "@", "+1 ", "(4", "13800138", "A1", "0-", "ssn "]
)
def test_no_text_takes_long(kind: Kind, piece: str) -> None:
    text = piece * (20_000 // len(piece))
    started = time.process_time()
    found(kind, text)
    assert time.process_time() - started < 0.5
