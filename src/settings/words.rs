//! Splits text into words like a shell.

/// Checks that a text has no control characters.
///
/// # Errors
/// When it has one.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        return Err("must not contain control characters".into());
    }
    Ok(())
}

/// Splits options into words like a shell, without any expansion.
///
/// # Errors
/// When a quote is not closed.
pub(crate) fn split_words(text: &str) -> Result<Vec<String>, String> {
    check_text(text)?;
    shell_words::split(text).map_err(|_| "has a quote that is not closed".into())
}
