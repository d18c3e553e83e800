//! DataHub: one table of MariaDB or PostgreSQL.

use std::fs;

use super::{KEEPER, Machine, Site, new_bytes};
use crate::s3::weed::Weed;
use crate::servers::mariadb::MariaDb;
use crate::servers::postgres::Postgres;

const TABLE: &str = "create table metadata_aspect_v2 (urn varchar(500) not null, aspect varchar(200) not null, \
    version bigint not null, metadata longtext not null, systemmetadata longtext, createdon datetime(6) not null, \
    createdby varchar(255) not null, primary key (urn, aspect, version), key timeIndex (createdon)) \
    default charset utf8mb4 collate utf8mb4_bin;";

/// Aspects of data sets, `first` to `last`; the text has what dumps get wrong.
fn aspects(first: u32, last: u32) -> String {
    format!(
        "insert into metadata_aspect_v2 select concat('urn:li:dataset:', d.seq), concat('aspect', a.seq), 0, \
         concat('{{\"q\":\"it''s \\\\n Ünï \\\\0\",\"h\":\"', md5(d.seq * 7 + a.seq), md5(d.seq), md5(d.seq * 31 + a.seq), '\"}}'), \
         '{{\"lastObserved\":1}}', '2026-03-01', 'urn:li:corpuser:x' from seq_{first}_to_{last} d, seq_1_to_6 a;"
    )
}

/// A night: each hundredth aspect gets a new version 0, and its old one moves; some data sets are new.
fn night(number: u32, first: u32) -> String {
    let chosen = format!("version = 0 and crc32(concat(urn, aspect, 'night{number}')) % 100 = 0");
    format!(
        "insert into metadata_aspect_v2 select urn, aspect, {number}, metadata, systemmetadata, createdon, createdby \
         from metadata_aspect_v2 where {chosen}; \
         update metadata_aspect_v2 set metadata = concat(metadata, ' {number}'), createdon = '2026-03-0{number}' \
         where {chosen};{}",
        aspects(first, first + 5)
    )
}

/// A server with the table, and the account of the recipe.
fn server(site: &Site, sets: u32) -> MariaDb {
    let my = MariaDb::start();
    my.sql(&format!("create database datahub; use datahub; {TABLE} create table other (a int); {}", aspects(1, sets)));
    my.sql(&site.block("sql", 0));
    my
}

/// The recipe on backup1, with a server.
fn begun(site: &mut Site, my: &MariaDb) {
    site.stands_for("rds.example.org", &my.socket());
    site.begin(&["backup1"]);
    site.machine("backup1").install("/etc/strongroom/datahub.cnf", &site.block("ini", 0));
}

const CHECKSUM: &str = "checksum table datahub.metadata_aspect_v2";

