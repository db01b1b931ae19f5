//! Turns panics into errors, so that a bug ends only the work it occurs in and can still be reported.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longest panic message in an error, in characters.
const LONGEST: usize = 300;

/// Calls `work`. After a panic the caller must not use data that `work` was changing.
///
/// # Errors
/// The panic's message as one line.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = format!("internal error: {}", message(payload.as_ref()));
        // Dropping the payload may panic again.
        std::mem::forget(payload);
        message
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let line = text.unwrap_or("no message").split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_one_line() {
        assert_eq!(catch(|| 5), Ok(5));
        let failed = |work: fn()| catch(work).unwrap_err();
        assert_eq!(failed(|| panic!("no\n  way")), "internal error: no way");
        assert_eq!(failed(|| std::panic::panic_any(7)), "internal error: no message");
        let number = failed(|| {
            let number: Result<i32, _> = "x".parse::<i32>();
            number.unwrap();
        });
        assert!(number.contains("InvalidDigit"), "{number}");
    }
}
