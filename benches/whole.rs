//! A whole backup and its restore on a store in memory, without the cost of a real one: `cargo bench --bench whole`.

use std::path::Path;

use divan::Bencher;
use divan::counter::BytesCount;

#[path = "../tests/it/harness/mod.rs"]
mod harness;

use harness::{Bench, text};

fn main() {
    divan::main();
}

const FILES: usize = 2000;
const FILE_LEN: usize = 16 << 10;
const LONG_LEN: usize = 64 << 20;

/// Many small files and one long one.
fn tree(root: &Path) -> usize {
    for n in 0..FILES {
        let folder = root.join(format!("{:02}", n % 50));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(format!("{n}")), text(n as u64, FILE_LEN)).expect("a file");
    }
    std::fs::write(root.join("long"), text(u64::MAX, LONG_LEN)).expect("a file");
    FILES * FILE_LEN + LONG_LEN
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn first_backup(bencher: Bencher) {
    let source = tempfile::tempdir().expect("a temporary folder");
    let len = tree(source.path());
    bencher.counter(BytesCount::new(len)).with_inputs(Bench::new).bench_local_values(|bench| {
        bench.backup(&[source.path()]);
        bench
    });
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn unchanged_backup(bencher: Bencher) {
    let source = tempfile::tempdir().expect("a temporary folder");
    let len = tree(source.path());
    let bench = Bench { system: harness::far_system(1), ..Bench::new() };
    bench.backup(&[source.path()]);
    bencher.counter(BytesCount::new(len)).bench_local(|| bench.backup(&[source.path()]));
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn whole_restore(bencher: Bencher) {
    let source = tempfile::tempdir().expect("a temporary folder");
    let len = tree(source.path());
    let bench = Bench::new();
    bench.backup(&[source.path()]);
    let snapshot = bench.latest(&bench.open());
    let target = || tempfile::tempdir().expect("a temporary folder");
    bencher.counter(BytesCount::new(len)).with_inputs(target).bench_local_values(|target| {
        bench.restore(&snapshot, target.path(), None);
        target
    });
}
