//! What a prune will do, decided from figures alone: a pure function, so that it can be shown before it is done.

use crate::format::names::PackKind;
use crate::primitives::ids::ObjectHash;

/// How much of a repository may be unused before packs are rewritten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// This part of what is stored afterwards: 0.1 is a tenth.
    Part(f64),
    /// So many bytes.
    Bytes(u64),
    /// Any amount: only packs that nothing needs at all go.
    Unlimited,
}

/// What may be done with a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may go now.
    Free,
    /// It may go once the runs that are open are over: it has to be doomed before the oldest of them.
    Wait,
    /// It belongs to a run that is open.
    OfOpenRun,
}

/// A pack, and how much of it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackUse {
    /// Its name.
    pub name: ObjectHash,
    /// What it holds.
    pub kind: PackKind,
    /// Its length in bytes.
    pub len: u64,
    /// Sealed bytes of its frames.
    pub frames_len: u64,
    /// Of those, what is needed; a frame that is needed in part counts by its chunks.
    pub needed_len: u64,
    /// Number of the record that published it: packs are rewritten in this order.
    pub published: u64,
    /// What may be done with it.
    pub standing: Standing,
    /// Whether it was declared lost: nothing in it counts.
    pub lost: bool,
}

impl PackUse {
    /// Bytes that nothing needs, its share of directory and padding counted.
    pub fn unused(&self) -> u64 {
        match self.frames_len {
            0 => self.len,
            all => (self.len as u128 * u128::from(all - self.needed_len) / u128::from(all)) as u64,
        }
    }
}

/// Packs and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// How many.
    pub packs: u64,
    /// How long together.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, pack: &PackUse) {
        self.packs += 1;
        self.bytes += pack.len;
    }
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Packs that nothing needs.
    pub delete: Vec<ObjectHash>,
    /// Packs whose needed chunks move to new ones.
    pub rewrite: Vec<ObjectHash>,
    /// As the two, but not before the open runs are over.
    pub wait: Vec<ObjectHash>,
    /// What there is.
    pub before: Amount,
    /// What is unused of it.
    pub unused_before: u64,
    /// What goes without being read.
    pub deleted: Amount,
    /// What is read and rewritten.
    pub rewritten: Amount,
    /// What is needed of that: about as much is written.
    pub written_bytes: u64,
    /// What waits.
    pub waiting: Amount,
    /// What stays unused.
    pub unused_after: u64,
}

impl Plan {
    /// Bytes there will be afterwards, about.
    pub fn bytes_after(&self) -> u64 {
        (self.before.bytes + self.written_bytes).saturating_sub(self.deleted.bytes + self.rewritten.bytes)
    }
}

/// A pack shorter than this part of a full one is small.
const SMALL: f64 = 0.25;
/// So many small packs of a kind are gathered.
const SMALL_MANY: usize = 8;

/// Decides. `pack_len` is the length of a full pack.
pub fn plan(packs: &[PackUse], max_unused: MaxUnused, pack_len: u64) -> Plan {
    let mut plan = Plan::default();
    let mut partly = Vec::new();
    let mut stays = 0;
    for pack in packs {
        plan.before.add(pack);
        plan.unused_before += pack.unused();
        match (pack.needed_len, pack.standing) {
            (_, Standing::OfOpenRun) => stays += pack.unused(),
            (0, Standing::Free) => {
                plan.delete.push(pack.name);
                plan.deleted.add(pack);
            }
            (0, Standing::Wait) => wait(&mut plan, pack, &mut stays),
            _ if pack.unused() > 0 => partly.push(pack),
            _ => {}
        }
    }
    // The emptiest first: they cost least for what they free.
    let emptiness = |p: &PackUse| p.unused() as f64 / p.len.max(1) as f64;
    partly.sort_by(|a, b| emptiness(b).total_cmp(&emptiness(a)).then(a.name.cmp(&b.name)));
    let mut unused = stays + partly.iter().map(|p| p.unused()).sum::<u64>();
    let needed = plan.before.bytes - plan.unused_before;
    let mut chosen: Vec<&PackUse> = Vec::new();
    for pack in partly {
        let enough = match max_unused {
            MaxUnused::Unlimited => true,
            MaxUnused::Bytes(max) => unused <= max,
            MaxUnused::Part(part) => unused as f64 <= part * (needed + unused) as f64,
        };
        if enough {
            break;
        }
        match pack.standing {
            // It stays for now, and what is unused of it cannot be helped.
            Standing::Wait => wait(&mut plan, pack, &mut 0),
            _ => {
                unused -= pack.unused();
                chosen.push(pack);
            }
        }
    }
    plan.unused_after = unused;
    gather(packs, &mut chosen, pack_len, max_unused);
    chosen.sort_by_key(|p| (p.published, p.name));
    for pack in chosen {
        plan.rewrite.push(pack.name);
        plan.rewritten.add(pack);
        plan.written_bytes += pack.len - pack.unused();
    }
    plan
}

fn wait(plan: &mut Plan, pack: &PackUse, stays: &mut u64) {
    plan.wait.push(pack.name);
    plan.waiting.add(pack);
    *stays += pack.unused();
}

