//! What the fuzz targets check, with a fixed number of inputs for each: golden objects, changed here and there, and random
//! bytes. `cargo fuzz run` looks further, guided by what is reached.

mod base_backup;
mod checkpoint;
mod config;
mod count_mysql;
mod count_postgres;
mod credential;
mod description;
mod envelope;
mod epoch_keys;
mod fold;
mod list;
mod pack;
mod record;
mod segment;
mod slot;
mod tree;

use strongroom::primitives::system::{Scripted, random};

/// Random numbers that are the same in each run.
struct Random(Scripted);

impl Random {
    fn next(&self) -> u64 {
        u64::from_le_bytes(random(&self.0))
    }

    fn below(&self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Says which input it was that failed.
struct Told<'a>(&'a [u8]);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {:02x?}", self.0);
        }
    }
}

fn golden() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().filter(|p| p.extension().is_some_and(|e| e == "bin")).map(|p| std::fs::read(p).unwrap()).collect()
}

/// Lengths and counts at which sums go wrong.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

fn changed(bytes: &mut Vec<u8>, random: &Random) {
    let at = random.below(bytes.len() + 1);
    match random.below(7) {
        0 => bytes.insert(at, random.next() as u8),
        1 => bytes.truncate(at),
        2 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
        3 if at < bytes.len() => bytes[at] = random.next() as u8,
        4 if at < bytes.len() => drop(bytes.remove(at)),
        5 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let len = [1, 2, 4, 8][random.below(4)].min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&edge[8 - len..]);
        }
        _ => {
            let part = bytes[at..bytes.len().min(at + random.below(64))].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, part);
        }
    }
}

fn inputs(count: usize, len_max: usize, check: fn(&[u8])) {
    inputs_like(&golden(), count, len_max, check);
}

/// Inputs that are these, changed here and there, and random bytes.
fn inputs_like(golden: &[Vec<u8>], count: usize, len_max: usize, check: fn(&[u8])) {
    let random = Random(Scripted::new(0, 1));
    for n in 0..count {
        let mut input = match n.checked_sub(golden.len()) {
            None => golden[n].clone(),
            Some(n) if n % 8 == 0 => (0..random.below(len_max)).map(|_| random.next() as u8).collect(),
            Some(_) => golden[random.below(golden.len())].clone(),
        };
        if n >= golden.len() {
            (0..=random.below(6)).for_each(|_| changed(&mut input, &random));
        }
        input.truncate(len_max);
        let told = Told(&input);
        check(told.0);
    }
}

mod targets {
    use super::inputs;

    #[test]
    fn base_backup() {
        super::inputs_like(&[super::base_backup::sample()], 300, 8192, super::base_backup::check);
    }

    #[test]
    fn checkpoint() {
        inputs(20_000, 4096, super::checkpoint::check);
    }

    #[test]
    fn config() {
        inputs(20_000, 4096, super::config::check);
    }

    #[test]
    fn count_mysql() {
        super::inputs_like(&[super::count_mysql::SAMPLE.to_vec()], 20_000, 4096, super::count_mysql::check);
    }

    #[test]
    fn count_postgres() {
        super::inputs_like(
            &[super::count_postgres::SAMPLE.as_bytes().to_vec()],
            50_000,
            4096,
            super::count_postgres::check,
        );
    }

    #[test]
    fn credential() {
        inputs(20_000, 4096, super::credential::check);
    }

    #[test]
    fn description() {
        inputs(20_000, 4096, super::description::check);
    }

    #[test]
    fn envelope() {
        inputs(20_000, 4096, super::envelope::check);
    }

    #[test]
    fn epoch_keys() {
        inputs(20_000, 4096, super::epoch_keys::check);
    }

    #[test]
    fn fold() {
        inputs(100, 64, super::fold::check);
    }

    #[test]
    fn list() {
        inputs(20_000, 4096, super::list::check);
    }

    #[test]
    fn pack() {
        inputs(20_000, 4096, super::pack::check);
    }

    #[test]
    fn record() {
        inputs(20_000, 4096, super::record::check);
    }

    #[test]
    fn segment() {
        inputs(20_000, 4096, super::segment::check);
    }

    #[test]
    fn slot() {
        inputs(20_000, 4096, super::slot::check);
    }

    #[test]
    fn tree() {
        inputs(20_000, 4096, super::tree::check);
    }
}
