//! Servers of databases, run as their own users in private folders, on sockets only.
//!
//! A server that is not installed is a failure, not a skip: `.ci/test` installs them.

pub(crate) mod mariadb;
pub(crate) mod postgres;
