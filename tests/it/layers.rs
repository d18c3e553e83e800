//! The layers of ARCHITECTURE: lower ones know nothing of higher ones, modules of one layer know nothing of each other, and
//! no files import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use walkdir::WalkDir;

/// Lowest first.
const LAYERS: [&[&str]; 10] = [
    &["primitives"],
    &["crypto", "process_group"],
    &["chunking", "compression", "parallel", "patterns", "store"],
    &["format"],
    &["cache", "log"],
    &["destination", "repository", "source"],
    &["ops"],
    &["databases"],
    &["jobs"],
    &["cli"],
];

/// The names of a path, without `crate`: a module's, or an item's below one.
type Names = Vec<String>;

/// What a file is called by, and what it names.
#[derive(Default)]
struct File {
    /// Its module, the crate's root being empty.
    module: Names,
    /// Paths that it names, from the crate's root.
    named: BTreeSet<Names>,
    /// Names that it gives on: the name, and the path behind it.
    reexported: Vec<(String, Names)>,
}

impl File {
    /// Reads the code of the module `module`. Tests inside it do not count.
    fn read(module: Names, code: &str) -> Self {
        let mut file = Self { module, ..Self::default() };
        file.visit_file(&syn::parse_file(code).expect("the compiler reads it too"));
        file
    }

    /// `path` from the crate's root, if it begins with `crate`, `self`, `super` or a module below this one.
    fn absolute(&self, path: &[String]) -> Option<Names> {
        let climbs = path.iter().take_while(|name| *name == "super").count();
        let (mut base, rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (self.module.clone(), &path[1..]),
            "super" => (self.module[..self.module.len().checked_sub(climbs)?].to_vec(), &path[climbs..]),
            _ => (self.module.clone(), path),
        };
        base.extend(rest.iter().cloned());
        Some(base)
    }

    fn use_tree(&mut self, tree: &syn::UseTree, head: &[String], public: bool) {
        let with = |name: &syn::Ident| [head, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.use_tree(&path.tree, &with(&path.ident), public),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.use_tree(tree, head, public)),
            syn::UseTree::Name(name) if name.ident == "self" => self.name(head.last().cloned(), head, public),
            syn::UseTree::Name(name) => self.name(Some(name.ident.to_string()), &with(&name.ident), public),
            syn::UseTree::Rename(name) => self.name(Some(name.rename.to_string()), &with(&name.ident), public),
            syn::UseTree::Glob(_) => self.name(None, head, public),
        }
    }

    fn name(&mut self, name: Option<String>, path: &[String], public: bool) {
        let Some(path) = self.absolute(path) else { return };
        if let Some(name) = name.filter(|_| public) {
            self.reexported.push((name, path.clone()));
        }
        self.named.insert(path);
    }
}

fn of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|a| a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|i| i == "test"))
}

impl<'a> Visit<'a> for File {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if !of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if !of_tests(&item.attrs) {
            self.use_tree(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Names = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1 {
            self.name(None, &names, false);
        }
        visit::visit_path(self, path);
    }
}

/// All files of the crate, by their module.
struct Crate(BTreeMap<Names, File>);

impl Crate {
    fn of_this() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        for entry in WalkDir::new(&root).sort_by_file_name() {
            let path = entry.unwrap().into_path();
            if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                files.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
        assert!(files.len() > 150, "only {} files were found", files.len());
        Self::of(files.iter().map(|(name, code)| (name.as_str(), code.as_str())))
    }

    fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let module = |file: &str| {
            let mut names: Names = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            names.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
            names
        };
        Self(files.into_iter().map(|(name, code)| (module(name), File::read(module(name), code))).collect())
    }

    /// The module whose file defines what `path` names, as seen through what is given on.
    fn home(&self, path: &[String], steps: usize) -> Option<&Names> {
        let len = (1..=path.len()).rev().find(|len| self.0.contains_key(&path[..*len]))?;
        let (module, file) = self.0.get_key_value(&path[..len])?;
        let given = path.get(len).and_then(|name| file.reexported.iter().find(|(n, to)| n == name && to != path));
        match given {
            Some((_, to)) if steps > 0 => self.home(to, steps - 1),
            _ => Some(module),
        }
    }

