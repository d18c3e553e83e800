//! What marking and pruning cost in a large repository, made for the purpose.
//!
//! ```sh
//! cargo bench --bench scale -- 20000000 500     # chunks, snapshots
//! ```
//!
//! Each snapshot holds the files of the ten nights up to its own, each night's file in blocks of a hundred chunks. Then every
//! other snapshot and the oldest half are forgotten, and a prune follows. Chunks are short and made up: what is measured is
//! bookkeeping, not compression.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use strongroom::format::config::Parameters;
use strongroom::format::description::{RunDescription, SnapshotDescription, seal};
use strongroom::format::directory::ChunkEntry;
use strongroom::format::names::PackKind;
use strongroom::format::pack::CompressedFrame;
use strongroom::format::record::{Operation, Outcome, RunKind, SnapshotEntry};
use strongroom::format::tree::{FileNode, FileTime, Metadata, Node, NodeKind, Owner};
use strongroom::ops::prune::MAX_UNUSED;
use strongroom::ops::prune::{PruneOptions, prune};
use strongroom::primitives::ids::{BlockId, ContentId, Extent, Reference, RunId};
use strongroom::primitives::progress::Silent;
use strongroom::primitives::system::{OsSystem, random};
use strongroom::repository::write::packer::PackerThreads;
use strongroom::repository::write::rewrite::Replaced;
use strongroom::repository::write::run::Publication;
use strongroom::repository::write::trees::{ListBuilder, TreeBuilder};
use strongroom::repository::{LocalPlaces, Repository, init};
use strongroom::store;
use zeroize::Zeroizing;

const CHUNKS_PER_BLOCK: u32 = 100;
const CHUNK_LEN: u32 = 48;
const NIGHTS_HELD: usize = 10;
const BLOCKS_PER_RECORD: u32 = 20_000;

