//! Cutting content into chunks where the content says so.
//!
//! FastCDC (Xia et al., USENIX ATC 2016) over a gear table made from a secret key, so that cut points do not
//! give content away. Masks are of the hash's top bits, where all of the last 63 bytes have a say. The same
//! bytes under the same key and sizes are always cut alike: golden vectors in the tests pin it, because a
//! change here would end deduplication against every existing repository.

use fastcdc::v2020::cut_gear;

use super::crypto::secret::Secret;

/// Sizes of a chunker in bytes: powers of two, `min` < `avg` < `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkSizes {
    /// No chunk is smaller, but the last.
    pub min: u32,
    /// The length after which cutting becomes easier. The mean comes out 1.4 to 1.8 times as long.
    pub avg: u32,
    /// No chunk is larger.
    pub max: u32,
}

/// Sizes outside what can be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("chunk sizes {}/{}/{} are not ascending powers of two between 1 KiB and 16 MiB", .0.min, .0.avg, .0.max)]
pub struct BadChunkSizes(pub ChunkSizes);

impl ChunkSizes {
    /// Checks that the sizes are ascending powers of two within 1 KiB and 16 MiB.
    pub fn check(self) -> Result<Self, BadChunkSizes> {
        let sizes = [self.min, self.avg, self.max];
        let fine = sizes.iter().all(|s| s.is_power_of_two() && (1 << 10..=16 << 20).contains(s))
            && self.min < self.avg
            && self.avg < self.max;
        if fine { Ok(self) } else { Err(BadChunkSizes(self)) }
    }
}

/// How many more bits must vanish before `avg` is reached, and how many fewer after it.
const NORMALIZATION: u32 = 2;

/// The 256 secret numbers that stand for byte values.
#[derive(Clone)]
pub struct GearTable {
    gear: Box<[u64; 256]>,
    /// The same, shifted left by one: `cut_gear` takes two bytes at a step.
    gear_ls: Box<[u64; 256]>,
}

impl GearTable {
    /// The table of a domain.
    pub fn new(chunker_key: &Secret) -> Self {
        let mut bytes = [0u8; 2048];
        chunker_key.derive_into("strongroom 2026-11 gear table", b"", &mut bytes);
        let mut gear = Box::new([0u64; 256]);
        for (g, b) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
            *g = u64::from_le_bytes(b.try_into().expect("chunks of eight bytes"));
        }
        let gear_ls = Box::new(gear.map(|g| g << 1));
        Self { gear, gear_ls }
    }
}

impl std::fmt::Debug for GearTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GearTable(..)")
    }
}

/// Cuts with one table and one set of sizes.
#[derive(Debug, Clone)]
pub struct Chunker {
    table: GearTable,
    sizes: ChunkSizes,
    mask_small: u64,
    mask_large: u64,
}

impl Chunker {
    /// A chunker; the sizes must have been checked.
    pub fn new(table: GearTable, sizes: ChunkSizes) -> Self {
        let bits = sizes.avg.ilog2();
        Self { table, sizes, mask_small: top_bits(bits + NORMALIZATION), mask_large: top_bits(bits - NORMALIZATION) }
    }

    /// The sizes.
    pub fn sizes(&self) -> ChunkSizes {
        self.sizes
    }

    /// Length of the first chunk of `data`.
    ///
    /// If `data` is shorter than the largest chunk, it must be all that is left: a cut at its end would
    /// otherwise depend on where the reader happened to stop.
    pub fn cut(&self, data: &[u8]) -> usize {
        let (_, at) = cut_gear(
            data,
            self.sizes.min as usize,
            self.sizes.avg as usize,
            self.sizes.max as usize,
            self.mask_small,
            self.mask_large,
            self.mask_small << 1,
            self.mask_large << 1,
            &self.table.gear[..],
            &self.table.gear_ls[..],
        );
        at
    }
}

/// `bits` ones below the highest bit. The highest itself is left out: `cut_gear` tests every other byte on
/// the hash shifted left by one, where it would be lost.
fn top_bits(bits: u32) -> u64 {
    ((1u64 << bits) - 1) << (63 - bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::system::{Scripted, System};

    const FINE: ChunkSizes = ChunkSizes { min: 2 << 10, avg: 8 << 10, max: 32 << 10 };

    fn data(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        Scripted::new(0, 1).fill_random(&mut out);
        out
    }

    fn cuts(chunker: &Chunker, mut data: &[u8]) -> Vec<usize> {
        let mut lens = vec![];
        while !data.is_empty() {
            let n = chunker.cut(data);
            lens.push(n);
            data = &data[n..];
        }
        lens
    }

    fn chunker(key: u8) -> Chunker {
        Chunker::new(GearTable::new(&Secret::new([key; 32])), FINE)
    }

    /// These lengths are a promise to every repository that exists. If this test fails, the change that
    /// broke it must be taken back: nothing would deduplicate against what is stored.
    #[test]
    fn golden_cuts() {
        let lens = cuts(&chunker(1), &data(200_000));
        assert_eq!(&lens[..8], GOLDEN);
    }
    const GOLDEN: &[usize] = &[9390, 8965, 8368, 10560, 2431, 2088, 5877, 8689];

    #[test]
    fn sizes_are_kept_and_the_mean_is_as_documented() {
        let data = data(8 << 20);
        let lens = cuts(&chunker(1), &data);
        assert_eq!(lens.iter().sum::<usize>(), data.len());
        let (last, rest) = lens.split_last().unwrap();
        assert!(*last <= FINE.max as usize);
        assert!(rest.iter().all(|&n| (FINE.min as usize..=FINE.max as usize).contains(&n)));
        let mean = data.len() / lens.len();
        assert!((8 << 10..15 << 10).contains(&mean), "mean {mean}");
    }

    #[test]
    fn another_key_cuts_elsewhere_and_an_insertion_shifts_only_its_neighbourhood() {
        let mut bytes = data(1 << 20);
        let before = cuts(&chunker(1), &bytes);
        assert_ne!(before, cuts(&chunker(2), &bytes));
        bytes.splice(500_000..500_000, *b"inserted");
        let after = cuts(&chunker(1), &bytes);
        let same_tail = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| a == b).count();
        assert!(same_tail > before.len() / 3);
    }

    #[test]
    fn sizes_that_are_no_powers_of_two_or_out_of_order_are_refused() {
        assert!(FINE.check().is_ok());
        assert!(ChunkSizes { min: 3000, ..FINE }.check().is_err());
        assert!(ChunkSizes { min: 8 << 10, ..FINE }.check().is_err());
        assert!(ChunkSizes { max: 32 << 20, ..FINE }.check().is_err());
    }
}
