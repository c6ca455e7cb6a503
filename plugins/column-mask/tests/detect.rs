//! What each detector finds, and the look-alikes that it leaves alone.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use chaperone_plugin_column_mask::detect::{Confidence, ContentRule, Detector, MAX_FOUND, Scan, Scanner};
use chaperone_plugin_column_mask::strategy::Strategy;

fn scanner(detector: Detector) -> Scanner {
    Scanner::new(vec![ContentRule { detector, strategy: Strategy::Redact }])
}

fn found(scanner: &Scanner, text: &str) -> Vec<String> {
    match scanner.scan(text.as_bytes()) {
        Scan::Parts(parts) => parts.into_iter().map(|part| text[part.range].to_owned()).collect(),
        Scan::TooMany => panic!("too many"),
    }
}

/// In each text what stands between ⟨ and ⟩ must be found, and nothing else.
#[track_caller]
fn check(detector: Detector, texts: &[&str]) {
    let scanner = scanner(detector);
    for marked in texts {
        let expected: Vec<String> =
            marked.split('⟨').skip(1).map(|part| part.split('⟩').next().unwrap().to_owned()).collect();
        let text = marked.replace(['⟨', '⟩'], "");
        assert_eq!(found(&scanner, &text), expected, "{text}");
    }
}

#[test]
fn cards() {
    check(
        Detector::Card(Confidence::High),
        &[
            "⟨4111111111111111⟩",
            "⟨4111 1111 1111 1111⟩",
            "⟨4111-1111-1111-1111⟩",
            "Visa, 13 digits: ⟨4222222222222⟩",
            "⟨378282246310005⟩ and ⟨3782 822463 10005⟩, American Express",
            "⟨5555555555554444⟩, ⟨2223003122003222⟩, Mastercard",
            "⟨30569309025904⟩ Diners, ⟨6011111111111117⟩ Discover, ⟨3530111333300000⟩ JCB",
            "⟨6304000000000000⟩ Maestro",
            "card:⟨4111111111111111⟩;",
            "1,⟨4111111111111111⟩,2",
            "on 2024-01-01 ⟨4111111111111111⟩",
            "{\"n\":\"⟨4111111111111111⟩\"}",
            "⟨4111111111111111⟩.00",
            "número ⟨4111111111111111⟩é",
            "two: ⟨4111111111111111⟩ ⟨5555555555554444⟩",
            // One digit off: Luhn fails.
            "4111111111111112",
            "4111 1111 1111 1112",
            // Right Luhn digit, no issuer.
            "1234567812345670",
            "0000000000000000",
            // Wrong length for the issuer.
            "55555555555555",
            // Part of something longer.
            "94111111111111111",
            "41111111111111110000",
            "x4111111111111111",
            "4111111111111111f",
            "id_deadbeef4111111111111111cafe",
            "0.4111111111111111",
            // Other groups than those of a card, other separators.
            "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "4111  1111  1111  1111",
            "4111/1111/1111/1111",
            "",
            "4111",
            "4111-",
        ],
    );
}

#[test]
fn cards_with_low_confidence() {
    check(
        Detector::Card(Confidence::Low),
        &[
            "x⟨4111111111111111⟩f",
            "⟨1234567812345670⟩",
            "⟨41 11 11 11 11 11 11 11⟩",
            "4111111111111112",
            "94111111111111111",
            "0.4111111111111111",
            "0000000000000000",
        ],
    );
}

#[test]
fn social_security_numbers() {
    check(
        Detector::Ssn(Confidence::High),
        &[
            "⟨123-45-6789⟩",
            "his is ⟨123-45-6789⟩, hers ⟨899-01-0001⟩.",
            "ssn-⟨123-45-6789⟩",
            "(⟨123-45-6789⟩)",
            // Never given out.
            "000-45-6789",
            "666-45-6789",
            "900-45-6789",
            "999-45-6789",
            "123-00-6789",
            "123-45-0000",
            // Other things.
            "123456789",
            "123 45 6789",
            "123-456-789",
            "1123-45-6789",
            "123-45-67890",
            "123-45-6789-1",
            "1-123-45-6789",
            "x123-45-6789",
            "123-45-6789x",
            "123-45 6789",
            "123-45-678",
        ],
    );
    check(
        Detector::Ssn(Confidence::Low),
        &["x⟨123-45-6789⟩x", "⟨123 45 6789⟩", "123456789", "000 45 6789", "123 45-6789"],
    );
}

#[test]
fn email_addresses() {
    check(
        Detector::Email(Confidence::High),
        &[
            "⟨alice@example.com⟩",
            "Alice <⟨alice.b+tag@mail.example.co.uk⟩>, ⟨bob@example.org⟩.",
            "mailto:⟨a_b%c@example.com⟩?subject=x",
            "{\"mail\":\"⟨a@b.io⟩\"}",
            "{⟨a@b.io⟩,⟨c@d.io⟩}",
            "user=⟨a@b.io⟩",
            "⟨josé@exämple.de⟩",
            "⟨post@xn--bcher-kva.xn--p1ai⟩",
            "...⟨a@b.io⟩...",
            "⟨a@b.io⟩_x",
            "⟨a@b.io⟩.123",
            "⟨O'Neil@example.com⟩",
            "root@localhost",
            "@example.com",
            "a@.com",
            "a@b",
            "a@b.c",
            "a@10.0.0.1",
            "x @ y.com",
            "..@b.io",
            "@",
        ],
    );
    check(Detector::Email(Confidence::Low), &["⟨root@localhost⟩", "⟨a@10⟩.0.0.1", "⟨a@b.io⟩", "@home", "a@"]);
}

