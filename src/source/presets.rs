//! Named sets of exclusion patterns.
//!
//! The general ones (`tmp`, `caches`, `logs`, `vcs`, `build`) match at any depth. Those for Dataiku DSS (`dss:*`)
//! are anchored at the source root, the DATA_DIR: a project that is called `tmp` or `jobs` deeper down stays. Where
//! a pattern ends in `/*` the contents are left out and the empty directory is kept, because programs expect it.
//!
//! The patterns have gitignore meaning; `exclude` gives it to them.

/// A named set of patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name, as given by the user.
    pub name: &'static str,
    /// What it is about, in a few words.
    pub about: &'static str,
    /// Its patterns, in gitignore syntax.
    pub patterns: &'static [&'static str],
    /// Whether the bytes below what it leaves out are always counted, because somebody may miss them.
    pub measured: bool,
}

/// All presets.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "tmp",
        measured: false,
        about: "contents of directories named tmp, temp or .tmp; temporary and editors' backup files",
        patterns: &["**/tmp/*", "**/temp/*", "**/.tmp/*", "*.tmp", "*.temp", "*.swp", "*.swo", "*~", "\\#*#", ".#*"],
    },
    Preset {
        name: "caches",
        measured: false,
        about: "contents of cache directories of desktops, browsers and language tools",
        patterns: &[
            "**/.cache/*",
            "**/cache/*",
            "**/caches/*",
            "**/Cache/*",
            "**/Caches/*",
            "**/Code Cache/*",
            "**/GPUCache/*",
            "**/.ccache/*",
            "**/.thumbnails/*",
            "**/.npm/_cacache/*",
            "**/.cargo/registry/*",
            "**/.pytest_cache/*",
            "**/.mypy_cache/*",
            "**/.ruff_cache/*",
            "**/.sass-cache/*",
        ],
    },
    Preset {
        name: "logs",
        measured: false,
        about: "log files, also rotated ones, and contents of directories named log or logs, but not git's reflogs",
        patterns: &[
            "*.log",
            "*.log.[0-9]*",
            "*.log-[0-9]*",
            "*.log.gz",
            "**/log/*",
            "**/logs/*",
            // .git/logs holds the reflogs, without which lost commits cannot be found.
            "!**/.git/logs/*",
        ],
    },
    Preset {
        name: "vcs",
        measured: false,
        about: "metadata of version control: git, Mercurial, Subversion, Jujutsu, Bazaar, Darcs, CVS, Fossil",
        // No slash after .git: in submodules and worktrees it is a file.
        patterns: &[".git", ".hg/", ".svn/", ".jj/", ".bzr/", "_darcs/", "CVS/", ".fslckout"],
    },
    Preset {
        name: "build",
        // Plain `build`, `dist`, `out` and `target` are names that people also give to what they cannot rebuild.
        measured: false,
        about: "what builds leave: object files, node_modules, Rust's target/debug and target/release, byte code",
        patterns: &[
            "node_modules/",
            "**/target/debug/",
            "**/target/release/",
            "__pycache__/",
            "*.egg-info/",
            ".tox/",
            ".nox/",
            ".gradle/",
            ".next/",
            ".nuxt/",
            ".parcel-cache/",
            "cmake-build-*/",
            "_build/",
            "*.o",
            "*.obj",
            "*.pyc",
            "*.class",
        ],
    },
    Preset {
        name: "dss:temp",
        measured: false,
        about: "Dataiku DSS: temporary files and what is rebuilt by itself",
        patterns: &["/tmp/*", "/caches/*", "/data-catalog/*"],
    },
    Preset {
        name: "dss:logs",
        measured: false,
        about: "Dataiku DSS: logs of the server, of jobs and of scenarios; diagnoses",
        patterns: &["/run/*", "/jobs/*", "/scenarios/*", "/diagnosis/*"],
    },
    Preset {
        name: "dss:other",
        measured: false,
        about: "Dataiku DSS: exports, bundles, packages of API nodes, copies made before upgrades",
        patterns: &["/exports/*", "/prepared_bundles/*", "/apinode-packages/*", "/_pre_migration_backup_*/*"],
    },
    Preset {
        name: "dss:data",
        measured: true,
        about: "Dataiku DSS: managed datasets, analyses and models; only if all of them can be rebuilt",
        // The vendor's page on backups says analysis_data; the directory is called analysis-data.
        patterns: &["/managed_datasets/*", "/analysis-data/*", "/analysis_data/*", "/saved_models/*"],
    },
];

impl Preset {
    /// The preset called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|p| p.name == name)
    }
}
