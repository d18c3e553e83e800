//! Roles, memberships and tablespaces of a dump of globals, on another server.

use std::collections::BTreeSet;

use crate::databases::load::client::{Feed, Stream};
use crate::databases::load::item::Item;
use crate::databases::load::options::{Done, Failure, counted};
use crate::databases::load::roles::{RolesPlan, Step, plan};

use super::server::Postgres;

/// A longer dump is none of globals.
const DUMP_LEN_MAX: u64 = 256 << 20;

/// Errors that are told.
const TOLD_MAX: usize = 5;

/// Plans what is done with a dump of globals.
pub(crate) fn planned(server: &Postgres<'_>, item: &Item, stream: &Stream<'_>) -> Result<RolesPlan, Failure> {
    item.check_whole(server.options.force)?;
    if item.snapshot.described.figures.bytes > DUMP_LEN_MAX {
        return Err(Failure::because("the dump is too long to be one of globals"));
    }
    let mut dump = Vec::new();
    stream.write_to(&mut dump, server.observer).map_err(|e| match e {
        Feed::Failed(what) => Failure::Because(what),
        Feed::Left => Failure::Interrupted,
    })?;
    Ok(plan(&dump, &server.existing, server.options.alter_roles)?)
}

/// Runs the plan. Every statement is tried; an error of any is an error of all.
pub(crate) fn load(server: &mut Postgres<'_>, plan: RolesPlan) -> Result<Done, Failure> {
    let mut done = Done { notes: told(&plan), ..Done::default() };
    let mut errors = Vec::new();
    let run = |server: &Postgres<'_>, step: &Step| -> Result<Option<String>, Failure> {
        match server.admin(&format!("begin;\n{}\ncommit;", step.sql)) {
            Ok(_) => Ok(None),
            Err(Failure::Because(why)) => Ok(Some(format!("{}: {why}", step.what))),
            Err(interrupted) => Err(interrupted),
        }
    };
    for step in plan.roles.iter() {
        errors.extend(run(server, step)?);
    }
    server.existing.roles.extend(plan.made.iter().cloned());
    for step in &plan.grants {
        errors.extend(run(server, step)?);
    }
    for step in &plan.tablespaces {
        // A tablespace cannot be made within a transaction, and on many servers not at all.
        match server.admin(&step.sql) {
            Ok(_) => {
                let name = step.what.trim_start_matches("tablespace ").to_owned();
                server.existing.tablespaces.insert(name);
            }
            Err(Failure::Because(why)) => done.notes.push(format!("left out: {}: {why}", step.what)),
            Err(interrupted) => return Err(interrupted),
        }
    }
    match errors.len() {
        0 => Ok(done),
        n => {
            let told = errors[..n.min(TOLD_MAX)].join("; ");
            Err(Failure::Because(format!("{} of globals failed: {told}", counted(n as u64, "statement", "statements"))))
        }
    }
}

/// What is to be known of a plan.
pub(crate) fn told(plan: &RolesPlan) -> Vec<String> {
    let mut notes = Vec::new();
    let named = |names: &[String]| names.join(", ");
    if !plan.made.is_empty() {
        notes.push(format!("roles made: {}", named(&plan.made)));
    }
    if !plan.kept.is_empty() {
        notes.push(format!(
            "roles that are there and stay as they are (--alter-roles changes them): {}",
            named(&plan.kept)
        ));
    }
    notes.extend(plan.left_out.iter().map(|text| format!("left out: {text}")));
    let made: BTreeSet<&String> = plan.made.iter().collect();
    let without: Vec<String> = plan.without_password.iter().filter(|name| made.contains(name)).cloned().collect();
    if !without.is_empty() {
        notes.push(format!("roles without a password, which have to be given one: {}", named(&without)));
    }
    notes
}
