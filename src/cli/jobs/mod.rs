//! Running jobs of the configuration: what is to be run, and what its values mean on this machine.

pub(super) mod hooks;
pub(super) mod plan;
pub(super) mod repository;
pub(super) mod sources;
pub(super) mod texts;