    /// The modules that a file needs, without the folder that it is the face of and the folders that it lies in.
    fn needs(&self, file: &File) -> BTreeSet<Names> {
        let homes = file.named.iter().filter_map(|path| self.home(path, 8));
        homes.filter(|to| !to.starts_with(&file.module) && !file.module.starts_with(to)).cloned().collect()
    }

    /// What names a layer above its own, or another module of its own layer.
    fn arrows_up(&self) -> Vec<String> {
        let mut found = Vec::new();
        for file in self.0.values() {
            let Some(own) = file.module.first().and_then(|m| layer(m)) else { continue };
            for to in file.named.iter().filter(|to| to.first() != file.module.first()) {
                if to.first().and_then(|m| layer(m)).is_some_and(|other| other >= own) {
                    found.push(format!("{} names {}", file.module.join("::"), to.join("::")));
                }
            }
        }
        found
    }

    /// Files that are reached from themselves, with what they need of the same circle.
    fn circles(&self) -> Vec<String> {
        let needs: BTreeMap<&Names, BTreeSet<Names>> = self.0.iter().map(|(m, file)| (m, self.needs(file))).collect();
        let reached: BTreeMap<&Names, BTreeSet<&Names>> = needs.keys().map(|m| (*m, reached(m, &needs))).collect();
        let mut found = Vec::new();
        for (module, to) in needs.iter().filter(|(module, _)| reached[*module].contains(*module)) {
            let to = to.iter().filter(|to| reached[*to].contains(*module)).map(|to| to.join("::"));
            found.push(format!("{} -> {}", module.join("::"), to.collect::<Vec<_>>().join(", ")));
        }
        found
    }
}

/// All that `from` needs, and what that needs in turn.
fn reached<'a>(from: &'a Names, needs: &'a BTreeMap<&Names, BTreeSet<Names>>) -> BTreeSet<&'a Names> {
    let mut found = BTreeSet::new();
    let mut left = vec![from];
    while let Some(next) = left.pop() {
        left.extend(needs[next].iter().filter(|to| found.insert(*to)));
    }
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn no_module_knows_a_layer_above_its_own_or_its_neighbours() {
    assert_eq!(Crate::of_this().arrows_up(), Vec::<String>::new());
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let circles = Crate::of_this().circles();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn every_module_belongs_to_a_layer() {
    for module in Crate::of_this().0.keys().filter_map(|names| names.first()) {
        assert!(layer(module).is_some(), "{module} belongs to no layer");
    }
}

#[test]
fn a_step_up_or_sideways_is_seen() {
    for (file, code) in [
        ("primitives/ids.rs", "use crate::store::Store;"),
        ("format/pack.rs", "fn f(r: &crate::repository::Repository) {}"),
        ("source/walk.rs", "use crate::repository::Repository;"),
        ("source/walk.rs", "fn f() { super::super::repository::open() }"),
        ("repository/run.rs", "use crate::{destination::Target, format::pack};"),
        ("destination/mod.rs", "use crate::{primitives::ids::RunId, ops::list};"),
    ] {
        assert_eq!(Crate::of([(file, code)]).arrows_up().len(), 1, "{file}: {code}");
    }
    assert_eq!(Crate::of([("ops/list.rs", "use crate::{source, destination};")]).arrows_up(), Vec::<String>::new());
}

/// Also one that goes through what a folder gives on. What only tests need makes no circle.
#[test]
fn a_circle_is_seen() {
    let circle = [
        ("store/mod.rs", "mod a; mod b; mod c; pub use a::A; pub use b::B;"),
        ("store/a.rs", "use super::B; pub struct A(B);"),
        ("store/b.rs", "use super::c::C; pub struct B(C);"),
        ("store/c.rs", "pub struct C(Option<Box<crate::store::A>>);"),
        ("store/d.rs", "use super::A;"),
    ];
    assert_eq!(Crate::of(circle).circles(), ["store::a -> store::b", "store::b -> store::c", "store::c -> store::a"]);
    let none = circle.map(|(file, code)| match file {
        "store/c.rs" => (file, "#[cfg(test)] mod tests { use crate::store::A; }"),
        _ => (file, code),
    });
    assert_eq!(Crate::of(none).circles(), Vec::<String>::new());
}