fn main() {
    // `cargo bench` adds options of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|a| a.parse::<u64>().ok());
    let (chunks, snapshots) = (numbers.next().unwrap_or(200_000), numbers.next().unwrap_or(20) as usize);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let repository = make(folder.path());
    let started = Instant::now();
    let blocks = (chunks / u64::from(CHUNKS_PER_BLOCK)) as u32;
    let run = add_blocks(&repository, blocks);
    println!("{chunks} chunks in {blocks} blocks stored in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    add_snapshots(&repository, run, blocks, snapshots);
    println!("{snapshots} snapshots published in {:.1} s", started.elapsed().as_secs_f64());
    let all: Vec<_> = repository.snapshots().expect("they can be read").into_iter().map(|s| s.id).collect();
    let goes = |i: usize| i < all.len() / 2 || i % 2 == 1;
    let ids = all.iter().enumerate().filter(|(i, _)| goes(*i)).map(|(_, id)| *id).collect::<Vec<_>>();
    repository.append(&mut |_| Ok(vec![Operation::Forget { snapshots: ids.clone() }])).expect("the owner forgets");
    repository.save_cache().expect("the cache is there");
    drop(repository);

    let repository = open(folder.path());
    forget_peak();
    let started = Instant::now();
    let options = |dry_run| PruneOptions {
        max_unused: MAX_UNUSED,
        dry_run,
        host: "bench".to_owned(),
        command: "prune".to_owned(),
        ..PruneOptions::default()
    };
    let dry = prune(&repository, &options(true), &Silent).expect("the plan");
    let took = started.elapsed().as_secs_f64();
    println!("marked and planned in {took:.1} s, peak {} MiB: {:?} needed", peak_mib(), dry.needed);
    let started = Instant::now();
    let report = prune(&repository, &options(false), &Silent).expect("the prune");
    println!(
        "pruned in {:.1} s, peak {} MiB: {} packs dropped, {} rewritten, {} objects deleted, {} MiB before and {} after",
        started.elapsed().as_secs_f64(),
        peak_mib(),
        report.plan.deleted.packs,
        report.plan.rewritten.packs,
        report.swept.objects,
        report.before.1 >> 20,
        report.after.1 >> 20
    );
}

fn places(folder: &Path) -> LocalPlaces {
    LocalPlaces { cache: folder.join("cache"), state: folder.join("state") }
}

fn location(folder: &Path) -> String {
    folder.join("repository").to_str().expect("a temporary folder has a plain name").to_owned()
}

fn make(folder: &Path) -> Arc<Repository> {
    let store = store::init(&location(folder), &Default::default(), 0).expect("a folder");
    init(&*store, b"x", Parameters::default(), None, &OsSystem).expect("a repository");
    open(folder)
}

fn open(folder: &Path) -> Arc<Repository> {
    let store = store::open(&location(folder), &Default::default(), 0).expect("a folder");
    let passphrase = Zeroizing::new(b"x".to_vec());
    Repository::open(store, &passphrase, &places(folder), Arc::new(OsSystem)).expect("it opens")
}

/// Stores blocks of made-up chunks; returns the run they belong to.
fn add_blocks(repository: &Arc<Repository>, blocks: u32) -> RunId {
    let described = RunDescription::default();
    let threads = PackerThreads::default();
    let mut run = repository.begin_rewriting(RunKind::Repair, "bench", &described, threads).expect("a run");
    let id = run.id();
    for number in 0..blocks {
        let mut plaintext = Vec::with_capacity((CHUNKS_PER_BLOCK * CHUNK_LEN) as usize);
        let mut chunks = Vec::with_capacity(CHUNKS_PER_BLOCK as usize);
        for n in 0..CHUNKS_PER_BLOCK {
            let text = format!("{:>width$}", u64::from(number) << 8 | u64::from(n), width = CHUNK_LEN as usize);
            chunks.push(ChunkEntry { id: repository.domain_keys().chunk(text.as_bytes()), len: CHUNK_LEN });
            plaintext.extend_from_slice(text.as_bytes());
        }
        let span = Reference { block: BlockId { run: id, number }, first: 0, count: CHUNKS_PER_BLOCK };
        run.add_frame(PackKind::Data, CompressedFrame::new(vec![span], chunks, &plaintext, 1)).expect("it is taken");
        if number % BLOCKS_PER_RECORD == BLOCKS_PER_RECORD - 1 {
            run.commit(false, &mut |_| Ok(Replaced::default())).expect("a record");
        }
    }
    run.commit(false, &mut |_| Ok(Replaced::default())).expect("a record");
    run.end(Outcome::Complete, &described).expect("a record");
    id
}

fn add_snapshots(repository: &Arc<Repository>, blocks_of: RunId, blocks: u32, snapshots: usize) {
    let described = RunDescription::default();
    let mut run = repository.begin_run(RunKind::Backup, "bench", &described, PackerThreads::default()).expect("a run");
    let per_night = blocks / snapshots as u32;
    let mut files: Vec<Node> = Vec::new();
    for night in 0..snapshots {
        let mut list = ListBuilder::default();
        for number in night as u32 * per_night..(night as u32 + 1) * per_night {
            let block = BlockId { run: blocks_of, number };
            // A span that ends before the block does: no two of them join.
            let reference = Reference { block, first: 0, count: CHUNKS_PER_BLOCK };
            let len = u64::from(CHUNKS_PER_BLOCK * CHUNK_LEN);
            list.push(&mut run, Extent { reference, len }).expect("it is taken");
        }
        let content = list.take(&mut run).expect("it is taken");
        let mut content_id = [0; 16];
        content_id[..8].copy_from_slice(&(night as u64).to_be_bytes());
        let file = FileNode {
            size: u64::from(per_night * CHUNKS_PER_BLOCK * CHUNK_LEN),
            content,
            content_id: ContentId(content_id),
            sparse: None,
            changed_while_read: false,
        };
        let meta = Metadata {
            mode: 0o644,
            owner: Owner { uid: 0, gid: 0, user: vec![], group: vec![] },
            mtime: FileTime { secs: 0, nanos: 0 },
            xattrs: vec![],
            link: None,
        };
        files.push(Node { name: format!("night{night:06}").into_bytes(), meta, kind: NodeKind::File(file) });
        let mut tree = TreeBuilder::default();
        for node in files.iter().rev().take(NIGHTS_HELD).rev() {
            tree.push(&mut run, node.clone()).expect("it is taken");
        }
        let root = tree.finish(&mut run).expect("it is taken");
        let keys = repository.domain_keys();
        let snapshot = SnapshotEntry {
            id: run.snapshot_id(),
            time_ms: night as i64 * 86_400_000,
            root,
            outcome: Outcome::Complete,
            parents: vec![],
            host: keys.host("bench"),
            source: keys.source("bench"),
            description: seal(&SnapshotDescription::default(), &run.secret().sealing(), random(&OsSystem)),
        };
        run.publish(Publication { snapshots: vec![snapshot], end: None }).expect("a record");
    }
    run.end(Outcome::Complete, &described).expect("a record");
}

/// Lets the kernel begin to count anew.
fn forget_peak() {
    // Where it may not be written the peak is that of the whole program.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
