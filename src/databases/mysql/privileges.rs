//! What an account may see: a server hides triggers and routines from others, and the tools leave out without an error
//! what they are not shown.

use super::grants::find_outside;
use super::server::Server;

/// What a dump of this database lacks because the account may not see it, in words.
pub(super) fn hidden(server: &Server, database: &str) -> Vec<String> {
    // Who may not ask for the own rights is not known to lack any.
    let Ok(rows) = server.ask("show grants") else { return Vec::new() };
    let grants: Vec<String> = rows.into_iter().flatten().collect();
    let parsed: Vec<Grant> = grants.iter().filter_map(|text| parse(text)).collect();
    // MySQL names roles and not what they may do.
    let has_roles = !server.is_mariadb && parsed.len() < grants.len();
    if has_roles { Vec::new() } else { lacking(&parsed, database) }
}

fn lacking(grants: &[Grant], database: &str) -> Vec<String> {
    let may = |rights: &[&str], on: &str| grants.iter().any(|grant| grant.covers(rights, on));
    let mut lacks = Vec::new();
    if !may(&["TRIGGER"], database) {
        lacks.push("its triggers are not saved: the account lacks the privilege TRIGGER".to_owned());
    }
    if !may(&["SELECT"], "mysql") && !may(&["SHOW_ROUTINE", "SHOW CREATE ROUTINE"], database) {
        let text = "its routines are not saved: the account lacks the privilege SELECT on mysql.*, or SHOW_ROUTINE";
        lacks.push(text.to_owned());
    }
    lacks
}

/// Rights on databases.
struct Grant {
    rights: Vec<String>,
    /// A pattern of database names as `LIKE` has it; `None`: all.
    database: Option<String>,
}

impl Grant {
    fn covers(&self, rights: &[&str], database: &str) -> bool {
        let has = |right: &String| right == "ALL PRIVILEGES" || rights.contains(&right.as_str());
        let fits = |pattern: &String| like(pattern.as_bytes(), database.as_bytes());
        self.rights.iter().any(has) && self.database.as_ref().is_none_or(fits)
    }
}

/// `GRANT SELECT, TRIGGER ON `shop`.* TO ...`; what is no grant on databases is none.
fn parse(text: &str) -> Option<Grant> {
    let rest = text.strip_prefix("GRANT ")?;
    let on = find_outside(rest, 0, &["ON"])?;
    let to = find_outside(rest, on, &["TO"])?;
    let target = rest[on + 2..to].trim();
    let database = match target {
        "*.*" => None,
        target => {
            // Of a table or routine, which has the rights of no database.
            let name = target.strip_suffix(".*")?;
            let name = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or(name);
            Some(name.replace("``", "`"))
        }
    };
    let rights = rest[..on].split(',').map(|right| right.trim().to_ascii_uppercase()).collect();
    Some(Grant { rights, database })
}

/// Whether a name fits a pattern with `%`, `_` and backslashes.
fn like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'%', rest @ ..], _) => (0..=name.len()).any(|at| like(rest, &name[at..])),
        ([b'\\', first, rest @ ..], [next, after @ ..]) if first == next => like(rest, after),
        ([b'_', rest @ ..], [_, after @ ..]) => like(rest, after),
        ([first, rest @ ..], [next, after @ ..]) if first == next && *first != b'\\' => like(rest, after),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(grants: &[&str], database: &str) -> Vec<String> {
        lacking(&grants.iter().filter_map(|text| parse(text)).collect::<Vec<_>>(), database)
    }

    #[test]
    fn what_an_account_may_not_see_is_known_from_its_grants() {
        assert!(lacks(&["GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"], "d").is_empty());
        let some = ["GRANT USAGE ON *.* TO `u`@`%`", "GRANT SELECT, TRIGGER ON `shop\\_%`.* TO `u`@`%`"];
        let of = |database: &str| lacks(&some, database).len();
        assert_eq!((of("shop_a"), of("shopxa"), of("shop")), (1, 2, 2));
        let both = ["GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO `a ON b`@`%`"];
        assert!(lacks(&both, "any").is_empty());
        assert_eq!(lacks(&["GRANT TRIGGER ON `d`.`t` TO `u`@`%`"], "d").len(), 2, "of one table only");
        assert_eq!(lacks(&["GRANT `role`@`%` TO `u`@`%`"], "d").len(), 2);
    }
}
