//! Checksums of tables, as the server computes them.
//!
//! They tell whether two tables of one server version hold the same rows. Versions, row formats and character sets make
//! others of the same rows: a difference between two servers proves nothing.

use std::collections::BTreeMap;
use std::io::Read;

use super::server::{Server, quoted, rows};
use crate::source::StreamCommand;

/// So long may the text of one question become: it is an argument of the client.
const QUESTION_LEN_MAX: usize = 64 << 10;

/// The checksums of these tables of a database. Takes as long as reading all of them: `stop` says when to give up.
pub(super) fn checksums(
    server: &Server,
    database: &str,
    tables: &[String],
    stop: &dyn Fn() -> bool,
) -> Result<BTreeMap<String, String>, String> {
    let mut found = BTreeMap::new();
    let mut names = tables.iter().peekable();
    while names.peek().is_some() {
        let (mut asked, mut list) = (Vec::new(), String::new());
        while let Some(name) = names.next_if(|_| list.len() < QUESTION_LEN_MAX) {
            list.push_str(&format!("{}{}.{}", if list.is_empty() { "" } else { ", " }, quoted(database), quoted(name)));
            asked.push(name);
        }
        let answer = answer(server, &format!("checksum table {list}"), stop)?;
        // One line for each, in their order.
        if answer.len() != asked.len() {
            return Err(format!("{} of {} tables were answered for", answer.len(), asked.len()));
        }
        for (name, row) in asked.into_iter().zip(answer) {
            if let Some(sum) = row.get(1).filter(|sum| *sum != "NULL") {
                found.insert(name.clone(), sum.clone());
            }
        }
    }
    Ok(found)
}

fn answer(server: &Server, sql: &str, stop: &dyn Fn() -> bool) -> Result<Vec<Vec<String>>, String> {
    let source = server.asking("checksums", sql);
    let mut command = StreamCommand::spawn(&source, |_| {}).map_err(|e| e.to_string())?;
    let (mut said, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        if !command.wait_readable(stop).map_err(|e| e.to_string())? {
            return Err("it was given up".to_owned());
        }
        match command.read(&mut piece).map_err(|e| e.to_string())? {
            0 => break,
            n => said.extend_from_slice(&piece[..n]),
        }
    }
    command.finish().map_err(|e| format!("{e}: {}", e.stderr_tail().trim()))?;
    Ok(rows(&String::from_utf8_lossy(&said)))
}
