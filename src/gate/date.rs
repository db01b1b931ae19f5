//! Dates in header fields.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const FORM: &str = "%a, %d %b %Y %H:%M:%S GMT";
/// The obsolete forms, which must still be accepted (RFC 9110, 5.6.7).
const OBSOLETE: [&str; 2] = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// Formats Unix seconds as HTTP prefers (RFC 9110, 5.6.7).
pub fn format(seconds: i64) -> String {
    let time = Timestamp::from_second(seconds).unwrap_or_default();
    time.to_zoned(TimeZone::UTC).strftime(FORM).to_string()
}

/// Parses a date in that form or an obsolete one, as Unix seconds. `None` for anything else.
pub fn parse(text: &str) -> Option<i64> {
    let mut forms = [FORM].into_iter().chain(OBSOLETE);
    let civil = forms.find_map(|form| DateTime::strptime(form, text.trim()).ok())?;
    civil.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_and_read_as_http_has_it() {
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse("Sun Nov  6 08:49:37 1994"), Some(784_111_777));
        assert_eq!(parse("Wed Nov 16 08:49:37 1994"), Some(784_975_777));
        for none in ["soon", "", "Sun, 06 Nov 1994 08:49:37", "Sun, 36 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
