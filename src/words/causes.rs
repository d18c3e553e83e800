//! An error with its causes, as one line of text: for findings and reports.

/// The error's text and those of its causes, outermost first, joined by colons.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
