//! Rows of packs and of frames: numbers that are not to be taken for each other.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

macro_rules! row {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                i64::column_result(value).map(Self)
            }
        }
    };
}

row! {
    /// A pack in the cache.
    PackRow
}

row! {
    /// A frame in the cache. The frames of a pack follow each other.
    FrameRow
}

impl FrameRow {
    /// The row of frame `place` of a pack whose first frame this is.
    pub fn nth(self, place: u32) -> Self {
        Self(self.0 + i64::from(place))
    }
}
