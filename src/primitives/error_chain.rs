//! An error with its causes, as one line of text: for findings and reports.

/// The error's text and those of its causes, outermost first, joined by colons. A cause that the text before it says
/// already is left out: some libraries repeat theirs.
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
