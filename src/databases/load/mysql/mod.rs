//! Loading into a MySQL or MariaDB server, by its client.

pub(super) mod database;
pub(super) mod server;
pub(super) mod text;
pub(super) mod users;
