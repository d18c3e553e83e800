//! The layers of the design: lower ones know nothing of higher ones, and what source and target do is no
//! business of the repository, nor the other way round.

use std::fs;
use std::path::{Path, PathBuf};

/// Lowest first. A module may name those before its own, and its own.
const LAYERS: [&str; 7] = ["words", "parts", "formats", "machinery", "operations", "jobs", "cli"];
/// Modules of the machinery, which do not know each other.
const MACHINERY: [&str; 3] = ["repository", "source", "target"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The layer and, within the machinery, the module that a path belongs to.
fn place<'a>(mut path: impl Iterator<Item = &'a str>) -> Option<(usize, Option<usize>)> {
    let first = path.next()?;
    let layer = LAYERS.iter().position(|l| *l == first)?;
    let module = path.next().filter(|_| LAYERS[layer] == "machinery");
    Some((layer, module.and_then(|m| MACHINERY.iter().position(|known| *known == m))))
}

/// Every path that begins with `crate::`, groups in braces opened up one level deep.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let text: String = code[at + 7..].chars().take_while(|c| !";()<>=!?\"".contains(*c)).collect();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        match text.split_once('{') {
            Some((head, group)) => {
                let head: Vec<&str> = head.split("::").filter(|s| !s.is_empty()).collect();
                for member in group.trim_end_matches('}').split(',').filter(|m| !m.is_empty()) {
                    let whole = head.iter().copied().chain(member.split("::"));
                    found.push(whole.map(str::to_owned).collect());
                }
            }
            None => found.push(text.split("::").map(|s| name(s).to_owned()).collect()),
        }
    }
    found
}

fn name(segment: &str) -> &str {
    segment.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// What is wrong with the file `from`, if it holds `code`.
fn wrong(from: &str, code: &str) -> Vec<String> {
    let own: Vec<&str> = from.trim_end_matches(".rs").split('/').collect();
    let Some((layer, module)) = place(own.iter().copied()) else { return Vec::new() };
    let mut wrong = Vec::new();
    for path in paths(code) {
        let Some((to_layer, to_module)) = place(path.iter().map(|s| name(s))) else { continue };
        let sideways = to_layer == layer && module.is_some() && to_module.is_some() && module != to_module;
        if to_layer > layer || sideways {
            wrong.push(format!("{from} names crate::{}", path.join("::")));
        }
    }
    // Whoever climbs with `super` past its own layer would not be seen above.
    let climbs = code.match_indices("super::super::super").count();
    if climbs > 0 && own.len() < 4 {
        wrong.push(format!("{from} climbs out of its layer with `super`"));
    }
    wrong
}

#[test]
fn no_module_knows_a_layer_above_its_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    sources(&root, &mut all);
    assert!(all.len() > 50, "only {} files were found", all.len());
    let mut found = Vec::new();
    for file in all {
        let from = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        found.extend(wrong(&from, &fs::read_to_string(&file).unwrap()));
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_module_belongs_to_a_layer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(root).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let stem = name.trim_end_matches(".rs");
        assert!(LAYERS.contains(&stem) || ["lib", "main"].contains(&stem), "{name} belongs to no layer");
    }
}

#[test]
fn a_step_up_or_sideways_is_seen() {
    for (from, code) in [
        ("words/ids.rs", "use crate::parts::store::Store;"),
        ("formats/pack.rs", "fn f(r: &crate::machinery::repository::Repository) {}"),
        ("machinery/source/walk.rs", "use crate::machinery::repository::Repository;"),
        ("machinery/repository/run.rs", "use crate::machinery::{target::Target, repository::Run};"),
        ("machinery/target/mod.rs", "use crate::{words::ids::RunId, operations::list};"),
    ] {
        assert_eq!(wrong(from, code).len(), 1, "{from}: {code}");
    }
    assert_eq!(wrong("operations/list.rs", "use crate::machinery::{source, target};"), Vec::<String>::new());
}
