//! zstd, or nothing: how the bytes of a frame are made smaller.
//!
//! A cheap look at a sample decides whether compressing is worth the time; what does not get smaller is
//! stored as it is. Decompression never writes more than the caller expects.

use std::cell::RefCell;

use zstd::zstd_safe::{CCtx, CParameter, DCtx, get_error_name};

/// How a frame's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// As they are.
    Stored,
    /// One zstd frame.
    Zstd,
}

/// Compressed bytes that do not decompress to what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("compressed data is damaged: {0}")]
pub struct Corrupt(String);

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// How much time is spent on making data smaller. What does not compress is stored as it is with any of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionLevel {
    /// Nothing is compressed.
    Off,
    /// zstd level 1.
    Fast,
    /// zstd level 3.
    #[default]
    Default,
    /// zstd level 19. Of 34 MB of text and programs it stored 5.7 MB where level 3 stored 7.0, in 7.0 s of processor time
    /// instead of 0.35 (`backup --compression max` and `default`, medians of three).
    Max,
}

impl CompressionLevel {
    /// The level of zstd; 0 stores data as it is.
    pub fn zstd(self) -> i32 {
        match self {
            Self::Off => 0,
            Self::Fast => 1,
            Self::Default => 3,
            Self::Max => 19,
        }
    }
}

/// Appends `data`, compressed at `level`, to `out`; stored if that is not smaller by at least one part in 64.
pub fn compress(data: &[u8], level: i32, out: &mut Vec<u8>) -> Codec {
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(data.len()), 0);
    let written = COMPRESSOR.with_borrow_mut(|ctx| {
        ctx.set_parameter(CParameter::CompressionLevel(level)).ok()?;
        ctx.set_parameter(CParameter::ContentSizeFlag(false)).ok()?;
        ctx.compress2(&mut out[start..], data).ok()
    });
    match written {
        Some(n) if n < data.len() - data.len() / 64 => {
            out.truncate(start + n);
            Codec::Zstd
        }
        _ => {
            out.truncate(start);
            out.extend_from_slice(data);
            Codec::Stored
        }
    }
}

/// The `raw_len` bytes that `data` stands for; `prefix` is the base it was compressed with, empty if none.
pub fn decompress(data: &[u8], codec: Codec, raw_len: usize, prefix: &[u8]) -> Result<Vec<u8>, Corrupt> {
    match codec {
        Codec::Stored if data.len() == raw_len => Ok(data.to_vec()),
        Codec::Stored => Err(Corrupt(format!("{} bytes stored instead of {raw_len}", data.len()))),
        Codec::Zstd => {
            let mut out = vec![0; raw_len];
            let written = if prefix.is_empty() {
                DECOMPRESSOR.with_borrow_mut(|ctx| ctx.decompress(&mut out[..], data))
            } else {
                let mut ctx = DCtx::create();
                ctx.ref_prefix(prefix).and_then(|_| ctx.decompress(&mut out[..], data))
            };
            match written {
                Ok(n) if n == raw_len => Ok(out),
                Ok(n) => Err(Corrupt(format!("{n} bytes instead of {raw_len}"))),
                Err(code) => Err(Corrupt(get_error_name(code).to_owned())),
            }
        }
    }
}

/// Whether `sample` looks as if compressing it were worth the time.
///
/// Tries zstd level 1 on it (lower ones leave literals as they are, and would take hex and base64 for noise); worth it if
/// at least one part in 16 is saved.
pub fn looks_compressible(sample: &[u8]) -> bool {
    if sample.len() < 64 {
        return true;
    }
    let mut out = vec![0u8; zstd::zstd_safe::compress_bound(sample.len())];
    let n = COMPRESSOR.with_borrow_mut(|ctx| {
        ctx.set_parameter(CParameter::CompressionLevel(1)).ok()?;
        ctx.compress2(&mut out[..], sample).ok()
    });
    n.is_none_or(|n| n < sample.len() - sample.len() / 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::system::{Scripted, System};

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        Scripted::new(0, 7).fill_random(&mut out);
        out
    }

    #[test]
    fn data_comes_back_whatever_the_codec() {
        let text = b"the same words again and again, ".repeat(500);
        for (data, codec) in [(text, Codec::Zstd), (noise(5000), Codec::Stored), (vec![], Codec::Stored)] {
            let mut out = vec![9];
            assert_eq!(compress(&data, 3, &mut out), codec);
            assert_eq!(decompress(&out[1..], codec, data.len(), b"").unwrap(), data);
            assert!(decompress(&out[1..], codec, data.len() + 1, b"").is_err());
        }
    }

    #[test]
    fn a_frame_that_claims_too_little_is_refused() {
        let mut out = vec![];
        compress(&[0; 100_000], 3, &mut out);
        assert!(decompress(&out, Codec::Zstd, 10, b"").is_err());
    }

    #[test]
    fn a_base_is_followed() {
        let base = noise(20_000);
        let mut ctx = CCtx::create();
        ctx.ref_prefix(&base).unwrap();
        let mut out = vec![0; 30_000];
        // A copy: zstd drops the part of a prefix that overlaps its input in memory.
        let data = base[5000..].to_vec();
        let n = ctx.compress2(&mut out[..], &data).unwrap();
        assert!(n < 1000, "{n}");
        assert_eq!(decompress(&out[..n], Codec::Zstd, 15_000, &base).unwrap(), base[5000..]);
        assert!(decompress(&out[..n], Codec::Zstd, 15_000, b"").is_err());
    }

    #[test]
    fn the_probe_tells_text_from_noise() {
        assert!(looks_compressible(&b"select * from t where a = 1;\n".repeat(1000)));
        assert!(!looks_compressible(&noise(64 << 10)));
        let hex: Vec<u8> = noise(8 << 10).iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect();
        assert!(looks_compressible(&hex), "hex is half empty");
    }
}
