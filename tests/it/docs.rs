//! README and `docs/`: the paths that they name exist, and their links lead to a file and a heading. `docs/ROWS.md`: all
//! rows are there, and the tests that it names exist.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::mem;
use std::path::Path;

/// A word of code that begins with one of these is a path from the top of the repository.
const FOLDERS: [&str; 7] = [".ci/", "benches/", "docs/", "fuzz/", "packaging/", "src/", "tests/"];

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

/// The teams of `docs/ROWS.md`, and how many rows each has.
const TEAMS: [(&str, usize); 5] = [("DH", 15), ("DSS", 16), ("MYDB", 19), ("CC", 21), ("IDP", 14)];

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(line.split(" | ").map(str::trim).collect())
}

/// Files and names of tests, as the last column of a row has them: a file, then its tests.
fn tests_named(cell: &str) -> Vec<(&str, &str)> {
    let (mut file, mut tests) = ("", Vec::new());
    for word in cell.split('`').skip(1).step_by(2) {
        match word.ends_with(".rs") {
            true => file = word,
            false => tests.push((file, word)),
        }
    }
    tests
}

/// The comment above a test; `None` if there is no such test in the source.
fn comment_of<'s>(source: &'s str, test: &str) -> Option<Vec<&'s str>> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let at = lines.iter().position(|line| line.starts_with(&format!("fn {test}(")))?;
    let mark = lines[..at].iter().rposition(|line| !line.starts_with("#["))? + 1;
    let is_comment = |line: &&&str| line.starts_with("///");
    let comment = lines[..mark].iter().rev().take_while(is_comment).copied().collect();
    lines[mark..at].contains(&"#[test]").then_some(comment)
}

/// Whether a text has this id of a row, and not only one that begins with it.
fn has_id(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| !text[at + id.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// What is wrong with a row.
fn wrong_with(root: &Path, row: &[&str]) -> Vec<String> {
    let &[id, _, state, _, tests] = row else { return vec![format!("{row:?} has not five columns")] };
    let tests = tests_named(tests);
    let (mut wrong, mut is_shown) = (Vec::new(), false);
    for (file, test) in &tests {
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        match comment_of(&source, test) {
            Some(comment) => is_shown |= comment.iter().any(|line| has_id(line, id)),
            None => wrong.push(format!("{id}: there is no test {test} in {file:?}")),
        }
    }
    match state {
        "works" if tests.is_empty() => wrong.push(format!("{id} works, and no test shows it")),
        "works" | "partly" if !tests.is_empty() && !is_shown => {
            wrong.push(format!("{id}: no test that is named has the id in its comment"));
        }
        "works" | "partly" | "not yet" => {}
        _ => wrong.push(format!("{id}: {state:?} is no state")),
    }
    wrong
}

#[test]
fn each_row_of_the_teams_stands_once_and_its_tests_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/ROWS.md")).unwrap();
    let mut rows = page.lines().filter_map(cells).filter(|row| row[0].contains('-') && row.len() > 4);
    let (mut wrong, mut states) = (Vec::new(), HashMap::<&str, usize>::new());
    for (team, count) in TEAMS {
        for number in 1..=count {
            let row = rows.next().unwrap_or_default();
            let id = format!("{team}-{number}");
            assert_eq!(row.first().copied(), Some(id.as_str()), "the rows stand in order");
            *states.entry(row[2]).or_default() += 1;
            wrong.extend(wrong_with(root, &row));
        }
    }
    assert_eq!(rows.next(), None);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let counted = ["works", "partly", "not yet"].map(|state| states.get(state).copied().unwrap_or_default());
    let told = page.lines().find_map(|line| line.strip_prefix("| all | ")).expect("the counts stand at the end");
    assert_eq!(told, format!("{} | {} | {} |", counted[0], counted[1], counted[2]));
}

#[test]
fn a_row_whose_test_is_missing_or_does_not_name_it_is_found() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("tests")).unwrap();
    let source = "/// DH-1, DH-20: it\n/// does.\n#[test]\nfn one() {\n}\n\n/// DH-3: no test.\nfn two() {\n}\n";
    fs::write(root.path().join("tests/a.rs"), source).unwrap();
    let wrong = |row: &str| wrong_with(root.path(), &cells(row).unwrap()).join("; ");
    for good in ["| DH-1 | x | works | y | `tests/a.rs` `one` |", "| DH-4 | x | not yet | y | - |"] {
        assert_eq!(wrong(good), "");
    }
    for (bad, part) in [
        ("| DH-1 | x | works | y | - |", "no test shows it"),
        ("| DH-2 | x | works | y | `tests/a.rs` `one` |", "has the id"),
        ("| DH-3 | x | partly | y | `tests/a.rs` `two` |", "no test two"),
        ("| DH-1 | x | works | y | `tests/a.rs` `one`, `three` |", "no test three"),
        ("| DH-1 | x | works | y | `tests/b.rs` `one` |", "in \"tests/b.rs\""),
        ("| DH-1 | x | perhaps | y | `tests/a.rs` `one` |", "no state"),
        ("| DH-1 | x | works | `tests/a.rs` `one` |", "five columns"),
    ] {
        assert!(wrong(bad).contains(part), "{bad}: {}", wrong(bad));
    }
}
