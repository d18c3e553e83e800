//! README and `docs/`: the paths that they name exist, and their links lead to a file and a heading.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::mem;
use std::path::Path;

/// A word of code that begins with one of these is a path from the top of the repository.
const FOLDERS: [&str; 6] = [".ci/", "benches/", "docs/", "fuzz/", "src/", "tests/"];

/// Names files as they were called when something changed.
const HISTORY: &str = "docs/CHANGELOG.md";

/// What a Markdown text refers to, and what can be referred to in it.
#[derive(Default)]
struct Document {
    /// Words of code spans and code blocks.
    code: Vec<String>,
    /// Targets of links.
    links: Vec<String>,
    /// What GitHub calls the headings.
    anchors: BTreeSet<String>,
}

impl Document {
    fn read(path: &Path) -> Self {
        Self::of(&fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    fn of(text: &str) -> Self {
        let (mut document, mut paragraph, mut is_block) = (Self::default(), String::new(), false);
        let mut repeated = HashMap::<String, usize>::new();
        for line in text.lines() {
            let is_fence = line.trim_start().starts_with("```");
            let heading = heading(line).filter(|_| !is_block);
            if is_fence || heading.is_some() || line.trim().is_empty() {
                document.add(&mem::take(&mut paragraph));
            }
            if is_fence {
                is_block = !is_block;
            } else if is_block {
                document.code.extend(line.split_whitespace().map(str::to_owned));
            } else if let Some(heading) = heading {
                let anchor = anchor(heading);
                let before = repeated.entry(anchor.clone()).or_default();
                document.anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
                *before += 1;
                document.add(heading);
            } else {
                paragraph.push_str(line);
                paragraph.push('\n');
            }
        }
        document.add(&paragraph);
        document
    }

    /// Adds the code spans and links of a paragraph, a heading or a table.
    fn add(&mut self, paragraph: &str) {
        let mut prose = String::new();
        for (i, part) in paragraph.split('`').enumerate() {
            match i % 2 {
                0 => prose.push_str(part),
                _ => self.code.extend(part.split_whitespace().map(str::to_owned)),
            }
        }
        let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next()?.split_whitespace().next());
        self.links.extend(targets.map(str::to_owned));
    }
}

/// The text of a heading.
fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    (1..=6).contains(&(line.len() - text.len())).then(|| text.strip_prefix(' ').map(str::trim))?
}

/// What GitHub calls the first heading with this text.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The path that a word of code names: from the top of the repository, or a source file from `src/` on.
fn path_named(word: &str) -> Option<String> {
    let word = word.trim_start_matches(['"', '\'', '(']).trim_end_matches(['"', '\'', ')', '.', ',', ';', ':']);
    if word.contains(['*', '<', '{']) {
        return None;
    }
    if FOLDERS.iter().any(|folder| word.starts_with(folder)) {
        return Some(word.to_owned());
    }
    (word.contains('/') && word.ends_with(".rs")).then(|| format!("src/{word}"))
}

/// What the document `name` refers to that the repository at `root` does not have.
fn missing(root: &Path, name: &str) -> Vec<String> {
    let own = root.join(name);
    let document = Document::read(&own);
    let mut found = Vec::new();
    for word in document.code.iter().filter(|_| name != HISTORY) {
        if let Some(path) = path_named(word).filter(|path| !root.join(path).exists()) {
            found.push(format!("{name} names `{word}`, and {path} does not exist"));
        }
    }
    for link in document.links.iter().filter(|link| !link.contains("://") && !link.starts_with("mailto:")) {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { own.clone() } else { own.with_file_name("").join(file) };
        if !target.exists() {
            found.push(format!("{name} links to {link}, and there is no such file"));
        } else if !anchor.is_empty() && !Document::read(&target).anchors.contains(anchor) {
            found.push(format!("{name} links to {link}, and there is no such heading"));
        }
    }
    found
}

#[test]
fn what_the_documents_name_and_link_to_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        names.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    names.sort();
    assert!(names.len() >= 9, "only {names:?} were found");
    let found: Vec<String> = names.iter().flat_map(|name| missing(root, name)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_does_not_exist_is_found_with_the_document_that_names_it() {
    let root = tempfile::tempdir().unwrap();
    for folder in ["docs", "src/store"] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    fs::write(root.path().join("src/store/url.rs"), "").unwrap();
    fs::write(root.path().join("docs/B.md"), "# B\n## The *first* `x_y`: 1 & 2\n## Twice\n## Twice\n").unwrap();
    let text = "# A\n\n`src/store/`, `store/url.rs` and `sh src/store/url.rs X`, `log/1` and src/none.\n\n\
                ```sh\n# No heading\nsh tests/none\n```\n\n\
                [a](#a) [b](B.md) [c](B.md#the-first-x_y-1--2) [d](B.md#twice-1) [e](https://example.org/#none) `[f](F.md)`\n\n\
                | `store/none.rs` | `docs/B.md` |\n\n[g](G.md#a) [h](B.md#twice-2) [i](#no-heading)\n";
    fs::write(root.path().join("docs/A.md"), text).unwrap();
    let found = missing(root.path(), "docs/A.md");
    let expected = [
        "docs/A.md names `tests/none`, and tests/none does not exist",
        "docs/A.md names `store/none.rs`, and src/store/none.rs does not exist",
        "docs/A.md links to G.md#a, and there is no such file",
        "docs/A.md links to B.md#twice-2, and there is no such heading",
        "docs/A.md links to #no-heading, and there is no such heading",
    ];
    assert_eq!(found, expected);
    assert_eq!(missing(root.path(), "docs/B.md"), Vec::<String>::new());
}
