//! A ping: a request to an address that waits for it, such as those of healthchecks.

use std::time::Duration;

/// How long an address may take to answer: 10 seconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Characters of what an address answers that are told.
const ANSWER_LEN_MAX: usize = 200;

/// Asks `url`: with GET, or with POST if there is something to say. An error says why that failed, without the address:
/// it may be a secret.
pub fn ping(url: &str, body: Option<String>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let plain = |e: reqwest::Error| reason(&e.without_url());
        let client = reqwest::Client::builder().timeout(TIMEOUT).build().map_err(plain)?;
        let request = match body {
            Some(body) => client.post(url).body(body),
            None => client.get(url),
        };
        let answer = request.send().await.map_err(plain)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text: String = answer.text().await.unwrap_or_default().chars().take(ANSWER_LEN_MAX).collect();
        Err(format!("it answered {status}: {}", text.lines().next().unwrap_or_default()))
    })
}

/// The error and what caused it.
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("it did not answer within {} s", TIMEOUT.as_secs());
    }
    crate::primitives::error_chain::error_chain(error)
}
