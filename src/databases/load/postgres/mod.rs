//! Loading into a PostgreSQL server, by psql and pg_restore.

pub(super) mod database;
pub(super) mod globals;
pub(super) mod rows;
pub(super) mod server;
