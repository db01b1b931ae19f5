//! Panics as errors: a mistake of ours ends what it happened in, and not what would have told of it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Characters of a panic's message that an error carries.
const LONGEST: usize = 300;

/// Calls `work`. Who goes on after its panic must not use what it was changing.
///
/// # Errors
/// What it panicked with, as one line.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = format!("internal error: {}", message(payload.as_ref()));
        // What somebody panics with may panic when it is dropped.
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
