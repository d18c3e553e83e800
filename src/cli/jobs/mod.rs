//! Running jobs of the configuration: what is to be run, and what its values mean on this machine.

pub(super) mod attempts;
pub(super) mod check;
pub(super) mod execute;
pub(super) mod expected;
pub(super) mod follow;
pub(super) mod for_each;
pub(super) mod hooks;
pub(super) mod journal;
pub(super) mod limits;
pub(super) mod logged;
pub(super) mod mysql;
pub(super) mod notify;
pub(super) mod plan;
pub(super) mod postgres;
pub(super) mod repository;
pub(super) mod secrets;
pub(super) mod sources;
pub(super) mod sqlite;
pub(super) mod texts;