/// Small packs become few large ones, if there are many of them, or if packs of their kind are rewritten anyway.
fn gather<'p>(packs: &'p [PackUse], chosen: &mut Vec<&'p PackUse>, pack_len: u64, max_unused: MaxUnused) {
    if max_unused == MaxUnused::Unlimited {
        return;
    }
    for kind in [PackKind::Data, PackKind::Meta] {
        let is_small = |p: &&PackUse| {
            p.kind == kind
                && p.standing == Standing::Free
                && !p.lost
                && p.needed_len > 0
                && (p.len as f64) < SMALL * pack_len as f64
                && !chosen.iter().any(|c| c.name == p.name)
        };
        let small: Vec<&PackUse> = packs.iter().filter(is_small).collect();
        let others = chosen.iter().filter(|p| p.kind == kind).count();
        let many = match max_unused {
            MaxUnused::Part(0.0) | MaxUnused::Bytes(0) => 2,
            _ => SMALL_MANY,
        };
        if small.len() >= many || (others > 0 && !small.is_empty()) {
            chosen.extend(small);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: u64 = 1000;

    fn pack(n: u8, len: u64, needed: u64) -> PackUse {
        PackUse {
            name: ObjectHash([n; 32]),
            kind: PackKind::Data,
            len,
            frames_len: len,
            needed_len: needed,
            published: u64::from(n),
            standing: Standing::Free,
            lost: false,
        }
    }

    fn numbers(names: &[ObjectHash]) -> Vec<u8> {
        names.iter().map(|n| n.0[0]).collect()
    }

    #[test]
    fn what_nothing_needs_goes_whatever_may_be_unused() {
        let plan = plan(&[pack(1, 1000, 0), pack(2, 1000, 1000), pack(3, 1000, 10)], MaxUnused::Unlimited, FULL);
        assert_eq!((numbers(&plan.delete), numbers(&plan.rewrite)), (vec![1], vec![]));
        assert_eq!(
            (plan.before.bytes, plan.unused_before, plan.unused_after, plan.bytes_after()),
            (3000, 1990, 990, 2000)
        );
    }

    #[test]
    fn the_emptiest_packs_are_rewritten_until_little_enough_is_unused() {
        let packs = [pack(1, 1000, 900), pack(2, 1000, 100), pack(3, 1000, 500), pack(4, 1000, 1000)];
        let to = |max| numbers(&plan(&packs, max, FULL).rewrite);
        assert_eq!(to(MaxUnused::Bytes(2000)), [0u8; 0]);
        assert_eq!(to(MaxUnused::Bytes(600)), [2]);
        assert_eq!(to(MaxUnused::Bytes(599)), [2, 3]);
        assert_eq!(to(MaxUnused::Bytes(0)), [1, 2, 3]);
        // Unused are 1500 of 4000; without pack 2, 600 of 3100; without pack 3 too, 100 of 2600.
        assert_eq!(to(MaxUnused::Part(0.4)), [0u8; 0]);
        assert_eq!(to(MaxUnused::Part(0.2)), [2]);
        assert_eq!(to(MaxUnused::Part(0.05)), [2, 3]);
        assert_eq!(to(MaxUnused::Part(0.0)), [1, 2, 3]);
    }

    #[test]
    fn packs_of_open_runs_are_left_alone_and_those_that_must_wait_are_named() {
        let mut packs = [pack(1, 1000, 0), pack(2, 1000, 0), pack(3, 1000, 100)];
        packs[0].standing = Standing::OfOpenRun;
        packs[1].standing = Standing::Wait;
        packs[2].standing = Standing::Wait;
        let plan = plan(&packs, MaxUnused::Part(0.0), FULL);
        assert_eq!((plan.delete.len(), plan.rewrite.len(), numbers(&plan.wait)), (0, 0, vec![2, 3]));
        assert_eq!(plan.unused_after, 2900);
        assert_eq!(plan.bytes_after(), 3000);
    }

    #[test]
    fn many_small_packs_are_gathered_and_few_are_not() {
        let small = |n| (1..=n).map(|i| pack(i, 100, 100)).collect::<Vec<_>>();
        let rewritten = |packs: &[PackUse], max| plan(packs, max, FULL).rewrite.len();
        assert_eq!(rewritten(&small(7), MaxUnused::Part(0.1)), 0);
        assert_eq!(rewritten(&small(8), MaxUnused::Part(0.1)), 8);
        assert_eq!(rewritten(&small(8), MaxUnused::Unlimited), 0);
        assert_eq!(rewritten(&small(2), MaxUnused::Part(0.0)), 2);
        assert_eq!(rewritten(&small(1), MaxUnused::Part(0.0)), 0);
        // They come along with others.
        let mut mixed = small(2);
        mixed.push(pack(9, 1000, 10));
        assert_eq!(rewritten(&mixed, MaxUnused::Part(0.1)), 3);
        // Unless they are of another kind.
        mixed.iter_mut().take(2).for_each(|p| p.kind = PackKind::Meta);
        assert_eq!(rewritten(&mixed, MaxUnused::Part(0.1)), 1);
    }

    #[test]
    fn an_empty_repository_needs_nothing() {
        assert_eq!(plan(&[], MaxUnused::Part(0.05), FULL), Plan::default());
    }
}
