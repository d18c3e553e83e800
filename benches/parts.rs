//! What a backup and a restore spend their time on, part by part: `cargo bench --bench parts`.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};

use strongroom::cache::Cache;
use strongroom::cache::chunk_ids::ChunkFinder;
use strongroom::chunking::{Chunker, GearTable};
use strongroom::crypto::keys::{Domain, DomainKeys, Epoch};
use strongroom::crypto::secret::Secret;
use strongroom::format::config::Parameters;
use strongroom::format::directory::ChunkEntry;
use strongroom::format::envelope::ENVELOPE_LEN;
use strongroom::format::names::PackKind;
use strongroom::format::pack::{CompressedFrame, Pack, PackReader, PackWriter};
use strongroom::format::sealed::Sealing;
use strongroom::format::segment::{PackSummary, SegmentContent};
use strongroom::format::tree::{Content, FileNode, FileTime, Metadata, Node, NodeKind, Owner, TreeNode};
use strongroom::primitives::ids::{BlockId, ChunkId, ContentId, Extent, Reference, RepositoryId, RunId};

#[path = "../tests/it/harness/mod.rs"]
mod harness;

fn main() {
    divan::main();
}

const LEN: usize = 32 << 20;
const BLOCK_LEN: usize = 1 << 20;

fn secret() -> Secret {
    Secret::new([7; 32])
}

fn cut(bytes: &[u8], chunker: &Chunker, keys: Option<&DomainKeys>) -> usize {
    let (mut rest, mut chunks) = (bytes, 0);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(chunker.cut(rest));
        if let Some(keys) = keys {
            black_box(keys.chunk(chunk));
        }
        rest = after;
        chunks += 1;
    }
    chunks
}

/// Finding the cuts alone, with the fine profile.
#[divan::bench]
fn cutting(bencher: Bencher) {
    let bytes = harness::text(1, LEN);
    let chunker = Chunker::new(GearTable::new(&secret()), Parameters::default().fine.into());
    bencher.counter(BytesCount::new(LEN)).bench_local(|| cut(black_box(&bytes), &chunker, None));
}

/// Cutting and computing every chunk's id.
#[divan::bench]
fn cutting_and_hashing(bencher: Bencher) {
    let bytes = harness::text(1, LEN);
    let chunker = Chunker::new(GearTable::new(&secret()), Parameters::default().fine.into());
    let keys = DomainKeys::derive(&secret(), Domain::default());
    bencher.counter(BytesCount::new(LEN)).bench_local(|| cut(black_box(&bytes), &chunker, Some(&keys)));
}

fn frames(text: &[u8], level: i32) -> Vec<CompressedFrame> {
    let blocks = text.chunks(BLOCK_LEN).enumerate();
    let frame = |(number, block): (usize, &[u8])| {
        let chunks: Vec<ChunkEntry> =
            block.chunks(8 << 10).map(|c| ChunkEntry { id: ChunkId([1; 16]), len: c.len() as u32 }).collect();
        let block_id = BlockId { run: RunId(1), number: number as u32 };
        let span = Reference { block: block_id, first: 0, count: chunks.len() as u32 };
        CompressedFrame::new(vec![span], chunks, block, level)
    };
    blocks.map(frame).collect()
}

fn pack(frames: Vec<CompressedFrame>) -> Pack {
    let secret = secret();
    let sealing = Sealing { secret: &secret, encapsulation: Some([1; 32]), domain: Domain(0), epoch: Epoch(0) };
    let mut writer = PackWriter::new(PackKind::Data, &sealing, [2; 32]);
    frames.into_iter().for_each(|f| writer.add(f));
    writer.finish()
}

/// zstd over blocks of 1 MiB, one thread.
#[divan::bench(args = [1, 3, 6])]
fn compressing(bencher: Bencher, level: i32) {
    let text = harness::text(2, LEN);
    bencher.counter(BytesCount::new(LEN)).bench_local(|| frames(black_box(&text), level));
}

/// Sealing a pack whose frames are compressed already, its name included. Bytes are those of the pack.
#[divan::bench]
fn sealing(bencher: Bencher) {
    let frames = frames(&harness::text(2, LEN), 3);
    let len = pack(frames.clone()).bytes.len();
    bencher.counter(BytesCount::new(len)).with_inputs(|| frames.clone()).bench_local_values(pack);
}

/// Opening and decompressing every frame of a pack. Bytes are those that come out.
#[divan::bench]
fn opening(bencher: Bencher) {
    let pack = pack(frames(&harness::text(2, LEN), 3));
    let open = || {
        let reader = PackReader::new(PackKind::Data, &pack.bytes, |_| Ok(secret())).expect("it was made just now");
        let mut at = ENVELOPE_LEN;
        for (number, frame) in pack.directory.frames.iter().enumerate() {
            let end = at + frame.sealed_len as usize;
            let sealed = pack.bytes[at..end].to_vec();
            black_box(reader.frame(number as u32, sealed, frame, b"").expect("it was sealed just now"));
            at = end;
        }
    };
    bencher.counter(BytesCount::new(LEN)).bench_local(open);
}

