//! Parses the `Range` field.

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The whole file: there is no range, or one that may be ignored (RFC 9110, 14.2).
    Whole,
    /// `length` bytes from `start`.
    Part {
        /// The offset of the first byte.
        start: u64,
        /// How many bytes; at least one.
        length: u64,
    },
    /// A range that begins behind the end.
    Unsatisfiable,
}

impl Wanted {
    /// Reads the field's value for a file of `size` bytes. Several ranges, other units and malformed
    /// values ask for the whole file.
    pub fn parse(value: &str, size: u64) -> Self {
        let unit = value.get(..6).is_some_and(|unit| unit.eq_ignore_ascii_case("bytes="));
        let range = if unit { value[6..].trim().split_once('-') } else { None };
        let Some((first, last)) = range else { return Self::Whole };
        match (number(first), number(last)) {
            (Number::None, Number::Some(0)) => Self::Unsatisfiable,
            (Number::None, Number::Some(length)) => Self::part(size.saturating_sub(length), size),
            (Number::Some(start), Number::None) => Self::part(start, size),
            (Number::Some(start), Number::Some(last)) if start <= last => {
                Self::part(start, size.min(last.saturating_add(1)))
            }
            _ => Self::Whole,
        }
    }

    fn part(start: u64, end: u64) -> Self {
        match end.checked_sub(start) {
            None | Some(0) => Self::Unsatisfiable,
            Some(length) => Self::Part { start, length },
        }
    }
}

enum Number {
    None,
    Some(u64),
    Bad,
}

fn number(text: &str) -> Number {
    match text {
        "" => Number::None,
        _ if !text.bytes().all(|byte| byte.is_ascii_digit()) => Number::Bad,
        // A number that does not fit is larger than any file.
        _ => Number::Some(text.parse().unwrap_or(u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_single_range_is_served_and_others_are_ignored() {
        let part = |start, length| Wanted::Part { start, length };
        for (value, wanted) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=0-", part(0, 10)),
            ("Bytes=5-100", part(5, 5)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-30", part(0, 10)),
            ("bytes=9-99999999999999999999999", part(9, 1)),
            ("bytes=10-", Wanted::Unsatisfiable),
            ("bytes=10-12", Wanted::Unsatisfiable),
            ("bytes=-0", Wanted::Unsatisfiable),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=4-3", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=a-b", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("", Wanted::Whole),
            ("é", Wanted::Whole),
        ] {
            assert_eq!(Wanted::parse(value, 10), wanted, "{value}");
        }
        assert_eq!(Wanted::parse("bytes=0-", 0), Wanted::Unsatisfiable);
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_file(value in "(bytes=)?[0-9,-]{0,24}", size: u64) {
            if let Wanted::Part { start, length } = Wanted::parse(&value, size) {
                prop_assert!(length > 0 && start < size && length <= size - start);
            }
        }
    }
}
