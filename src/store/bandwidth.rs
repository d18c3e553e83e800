//! Limits of bandwidth, and how long a request of some length may take.
//!
//! All requests of a store share a [`Line`] for each direction: who wants to move bytes waits until those before him are
//! through at the rate of the line.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// What any request is given, beside the time for its bytes.
const LIMIT_LEAST: Duration = Duration::from_secs(60);
/// The slowest line that is still waited for, in bytes a second.
const SLOWEST: u64 = 64 << 10;
/// The pieces in which bytes move on a line with a limit, in bytes: eight a second, within these bounds.
const PIECE_LEN: (u64, u64) = (1 << 10, 64 << 10);

/// The rates that uploads and downloads keep to; none is kept by default.
#[derive(Debug, Clone, Default)]
pub(super) struct Bandwidth {
    /// From here to the server.
    pub upload: Option<Arc<Line>>,
    /// From the server to here.
    pub download: Option<Arc<Line>>,
}

impl Bandwidth {
    /// Rates in bytes a second, which this many requests share at the most.
    pub(super) fn new(upload: Option<u64>, download: Option<u64>, requests: usize) -> Self {
        let line = |rate: u64| Arc::new(Line::new(rate, requests));
        Self { upload: upload.map(line), download: download.map(line) }
    }
}

/// How long a request may take that moves this many bytes, on a line with a limit or without one.
pub(super) fn time_limit(len: u64, line: Option<&Line>) -> Duration {
    let slowest = line.map_or(SLOWEST, |line| SLOWEST.min(line.rate / line.requests)).max(1);
    LIMIT_LEAST + Duration::from_secs(len / slowest)
}

/// One direction of a connection, with a rate.
#[derive(Debug)]
pub(super) struct Line {
    /// Bytes a second.
    rate: u64,
    /// How many share it.
    requests: u64,
    /// When all that was let through will have passed.
    free_at: Mutex<Option<Instant>>,
}

impl Line {
    fn new(rate: u64, requests: usize) -> Self {
        Self { rate: rate.max(1), requests: (requests as u64).max(1), free_at: Mutex::new(None) }
    }

    /// Waits until so many bytes have passed, behind those who came before.
    pub(super) async fn pass(&self, len: usize) {
        let until = {
            let (mut free_at, now) = (self.free_at.lock(), Instant::now());
            let start = free_at.map_or(now, |free| free.max(now));
            let until = start + Duration::from_secs_f64(len as f64 / self.rate as f64);
            *free_at = Some(until);
            until
        };
        sleep_until(until).await;
    }

    /// The bytes in pieces, each handed out when it may pass.
    pub(super) fn paced(self: Arc<Self>, bytes: Vec<Bytes>) -> impl Stream<Item = Bytes> + Send + 'static {
        let piece_len = (self.rate / 8).clamp(PIECE_LEN.0, PIECE_LEN.1) as usize;
        let pieces = bytes.into_iter().flat_map(move |bytes| {
            let starts = (0..bytes.len()).step_by(piece_len);
            starts.map(move |at| bytes.slice(at..bytes.len().min(at + piece_len))).collect::<Vec<_>>()
        });
        stream::iter(pieces).then(move |piece| {
            let line = self.clone();
            async move {
                line.pass(piece.len()).await;
                piece
            }
        })
    }
}

/// All bytes of an answer, no faster than `line` lets them through.
pub(super) async fn collected<E>(answer: impl Stream<Item = Result<Bytes, E>>, line: &Line) -> Result<Bytes, E> {
    let mut answer = std::pin::pin!(answer);
    let mut all: Vec<u8> = Vec::new();
    while let Some(piece) = answer.try_next().await? {
        line.pass(piece.len()).await;
        all.extend_from_slice(&piece);
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(work: impl Future<Output = ()>) -> f64 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let began = Instant::now();
            work.await;
            began.elapsed().as_secs_f64()
        })
    }

    #[test]
    fn what_shares_a_line_shares_its_rate() {
        let took = seconds(async {
            let line = Arc::new(Line::new(1000, 2));
            tokio::join!(line.pass(500), line.pass(1500), line.pass(1000));
        });
        assert!((2.9..3.1).contains(&took), "{took}");
    }

    #[test]
    fn bytes_come_through_in_order_and_at_the_rate() {
        let all: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        let bytes = vec![Bytes::copy_from_slice(&all[..70_000]), Bytes::new(), Bytes::copy_from_slice(&all[70_000..])];
        let mut found = Vec::new();
        let took = seconds(async {
            let line = Arc::new(Line::new(100_000, 1));
            let pieces: Vec<Bytes> = line.clone().paced(bytes).collect().await;
            assert!(pieces.len() > 10 && pieces.iter().all(|p| !p.is_empty()));
            let answer = stream::iter(pieces.into_iter().map(Ok::<_, ()>));
            found = collected(answer, &Line::new(1 << 40, 1)).await.unwrap().to_vec();
        });
        assert!(found == all);
        assert!((1.9..2.1).contains(&took), "{took}");
    }

    #[test]
    fn a_pack_on_a_slow_line_has_minutes_and_a_record_one() {
        assert_eq!(time_limit(0, None), Duration::from_secs(60));
        assert_eq!(time_limit(32 << 20, None), Duration::from_secs(60 + 512));
        // A limit that was asked for is no reason to give up.
        let line = Line::new(80 << 10, 8);
        assert_eq!(time_limit(32 << 20, Some(&line)), Duration::from_secs(60 + 3276));
        assert_eq!(time_limit(32 << 20, Some(&Line::new(1 << 30, 8))), Duration::from_secs(60 + 512));
    }
}