#[test]
fn bank_accounts() {
    check(
        Detector::Iban(Confidence::High),
        &[
            "⟨DE44500105175407324931⟩",
            "⟨DE44 5001 0517 5407 3249 31⟩ EUR 20",
            "⟨de44500105175407324931⟩",
            "⟨GB82WEST12345698765432⟩",
            "⟨MT84MALT011000012345MTLCAST001S⟩",
            "to ⟨NO9386011117947⟩, ⟨FR14 2004 1010 0505 0001 3M02 606⟩.",
            "DE45500105175407324931",
            "DE4450010517540732493",
            "DE445001051754073249311",
            "XX44500105175407324931",
            "XDE44500105175407324931",
            "DE44  5001 0517 5407 3249 31",
            "DE44",
            "AB12CD34EF56GH78IJ90",
        ],
    );
    check(Detector::Iban(Confidence::Low), &["X⟨DE44500105175407324931⟩X", "DE55500105175507325931"]);
}

#[test]
fn telephone_numbers() {
    check(
        Detector::phone(Confidence::High).unwrap(),
        &[
            "⟨+14155552671⟩",
            "⟨+1 (415) 555-2671⟩",
            "⟨+49 30 901820⟩",
            "⟨+49 (0) 30 901820⟩",
            "⟨+49-30-901820⟩, ⟨+44 20 7946 0958⟩",
            "⟨0049 30 901820⟩",
            "⟨(415) 555-2671⟩",
            "call ⟨415-555-2671⟩ or ⟨415.555.2671⟩!",
            "⟨1-415-555-2671⟩",
            "⟨+1 415 555 2671⟩ 20240101",
            "+1234",
            "415 555 2671",
            "4155552671",
            "00493090182012",
            "0123456789",
            "030 901820",
            "115-555-2671",
            "415-155-2671",
            "1415-555-26711",
            "x415-555-2671",
            "2024-11-21 04:44:00+00",
            "2024-11-21 04:44:00.123456+02",
            "at 04:44:00 1234 5678",
            "10.200.300.4000",
            "+1234567890123456789",
            "a+4155552671b",
        ],
    );
    check(
        Detector::phone(Confidence::Low).unwrap(),
        &[
            "⟨415 555 2671⟩",
            "⟨4155552671⟩",
            "⟨00493090182012⟩",
            "⟨030 9018201⟩",
            "⟨(030) 901820-1⟩",
            "01-02-2024",
            "123456789",
        ],
    );
}

#[test]
fn custom_patterns() {
    check(
        Detector::custom(r"\bEMP-\d{6}\b").unwrap(),
        &["⟨EMP-123456⟩ ⟨EMP-654321⟩", "EMP-1234567", "TEMP-123456"],
    );
    check(Detector::custom("(?i)geheim").unwrap(), &["streng ⟨GEHEIM⟩", "geh eim"]);
    check(Detector::custom("ä+").unwrap(), &["x⟨ää⟩x", "a"]);
}

#[test]
fn custom_patterns_have_bounds() {
    for (pattern, message) in [
        ("", "must have 1 to 1000 bytes"),
        (&"a".repeat(1001), "must have 1 to 1000 bytes"),
        ("(", "is no regular expression"),
        ("a*", "matches the empty text"),
        (r"(?:\w{50}){50}", "is too large: it compiles to over 262144 bytes"),
    ] {
        let error = Detector::custom(pattern).err().unwrap();
        assert!(error.contains(message), "{pattern}: {error}");
    }
}

#[test]
fn findings_that_overlap_become_one_and_the_strictest_strategy_hides_it() {
    let rule =
        |pattern: &str, strategy| ContentRule { detector: Detector::custom(pattern).unwrap(), strategy };
    let scanner = Scanner::new(vec![
        rule("abc", Strategy::Partial),
        rule("cde", Strategy::Redact),
        rule("def", Strategy::Hash),
        rule("x", Strategy::Partial),
        rule("y", Strategy::Null),
    ]);
    let Scan::Parts(parts) = scanner.scan(b"-abcdef-xy") else { panic!() };
    let parts: Vec<_> = parts.into_iter().map(|part| (part.range, part.strategy)).collect();
    assert_eq!(parts, [(1..7, Strategy::Redact), (8..9, Strategy::Partial), (9..10, Strategy::Null)]);
}

#[test]
fn what_is_no_utf8_is_searched_as_well() {
    let scanner = scanner(Detector::Card(Confidence::High));
    let Scan::Parts(parts) = scanner.scan(b"\xff\xfe4111111111111111\xff") else { panic!() };
    assert_eq!(parts[0].range, 2..18);
}

#[test]
fn findings_in_one_value_are_bounded() {
    let scanner = scanner(Detector::custom("x").unwrap());
    assert!(
        matches!(scanner.scan("x".repeat(MAX_FOUND).as_bytes()), Scan::Parts(parts) if parts.len() == MAX_FOUND)
    );
    assert_eq!(scanner.scan("x".repeat(MAX_FOUND + 1).as_bytes()), Scan::TooMany);
}
