//! Which databases of a server are saved.

use super::options::PostgresOptions;
use super::server::Database;

/// What is saved, and what is said about the rest.
#[derive(Debug, Default)]
pub(super) struct Selected {
    /// What is saved.
    pub databases: Vec<Database>,
    /// What was asked for and cannot be saved: a name, and why.
    pub refused: Vec<(String, String)>,
    /// What is left out and was not asked for by name.
    pub notes: Vec<String>,
}

/// Chooses among all databases of a server, as `user` may.
pub(super) fn select(all: Vec<Database>, options: &PostgresOptions, user: &str) -> Selected {
    let mut selected = Selected::default();
    let matches = |patterns: &[glob::Pattern], name: &str| patterns.iter().any(|pattern| pattern.matches(name));
    let takes_all = options.databases.is_empty() && options.include.is_empty();
    for name in &options.databases {
        if !all.iter().any(|database| database.name == *name)
            && !selected.refused.iter().any(|(known, _)| known == name)
        {
            selected.refused.push((name.clone(), "there is no such database on the server".to_owned()));
        }
    }
    for (kind, patterns) in [("include", &options.include), ("exclude", &options.exclude)] {
        for pattern in patterns.iter().filter(|pattern| !all.iter().any(|d| pattern.matches(&d.name))) {
            selected.notes.push(format!("`{kind}`: no database matches {:?}", pattern.as_str()));
        }
    }
    for database in all {
        let is_named = options.databases.contains(&database.name);
        let is_meant = is_named || (takes_all || matches(&options.include, &database.name)) && !database.is_template;
        if !is_meant || !is_named && matches(&options.exclude, &database.name) {
            continue;
        }
        match database.refusal(user) {
            None => selected.databases.push(database),
            Some(why) if is_named => selected.refused.push((database.name, why)),
            Some(why) => selected.notes.push(format!("database {:?} is not saved: it {why}", database.name)),
        }
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;
    use glob::Pattern;

    fn database(name: &str) -> Database {
        Database { name: name.to_owned(), takes_connections: true, may_connect: true, ..Database::default() }
    }

    fn all() -> Vec<Database> {
        vec![
            database("a_x"),
            database("b_x"),
            Database { may_connect: false, ..database("closed") },
            Database { takes_connections: false, ..database("off") },
            database("postgres"),
            Database { is_template: true, ..database("template1") },
        ]
    }

    fn names(selected: &Selected) -> Vec<&str> {
        selected.databases.iter().map(|d| d.name.as_str()).collect()
    }

    #[test]
    fn all_that_may_be_connected_to_are_saved_and_the_others_named() {
        let selected = select(all(), &PostgresOptions::default(), "me");
        assert_eq!(names(&selected), ["a_x", "b_x", "postgres"]);
        assert!(selected.refused.is_empty());
        assert!(selected.notes[0].contains("\"closed\"") && selected.notes[0].contains("GRANT CONNECT"));
        assert!(selected.notes[1].contains("ALLOW_CONNECTIONS"), "{:?}", selected.notes);
    }

    #[test]
    fn what_is_named_and_cannot_be_saved_is_a_failure() {
        let databases = ["b_x", "closed", "gone", "gone", "template1"].map(str::to_owned).to_vec();
        let selected = select(all(), &PostgresOptions { databases, ..PostgresOptions::default() }, "me");
        assert_eq!(names(&selected), ["b_x", "template1"]);
        let refused: Vec<&str> = selected.refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(refused, ["gone", "closed"]);
        assert!(selected.notes.is_empty());
    }

    #[test]
    fn patterns_choose_and_those_without_a_match_are_told() {
        let pattern = |text: &str| vec![Pattern::new(text).unwrap()];
        let options = PostgresOptions {
            include: pattern("*_x"),
            exclude: [pattern("a*"), pattern("z")].concat(),
            ..PostgresOptions::default()
        };
        let selected = select(all(), &options, "me");
        assert_eq!(names(&selected), ["b_x"]);
        assert_eq!(selected.notes, ["`exclude`: no database matches \"z\""]);
    }
}