const ENTRIES: u32 = 10_000;

fn directory() -> TreeNode {
    let node = |n: u32| {
        let block = BlockId { run: RunId(1), number: n / 60 };
        let extent = Extent { reference: Reference { block, first: n % 60, count: 1 }, len: 5000 };
        let content = Content::Inline(vec![extent]);
        let content_id = ContentId(blake3_16(n));
        let file = FileNode { size: 5000, content, content_id, sparse: None, changed_while_read: false };
        let mtime = FileTime { secs: 1_700_000_000 + i64::from(n), nanos: n };
        let owner = Owner { uid: 1000, gid: 1000, ..Owner::default() };
        let meta = Metadata { mode: 0o644, owner, mtime, ..Metadata::default() };
        Node { name: format!("file-{n:08}").into_bytes(), meta, kind: NodeKind::File(file) }
    };
    TreeNode::Leaf((0..ENTRIES).map(node).collect())
}

fn blake3_16(n: u32) -> [u8; 16] {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes());
    id[4..8].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
    id
}

/// 10,000 entries to bytes.
#[divan::bench]
fn encoding_a_tree(bencher: Bencher) {
    let tree = directory();
    bencher.counter(divan::counter::ItemsCount::new(ENTRIES)).bench_local(|| black_box(&tree).encode());
}

/// And back.
#[divan::bench]
fn decoding_a_tree(bencher: Bencher) {
    let bytes = directory().encode();
    let decode = || TreeNode::decode(black_box(&bytes)).expect("it was encoded just now");
    bencher.counter(divan::counter::ItemsCount::new(ENTRIES)).bench_local(decode);
}

/// Summaries of packs with 64 Ki chunks in all, drawn from `seed`.
fn summaries(seed: u32) -> (SegmentContent, Vec<ChunkId>) {
    let (mut content, mut ids) = (SegmentContent { content: Some(vec![]), ..SegmentContent::default() }, Vec::new());
    let frames: Vec<CompressedFrame> = (0..512u32)
        .map(|number| {
            let chunks: Vec<ChunkEntry> = (0..128)
                .map(|n| {
                    let mut id = [0; 16];
                    let hash = (u128::from(seed) << 64 | u128::from(number) << 16 | n)
                        .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
                    id.copy_from_slice(&hash.swap_bytes().to_le_bytes());
                    ChunkEntry { id: ChunkId(id), len: 1 }
                })
                .collect();
            ids.extend(chunks.iter().map(|c| c.id));
            let block = BlockId { run: RunId(u64::from(seed) + 1), number };
            CompressedFrame::new(vec![Reference { block, first: 0, count: 128 }], chunks, &[0; 128], 0)
        })
        .collect();
    let Pack { name, bytes, place, directory } = pack(frames);
    let mut name = name;
    name.0[..4].copy_from_slice(&seed.to_le_bytes());
    let (kind, run, len) = (PackKind::Data, RunId(u64::from(seed) + 1), bytes.len() as u64);
    let summary = PackSummary { name, kind, run, len, place, directory };
    content.locations.push(summary.location());
    content.content.get_or_insert_default().push((0, summary.directory));
    (content, ids)
}

const BATCHES: u32 = 16;

/// Adding a million chunks, 64 Ki at a time, to the local index.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn index_insert(bencher: Bencher) {
    let batches: Vec<_> = (0..BATCHES).map(|n| summaries(n).0).collect();
    let folder = || tempfile::tempdir().expect("a temporary folder");
    bencher.counter(divan::counter::ItemsCount::new(BATCHES * 65_536)).with_inputs(folder).bench_local_values(
        |folder| {
            let cache = Cache::open(folder.path(), RepositoryId([1; 16])).expect("an empty cache");
            batches.iter().for_each(|b| cache.add_places(b, Some(1)).expect("the batch is sound"));
            folder
        },
    );
}

/// Looking ids up among a million: those that are there, and those that are not.
#[divan::bench(args = [true, false], sample_count = 10, sample_size = 1)]
fn index_lookup(bencher: Bencher, there: bool) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = Cache::open(folder.path(), RepositoryId([1; 16])).expect("an empty cache");
    let mut ids = Vec::new();
    for n in 0..BATCHES {
        let (content, of_batch) = summaries(n);
        cache.add_places(&content, Some(1)).expect("the batch is sound");
        ids.extend(of_batch.into_iter().step_by(16));
    }
    if !there {
        ids = summaries(BATCHES).1;
    }
    let finder = ChunkFinder::new(&cache).expect("the cache is there");
    bencher.counter(divan::counter::ItemsCount::new(ids.len())).bench_local(|| {
        let found = ids
            .iter()
            .filter(|id| {
                let found = finder
                    .find::<_, strongroom::cache::CacheError>(&cache, id, &mut |block, place| Ok(Some((block, place))));
                found.expect("the cache is there").is_some()
            })
            .count();
        assert_eq!(found, if there { ids.len() } else { 0 });
    });
}
