//! Saving a base backup.

use std::ffi::OsString;
use std::sync::Arc;

use crate::databases::postgres::options::{Format, PostgresOptions};
use crate::databases::postgres::server::Server;
use crate::databases::scratch::Scratch;
use crate::format::description::StreamDescription;
use crate::ops::backup::{Dump, Dumped};
use crate::primitives::progress::Severity;
use crate::source::command::{CommandSource, Program};

/// Runs `pg_basebackup` into a directory, then writes that as a tar stream, the data directory first: it names the
/// tablespaces that follow. Nothing differs that does not differ in the backup.
const TAR_SCRIPT: &str = "\"${@:2}\" >&2 && exec tar --create --file=- --format=gnu --sort=name --mtime=@0 --owner=0 \
                          --group=0 --numeric-owner --directory=\"$1\" base.tar --exclude=./base.tar .";

/// Bytes of all tablespaces, and of the WAL that is written at least.
const SIZE: &str =
    "select (select pg_catalog.sum(pg_catalog.pg_tablespace_size(oid)) from pg_catalog.pg_tablespace)::int8
 + 2 * pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'));";

/// Files of the configuration that lie outside of the data directory; none if who asks may not know.
const CONFIGURATION: &str = "select coalesce(pg_catalog.json_agg(f.setting order by f.setting), '[]')
 from pg_catalog.pg_settings f, pg_catalog.pg_settings d
 where d.name = 'data_directory' and f.name in ('config_file', 'hba_file', 'ident_file')
 and pg_catalog.strpos(f.setting, d.setting || '/') <> 1;";

/// The whole server as it is on disk.
pub(in crate::databases::postgres) struct BaseBackup {
    server: Arc<Server>,
    options: Arc<PostgresOptions>,
    scratch: Option<Scratch>,
}

impl BaseBackup {
    pub(in crate::databases::postgres) fn new(server: Arc<Server>, options: Arc<PostgresOptions>) -> Self {
        Self { server, options, scratch: None }
    }

    /// A command that writes the backup into a private folder, and that as one stream.
    fn through_scratch(&mut self, mut words: Vec<OsString>) -> Result<CommandSource, String> {
        let scratch = scratch(&self.server, &self.options)?;
        let mut target: OsString = "--pgdata=".into();
        target.push(scratch.path());
        words.extend([target, "--no-sync".into()]);
        let mut command = self.server.tools.command(self.file(), "pg_basebackup", words);
        if let Program::Words(backup) = command.program {
            let shell = ["bash", "-c", TAR_SCRIPT, "strongroom"].map(OsString::from);
            command.program = Program::Words(shell.into_iter().chain([scratch.path().into()]).chain(backup).collect());
        }
        self.scratch = Some(scratch);
        Ok(command)
    }
}

/// A folder with room for the whole server.
fn scratch(server: &Server, options: &PostgresOptions) -> Result<Scratch, String> {
    let Some(parent) = &options.scratch_dir else { return Err("`scratch_dir` is not set".to_owned()) };
    let size = server.ask::<u64>(&server.facts.database, SIZE).map_err(|e| {
        let user = &server.facts.user;
        format!(
            "the size of the server, for which `scratch_dir` needs room, cannot be read: {e}; \
                 GRANT pg_read_all_stats TO {user} lets it"
        )
    })?;
    Scratch::new(parent, size, server.tools.run_as.as_deref())
}

/// Why no base backup can be made, if so.
pub(in crate::databases::postgres) fn no_base_backup(server: &Server, options: &PostgresOptions) -> Option<String> {
    let facts = &server.facts;
    if !facts.replicates {
        return Some(format!(
            "{} may not make base backups: ALTER ROLE ... REPLICATION lets it, or connect as a superuser",
            facts.user
        ));
    }
    if facts.tablespaces.is_empty() {
        return None;
    }
    let names: Vec<&str> = facts.tablespaces.iter().map(|(name, _)| name.as_str()).collect();
    let why = format!("the server has tablespaces of its own ({}), and its base backup", names.join(", "));
    if server.tools.container.is_some() {
        return Some(format!(
            "{why} cannot be written to `scratch_dir` by the tool in the container: use the tools outside of it, or \
             format = \"custom\""
        ));
    }
    if options.scratch_dir.is_none() {
        return Some(format!(
            "{why} needs `scratch_dir`, a directory with room for the whole server: set it, or use format = \"custom\""
        ));
    }
    // Made and removed again: whether it can be, and has the room.
    scratch(server, options).err()
}

impl Dump for BaseBackup {
    fn file(&self) -> &'static str {
        "basebackup.tar"
    }

    fn begin(&mut self) -> Result<CommandSource, String> {
        // What a try that failed has written makes room for this one.
        self.scratch = None;
        if let Some(why) = no_base_backup(&self.server, &self.options) {
            return Err(why);
        }
        let options =
            ["--format=tar", "--wal-method=fetch", "--checkpoint=fast", "--no-password", "--label=strongroom"];
        let words = options.iter().map(OsString::from);
        let mut words: Vec<OsString> = words.chain([self.server.connection.option(None).into()]).collect();
        if !self.server.facts.tablespaces.is_empty() {
            return self.through_scratch(words);
        }
        words.push("--pgdata=-".into());
        Ok(self.server.tools.command(self.file(), "pg_basebackup", words))
    }

    fn finish(&mut self, _stop: &dyn Fn() -> bool) -> Result<Dumped, String> {
        self.scratch = None;
        let facts = &self.server.facts;
        let place = |place: &(String, String)| ("tablespace".to_owned(), serde_json::json!(place).to_string());
        let described = StreamDescription {
            member: None,
            kind: "postgres".to_owned(),
            format: Format::BaseBackup.name().to_owned(),
            tool: Some(self.server.tool_version.clone()),
            server: Some(facts.version.clone()),
            properties: facts.tablespaces.iter().map(place).collect(),
            tables: None,
            load: Some("tar --extract --file={file} --directory=DIRECTORY".to_owned()),
            members: Vec::new(),
            line: None,
        };
        let mut findings = vec![(
            Severity::Note,
            "the rows of tables are not counted: a base backup holds files, not tables".to_owned(),
        )];
        let files = self.server.ask::<Vec<String>>(&facts.database, CONFIGURATION).unwrap_or_default();
        if !files.is_empty() {
            let text = format!(
                "a base backup holds the data directory, and files of the configuration lie outside of it: save {} by a \
                 source of the kind path",
                files.join(", ")
            );
            findings.push((Severity::Note, text));
        }
        Ok(Dumped { described: Some(described), findings })
    }
}
