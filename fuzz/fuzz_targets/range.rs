//! The `Range` field: the first eight bytes are the file's size, the rest is the value.

#![no_main]

use backupgram::http::download::range::Wanted;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((size, value)) = bytes.split_first_chunk::<8>() else { return };
    let Ok(value) = std::str::from_utf8(value) else { return };
    let size = u64::from_le_bytes(*size);
    let wanted = Wanted::parse(value, size);
    assert_eq!(wanted, by_the_book(value, size), "{value:?} of {size} bytes");
    if let Wanted::Part { start, length } = wanted {
        assert!(length > 0 && start < size && length <= size - start);
        let spelled_out = format!("bytes={start}-{}", start + length - 1);
        assert_eq!(Wanted::parse(&spelled_out, size), wanted, "{spelled_out}");
    }
});

/// RFC 9110, 14.1.2 and 14.2, in numbers that cannot overflow.
fn by_the_book(value: &str, size: u64) -> Wanted {
    let size = u128::from(size);
    let Some(unit) = value.get(..6).filter(|unit| unit.eq_ignore_ascii_case("bytes=")) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = value[unit.len()..].trim().split_once('-') else { return Wanted::Whole };
    let (Some(first), Some(last)) = (number(first), number(last)) else { return Wanted::Whole };
    let (start, end) = match (first, last) {
        (None, None) => return Wanted::Whole,
        (None, Some(suffix)) => (size.saturating_sub(suffix), size),
        (Some(start), None) => (start, size),
        (Some(start), Some(last)) if start > last => return Wanted::Whole,
        (Some(start), Some(last)) => (start, size.min(last + 1)),
    };
    if start >= end {
        return Wanted::Unsatisfiable;
    }
    let narrow = |number: u128| u64::try_from(number).expect("a place in the file");
    Wanted::Part { start: narrow(start), length: narrow(end - start) }
}

/// A number, nothing at all, or `None` for what is neither. No file has the bytes that the parser rounds
/// larger numbers down to.
fn number(digits: &str) -> Option<Option<u128>> {
    if digits.is_empty() {
        return Some(None);
    }
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| Some(digits.parse().unwrap_or(u128::MAX).min(u128::from(u64::MAX))))
}
