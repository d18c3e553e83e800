//! What is backed up: trees of files, and the output of commands.
//!
//! - `walk` goes through a tree in order while a few threads look ahead; `exclude` and `presets` say what to
//!   leave out, `stat` and `metadata` what is known of an entry, `directory` and `file` open it.
//! - `command` runs a command whose output is backed up; `sniff` sees whether a dump was compressed too early, `trailer`
//!   whether it lacks its last line.
//!
//! Reading never follows a symbolic link, never changes an access time where that can be helped, and never
//! waits for a named pipe. A problem with one path is a `Problem`, not the end of the run.
//!
//! Nothing here knows of repositories; what to do with what was read is for the backup operation.

pub mod command;
pub mod directory;
pub mod dss;
pub mod exclude;
pub mod file;
pub mod listing;
pub mod metadata;
pub mod presets;
pub mod problem;
mod reach;
mod scan;
mod scan_queue;
pub mod sniff;
pub mod stat;
pub mod trailer;
pub mod walk;

pub use command::{CommandError, CommandOutcome, CommandSource, StreamCommand};
pub use directory::Directory;
pub use exclude::{Decision, ExcludeError, ExcludeOptions, ExcludeRules, RuleSummary};
pub use file::{SourceFile, changed, open_file};
pub use listing::{Entry, Listing, stat_root};
pub use metadata::{OwnerNames, read_link, read_metadata};
pub use presets::Preset;
pub use problem::{Problem, ProblemKind};
pub use reach::{Reach, reach};
pub use sniff::{Compressed, sniff};
pub use stat::{FileKind, Stat};
pub use trailer::cut_short;
pub use walk::{Event, WalkOptions, walk};
