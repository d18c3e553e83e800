#!/usr/bin/env python3
"""Nights of a job beside restic: the same databases and directory, saved by both tools, night after night.

usage: nights.py --strongroom BIN --restic BIN [--nights 7] [--rows 40000] [--dir DIR]

Starts a private PostgreSQL with nine databases and a private MariaDB with one table, and makes a directory with files of
several kinds. Before each night 1 % of the rows and of the files change. Then both tools save the same: restic by one
`backup --stdin` per dump and one `backup` of the directory, strongroom by `strongroom run`, which also counts all rows.
The tools take turns in going first. Prints wall time and bytes added to the repository, per night and tool, and what 14
databases that did not change cost against one. Needs root (servers refuse to be root's: they run as postgres and mysql).
"""

import argparse
import glob
import os
import random
import shutil
import subprocess
import tempfile
import time

NAMES = ["arborist", "audit", "fence", "indexd", "metadata", "peregrine", "requestor", "sheepdog", "wts"]


def run(words, env=None, stdin=None, user=None, quiet=True):
    if user:
        words = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", *words]
    return subprocess.run(words, env=env, stdin=stdin, check=True, cwd="/", stdout=subprocess.DEVNULL if quiet else None,
                          stderr=subprocess.PIPE)


def bytes_in(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


class Servers:
    def __init__(self, base):
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.pg, self.my = os.path.join(base, "pg"), os.path.join(base, "my")
        for folder, user in ((self.pg, "postgres"), (self.my, "mysql")):
            os.mkdir(folder)
            shutil.chown(folder, user)
        run([self.bin + "/initdb", "-D", self.pg + "/data", "-A", "trust", "-U", "postgres", "--no-sync"], user="postgres")
        run([self.bin + "/pg_ctl", "-D", self.pg + "/data", "-o", f"-c listen_addresses= -k {self.pg} -c fsync=off", "-l",
             self.pg + "/log", "-w", "start"], user="postgres")
        run(["mariadb-install-db", "--no-defaults", f"--datadir={self.my}/data", "--auth-root-authentication-method=normal"],
            user="mysql")
        self.mariadb = subprocess.Popen(
            ["setpriv", "--reuid", "mysql", "--regid", "mysql", "--init-groups", "mariadbd", "--no-defaults",
             f"--datadir={self.my}/data", f"--tmpdir={self.my}", f"--socket={self.my}/sock", "--skip-networking",
             f"--pid-file={self.my}/pid"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while subprocess.run(self.client("mariadb-admin") + ["ping"], capture_output=True).returncode:
            time.sleep(0.1)

    def client(self, tool):
        return [tool, "--no-defaults", "-u", "root", f"--socket={self.my}/sock"]

    def psql(self, database, sql):
        run(["psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-h", self.pg, "-U", "postgres", "-d", database, "-c", sql])

    def mysql(self, sql):
        run(self.client("mariadb") + ["-e", sql])

    def stop(self):
        run([self.bin + "/pg_ctl", "-D", self.pg + "/data", "-m", "immediate", "-w", "stop"], user="postgres")
        run(self.client("mariadb-admin") + ["shutdown"])
        self.mariadb.wait()


def fill(servers, rows):
    for name in NAMES:
        servers.psql("postgres", f"create database {name}")
        servers.psql(name, "create table t (id int primary key, name text, note text, at timestamptz default now());"
                           f"insert into t select g, md5(g::text), repeat(md5((g * 7)::text), 4) from generate_series(1, {rows}) g")
    servers.mysql("create database datahub; use datahub; create table metadata_aspect_v2 (urn varchar(120), aspect varchar(40), "
                  "version bigint, metadata longtext, primary key (urn, aspect, version)) default charset utf8mb4; insert into "
                  "metadata_aspect_v2 select concat('urn:li:dataset:', seq), 'status', 0, concat('{\"a\":\"', md5(seq), "
                  f"repeat(md5(seq * 3), 5), '\"}}') from seq_1_to_{rows * 2}")


def change(servers, tree, rows, night, rng):
    for name in NAMES:
        servers.psql(name, f"update t set note = md5(note || '{night}') || note where id % 100 = {night}; "
                           f"insert into t select g, md5(g::text), md5((g * 3)::text) from generate_series({rows * night + 1}, {rows * night + rows // 300}) g")
    servers.mysql(f"update datahub.metadata_aspect_v2 set metadata = concat('{{\"n\":{night},', substr(metadata, 2)) "
                  f"where substring_index(urn, ':', -1) % 100 = {night}")
    files = sorted(glob.glob(tree + "/*/*"))
    for file in rng.sample(files, len(files) // 100):
        with open(file, "r+b") as f:
            f.seek(0)
            f.write(rng.randbytes(64))


def make_tree(tree, rng):
    words = [rng.randbytes(6).hex() for _ in range(4000)]
    for folder in range(40):
        os.makedirs(f"{tree}/{folder}")
        for file in range(50):
            with open(f"{tree}/{folder}/{file}", "wb") as f:
                if file % 10 == 0:
                    f.write(rng.randbytes(rng.randrange(100_000, 400_000)))
                else:
                    f.write(" ".join(rng.choices(words, k=rng.randrange(100, 3000))).encode())


class Restic:
    name = "restic"

    def __init__(self, binary, base, servers, tree):
        self.binary, self.repo, self.servers, self.tree = binary, base + "/restic", servers, tree
        self.env = {**os.environ, "RESTIC_REPOSITORY": self.repo, "RESTIC_PASSWORD": "x", "RESTIC_CACHE_DIR": base + "/restic-cache"}
        run([binary, "init"], env=self.env)

    def pipe(self, words, name):
        dump = subprocess.Popen(words, stdout=subprocess.PIPE, cwd="/")
        run([self.binary, "backup", "--stdin", "--stdin-filename", name], env=self.env, stdin=dump.stdout)
        assert dump.wait() == 0

    def night(self, names=NAMES, rest=True):
        pg = ["-h", self.servers.pg, "-U", "postgres"]
        self.pipe([self.servers.bin + "/pg_dumpall", "--globals-only", *pg], "globals.sql")
        for name in names:
            self.pipe([self.servers.bin + "/pg_dump", "-Fc", "-Z0", *pg, name], name + ".dump")
        if rest:
            self.pipe(["mariadb-dump", *self.servers.client("")[1:], "--single-transaction", "--quick", "--skip-dump-date",
                       "--order-by-primary", "datahub", "metadata_aspect_v2"], "metadata_aspect_v2.sql")
            run([self.binary, "backup", self.tree], env=self.env)


class Strongroom:
    name = "strongroom"

    def __init__(self, binary, base, servers, tree, count=True):
        self.binary, self.repo, self.base = binary, base + "/strongroom", base
        self.env = {**os.environ, "STRONGROOM_CACHE_DIR": base + "/sr-cache", "STRONGROOM_STATE_DIR": base + "/sr-state",
                    "STRONGROOM_PASSPHRASE": "x", "HOME": base}
        run([binary, "-r", self.repo, "init"], env=self.env)
        self.servers, self.tree, self.count = servers, tree, count

    def night(self, names=NAMES, rest=True):
        file, count = self.base + "/strongroom.toml", str(self.count).lower()
        listed = ", ".join(f'"{name}"' for name in names)
        text = (f'version = 1\n[repositories]\nmain = {{ url = "{self.repo}", password_env = "STRONGROOM_PASSPHRASE" }}\n'
                f'[jobs.night]\nrepository = "main"\n[jobs.night.sources]\npg = {{ kind = "postgres", host = "{self.servers.pg}", '
                f'user = "postgres", databases = [{listed}], globals = "all", count = {count} }}\n')
        if rest:
            text += (f'my = {{ kind = "mysql", host = "{self.servers.my}/sock", user = "root", '
                     f'tables = ["datahub.metadata_aspect_v2"], count = {count} }}\n'
                     f'tree = {{ kind = "path", paths = ["{self.tree}"] }}\n')
        with open(file, "w") as f:
            f.write(text)
        os.chmod(file, 0o600)
        run([self.binary, "run", "--quiet", "--config", file], env=self.env)


def timed(tool, **how):
    before, began = bytes_in(tool.repo), time.monotonic()
    tool.night(**how)
    return time.monotonic() - began, bytes_in(tool.repo) - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strongroom", required=True)
    parser.add_argument("--restic", required=True)
    parser.add_argument("--nights", type=int, default=7)
    parser.add_argument("--rows", type=int, default=40000)
    parser.add_argument("--dir")
    given = parser.parse_args()
    base = tempfile.mkdtemp(dir=given.dir)
    os.chmod(base, 0o755)
    rng, tree = random.Random(1), base + "/tree"
    servers = Servers(base)
    try:
        fill(servers, given.rows)
        make_tree(tree, rng)
        tools = [Restic(given.restic, base, servers, tree), Strongroom(given.strongroom, base, servers, tree)]
        print("night   " + "".join(f"{tool.name:>12} s {'stored':>12}" for tool in tools))
        for night in range(1, given.nights + 1):
            if night > 1:
                change(servers, tree, given.rows, night, rng)
            order = tools if night % 2 else tools[::-1]
            took = {tool.name: timed(tool) for tool in order}
            print(f"{night:<8}" + "".join(f"{took[t.name][0]:>14.2f} {took[t.name][1]:>12,}" for t in tools), flush=True)
        for number in range(14):
            servers.psql("postgres", f"create database same{number} template fence")
        same = [f"same{number}" for number in range(14)]
        for tool in tools:
            timed(tool, names=same, rest=False)
            few, many = timed(tool, names=same[:1], rest=False), timed(tool, names=same, rest=False)
            print(f"{tool.name}: 1 unchanged database {few[0]:.2f} s, {few[1]:,} bytes; 14 {many[0]:.2f} s, {many[1]:,} bytes")
    finally:
        servers.stop()
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