/// DH-1, DH-3, DH-7, DH-8, DH-11, DH-13: the recipe saves one table from an account that may read nothing else, in a
/// bucket where it may not delete; the table comes back into another server, and through a client that is too old for
/// the first line of the dump.
#[test]
fn the_table_of_datahub_comes_back_by_its_recipe() {
    let mut site = Site::new("DataHub", Some(Weed::start()));
    let old = server(&site, 500);
    begun(&mut site, &old);
    let new = MariaDb::start();
    for word in ["host=new.example.org", "-h new.example.org"] {
        let with = if word.starts_with('-') { "-S " } else { "socket=" };
        site.stands_for(word, &format!("{with}{}", new.socket()));
    }
    let backup1 = site.machine("backup1");
    let text = backup1.sh(0, &site.block("sh", 0));
    assert!(text.contains("no errors found") && text.contains("complete"), "{text}");
    backup1.sh(0, "strongroom run datahub");
    let keeper = site.machine(KEEPER);
    let text = keeper.as_owner(0, &site.block("sh", 1));
    assert!(text.contains("nothing to forget"), "{text}");
    let expected = old.sql(CHECKSUM);
    drop(old);

    keeper.install("/etc/strongroom/new.cnf", "[client]\nuser = root\n");
    let text = keeper.as_owner(0, &site.block("sh", 2));
    assert_eq!(text.matches("datahub-backup-20").count(), 2, "{text}");
    assert!(text.contains("3,000 rows compared") && text.contains("job RestoreIndices"), "{text}");
    assert_eq!(new.sql(CHECKSUM), expected);
    assert_eq!(
        new.sql("select table_name from information_schema.tables where table_schema = 'datahub'"),
        "metadata_aspect_v2"
    );
    new.sql("drop database datahub; create database datahub");
    // Versions before 10.5.25 end at the line that switches the sandbox on.
    site.program(
        "mysql",
        "IFS= read -r first; [[ $first != *M!999999* ]] || { echo 'unknown command' >&2; exit 1; }
         { printf '%s\\n' \"$first\"; cat; } | exec mariadb \"$@\"",
    );
    keeper.as_owner(0, &site.block("sh", 3));
    assert_eq!(new.sql(CHECKSUM), expected);
    site.assert_unseen("a long password", &["backup1/etc/strongroom/datahub.cnf"]);
}

/// DH-4: the same table of PostgreSQL, by the lines that the recipe has for it.
#[test]
fn the_table_of_datahub_comes_back_from_postgresql() {
    let mut site = Site::new("DataHub", None);
    let old = Postgres::start();
    old.sql("postgres", "create role strongroom login");
    let table = "create table metadata_aspect_v2 (urn text, aspect text, version bigint, metadata text, primary key (urn, aspect, version))";
    old.database(
        "datahub",
        &format!(
            "{table}; create table secret (a int); grant select on metadata_aspect_v2 to strongroom; \
             insert into metadata_aspect_v2 select 'urn:' || g, 'status', 0, md5(g::text) from generate_series(1, 500) g"
        ),
    );
    site.stands_for("pg.example.org", &old.at());
    site.begin(&["backup1"]);
    let toml = site.block("toml", 0);
    let (before, rest) = toml.split_once("[jobs.datahub.sources.aspects]\nkind = \"mysql\"").unwrap();
    let (_, rest) = rest.split_once("# If DataHub uses PostgreSQL").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    let rest: String = rest.lines().map(|line| format!("{}\n", line.trim_start_matches("# "))).collect();
    let backup1 = site.machine("backup1");
    backup1.install("/etc/strongroom/strongroom.toml", &format!("{before}{rest}"));
    backup1.install("/etc/strongroom/datahub.password", "a long password\n");
    backup1.sh(0, &site.block("sh", 0));
    let sum = "select count(*), md5(string_agg(t::text, ',' order by urn)) from metadata_aspect_v2 t";
    let expected = old.sql("datahub", sum);
    let new = Postgres::start();
    let load =
        format!("strongroom load --job datahub --to 'host={} user=postgres' --no-owner --no-privileges", new.at());
    let text = site.machine(KEEPER).as_owner(0, &load);
    assert!(text.contains("500 rows compared"), "{text}");
    assert_eq!(new.sql("datahub", sum), expected);
}

/// A machine whose `mariadb-dump` keeps a copy of what it wrote in `dump`, and then fails if there is a file `fail`.
fn watched(site: &Site) -> Machine<'_> {
    let real = "PATH=${PATH#*:} mariadb-dump \"$@\"";
    let script = format!(
        "set -o pipefail\ncase \"$*\" in *metadata_aspect_v2*) {real} | tee \"$ROOT/dump\";; *) exec env {real};; esac || exit\n\
         [ ! -e \"$ROOT/fail\" ] || exit 3"
    );
    site.program("mariadb-dump", &script);
    site.machine("backup1")
}

/// S1, DH-1, DH-2: four nights of a quiet week. Every night comes back as the bytes that the tool wrote, and what is new
/// in a night is a part of the table. A dump that fails leaves no snapshot, whatever it wrote before.
#[test]
fn s1_each_night_of_the_table_comes_back_and_a_failed_one_is_none() {
    let mut site = Site::new("DataHub", None);
    let my = server(&site, 2000);
    begun(&mut site, &my);
    let (backup1, keeper) = (watched(&site), site.machine(KEEPER));
    let mut dumps = Vec::new();
    for number in 1..=4 {
        backup1.sh(0, "strongroom run datahub");
        dumps.push(fs::read(backup1.at("dump")).unwrap());
        my.sql(&format!("use datahub; {}", night(number, 3000 + number * 10)));
    }
    for (n, dump) in dumps.iter().rev().enumerate() {
        keeper.as_owner(0, &format!("strongroom cat latest~{n}:datahub.sql > back"));
        assert!(fs::read(keeper.at("root/back")).unwrap() == *dump, "the night before the last {n}");
    }
    let new = new_bytes(&keeper, "datahub/aspects");
    assert!(new.len() == 4 && new[0] as usize >= dumps[0].len() * 9 / 10, "{new:?}");
    assert!(new[1..].iter().all(|bytes| *bytes < new[0] * 6 / 10), "{new:?} of {}", dumps[0].len());
    // The tool has written everything and then fails; the table is gone; the server is gone.
    fs::write(backup1.at("fail"), "").unwrap();
    let text = backup1.sh(1, "strongroom run datahub");
    assert!(text.contains("status 3"), "{text}");
    fs::remove_file(backup1.at("fail")).unwrap();
    my.sql("drop table datahub.metadata_aspect_v2");
    backup1.sh(1, "strongroom run datahub");
    drop(my);
    backup1.sh(1, "strongroom run datahub");
    assert_eq!(new_bytes(&keeper, "datahub/aspects"), new);
    let text = backup1.sh(0, "strongroom runs");
    assert_eq!((text.matches("complete").count(), text.matches("failed").count() >= 3), (4, true), "{text}");
}
