"""TABLE of the databases that get a logical dump: how one is recognised, asked, dumped, fed again,
and how a dump is proven whole. What is done with the rows is dumping.py's and feeding.py's.

Each step is a script for the container's own sh. It has the container's environment and its secret
files there, so a password is read where it lies and stands on no command line. `$1` is the count
of bytes where a step reads a dump on stdin, which has no end by itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from safedocker.backup import sqltext
from safedocker.backup.sqltext import There
from safedocker.errors import SafedockerError

NEVER = 3  # exit code of a probe where waiting will not help: no client program, ...
_TAIL = 4096  # bytes of a dump's end that are looked at

_BEGIN = r"""
set -eu
secret() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -z "$value" ] && [ -n "$file" ]; then value=$(cat "$file"); fi
    printf %s "$value"
}
have() { command -v "$1" >/dev/null 2>&1; }
never() { echo "$1" >&2; exit 3; }
fed() { head -c "$1" | { shift; code=0; "$@" || code=$?; cat >/dev/null; exit $code; }; }
"""  # `fed` reads to the end, also when its program gave up: or the engine cuts off what it said


@dataclass
class Watch:
    """What a dump's bytes looked like, as far as a row wants to know."""

    section: re.Pattern[bytes] | None  # a row's
    size: int = 0
    head: bytes = b""
    tail: bytes = b""
    names: set[str] = field(default_factory=set)  # the databases that have a part of their own
    _edge: bytes = field(default=b"\n", repr=False)

    def feed(self, piece: bytes) -> None:
        """Take in the next bytes."""
        self.size += len(piece)
        self.head = (self.head + piece)[:_TAIL] if len(self.head) < _TAIL else self.head
        self.tail = (self.tail + piece)[-_TAIL:]
        if self.section:
            seen = self._edge + piece
            self.names.update(map(section_name, self.section.finditer(seen)))
            self._edge = seen[seen.rfind(b"\n") :][:_TAIL]  # such a line is shorter


def section_name(found: re.Match[bytes]) -> str:
    """The database whose part begins with a line, without the quotes of psql, MariaDB, or libpq."""
    name = found[1].decode("utf-8", "surrogateescape")
    if quoted := re.fullmatch(r"-reuse-previous=on \"dbname='(.*)'\"", name):
        return re.sub(r"\\(.)", r"\1", quoted[1].replace('""', '"'))
    return name[1:-1].replace("``", "`") if name.startswith("`") else name


@dataclass(frozen=True)
class Database:
    """One kind of database. `probe` prints lines: server=, tool=, data= (its directory), listens=
    (nothing while it sets itself up), database=COUNT NAME (of what it holds), role=, login= (the
    role that asks), closed=NAME (of a database that lets nobody connect, so that no dump has it).

    `whole` says what is wrong with a dump, or "". `adapt` takes out of a dump what the server it
    goes to has already, and puts into a list what is to be done last, as nobody gets in by the
    password of now afterwards; `trim` takes out what the program wrote that is no dump.
    """

    name: str
    contents: tuple[str, ...]  # as the look into a volume names it
    images: tuple[str, ...]  # or as the last part of an image's name begins
    login: str
    probe: str
    dump: str
    restore: str
    clear: str  # removes the databases of the names given; "" where the restore replaces all
    whole: Callable[[Watch, frozenset[str]], str]  # and the databases that have to be in it
    proof: str
    section: re.Pattern[bytes] | None = None  # the line before the part of one database
    check: str = ""  # proves a dump that it reads on stdin, where there is a program for that
    checked: str = ""  # what is proven then
    settings: Callable[[Mapping[str, object]], dict[str, str]] = lambda _definition: {}
    trim: Callable[[Iterable[bytes]], Iterable[bytes]] = lambda pieces: pieces
    adapt: Callable[[Iterable[bytes], There, list[bytes]], Iterable[bytes]] = (
        lambda pieces, _there, _late: pieces
    )
    # Lines that two dumps of the same data differ in, each with the newline before it. What makes
    # the next database stands at the end of a part.
    ignored: re.Pattern[bytes] | None = None
    upgrade: str = ""  # what to run in a server of a later version
    own: frozenset[str] = frozenset()  # databases of the server itself

    def argv(self, step: str, *words: str) -> tuple[str, ...]:
        """The command line that runs a step."""
        return ("sh", "-c", _BEGIN + self.login + step, "safedocker", *words)


def recognise(content: str, image: str) -> Database | None:
    """The row for what was seen in a volume, or else for an image's name; None for no row."""
    last = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    for row in DATABASES:
        if content.startswith(row.contents):
            return row
    if content not in {"", "files"}:
        return None
    return next((row for row in DATABASES if last.startswith(row.images)), None)


def by_name(name: str) -> Database:
    """The row of that name. Raise SafedockerError when a newer safedocker had it."""
    for row in DATABASES:
        if row.name == name:
            return row
    raise SafedockerError(f"this safedocker feeds no dumps of {name}", "update safedocker")


# PostgreSQL

_POSTGRES_LOGIN = r"""
have psql && have pg_dumpall || never 'it has no psql and pg_dumpall'
unset PGHOST PGHOSTADDR PGSERVICE PGDATABASE PGOPTIONS
PGUSER=$(secret POSTGRES_USER) PGPASSWORD=$(secret POSTGRES_PASSWORD) PGCONNECT_TIMEOUT=10
PGUSER=${PGUSER:-postgres}
export PGUSER PGPASSWORD PGCONNECT_TIMEOUT
[ -n "$PGPASSWORD" ] || unset PGPASSWORD
ask() { PGCLIENTENCODING=UTF8 psql -X -w -q -A -t -v ON_ERROR_STOP=1 "$@"; }
"""
_POSTGRES_PROBE = r"""
echo "tool=$(pg_dumpall --version)"
ask -d postgres -c "
    select 'server=' || current_setting('server_version')
    union all select 'data=' || current_setting('data_directory')
    union all select 'listens=' || current_setting('listen_addresses')
    union all select 'login=' || current_user
    union all select 'closed=' || datname from pg_database
        where not datallowconn and datname <> 'template0'
    union all select 'role=' || rolname from pg_roles"
names=$(ask -d postgres -c 'select datname from pg_database where datallowconn order by 1')
while IFS= read -r name; do
    held=$(PGDATABASE=$name ask -c "
        select count(*) from pg_class join pg_namespace n on n.oid = relnamespace
        where nspname not in ('pg_catalog', 'information_schema', 'pg_toast')" </dev/null)
    echo "database=$held $name"
done <<EOF
$names
EOF
"""
_POSTGRES_CLEAR = r"""
for name; do
    ask -d template1 -v name="$name" <<'EOF' >/dev/null
select pg_terminate_backend(pid) from pg_stat_activity where datname = :'name';
drop database :"name";
EOF
    [ "$name" != postgres ] || ask -d template1 -c 'create database postgres' >/dev/null
done
"""


def _whole_postgres(seen: Watch, databases: frozenset[str]) -> str:
    if b"\n-- PostgreSQL database cluster dump complete\n" not in seen.tail:
        return "its last line is missing"
    return _missing(seen, databases)


def _missing(seen: Watch, databases: frozenset[str]) -> str:
    lacks = ", ".join(sorted(databases - seen.names))
    return f"there is nothing of {lacks} in it" if lacks else ""


# MariaDB, MySQL

_MARIADB_LOGIN = r"""
client=mariadb; have mariadb || client=mysql
dumper=mariadb-dump; have mariadb-dump || dumper=mysqldump
have $client && have $dumper || never 'it has no mariadb-dump or mysqldump'
MYSQL_PWD=$(secret MARIADB_ROOT_PASSWORD)
[ -n "$MYSQL_PWD" ] || MYSQL_PWD=$(secret MYSQL_ROOT_PASSWORD)
export MYSQL_PWD
[ -n "$MYSQL_PWD" ] || unset MYSQL_PWD
ask() { $client --protocol=socket --user=root --default-character-set=utf8mb4 -N -B -r "$@"; }
"""
_MARIADB_PROBE = r"""
echo "tool=$($dumper --version)"
ask --connect-timeout=10 -e "
    select concat('server=', @@version);
    select concat('data=', @@datadir);
    select concat('listens=', if(@@skip_networking, '', '*'));
    select concat('database=',
        (select count(*) from information_schema.tables where table_schema = schema_name)
        + (select count(*) from information_schema.routines where routine_schema = schema_name)
        + (select count(*) from information_schema.events where event_schema = schema_name),
        ' ', schema_name)
    from information_schema.schemata
    where schema_name not in ('information_schema', 'performance_schema', 'mysql', 'sys')"
"""
_MARIADB_DUMP = r"""
exec $dumper --protocol=socket --user=root --default-character-set=utf8mb4 --all-databases \
    --single-transaction --quick --routines --events --triggers --hex-blob --flush-privileges \
    --comments
"""
_MARIADB_CLEAR = r"""
for name; do
    quoted=$(printf %s "$name" | sed 's/`/``/g')
    ask -e "drop database \`$quoted\`"
done
"""


def _whole_mariadb(seen: Watch, databases: frozenset[str]) -> str:
    if b"\n-- Dump completed" not in seen.tail:
        return "its last line is missing"
    return _missing(seen, databases)


# Redis, Valkey

_REDIS_LOGIN = r"""
cli=redis-cli; have redis-cli || cli=valkey-cli
server=redis-server; have redis-server || server=valkey-server
have $cli || never 'it has no redis-cli or valkey-cli'
if [ -n "${SAFEDOCKER_SAID:-}" ]; then eval "REDISCLI_AUTH=\"$SAFEDOCKER_SAID\""; fi
for name in REDIS_PASSWORD VALKEY_PASSWORD; do
    [ -n "${REDISCLI_AUTH:-}" ] || REDISCLI_AUTH=$(secret $name)
done
if [ -z "$REDISCLI_AUTH" ] && [ -n "${SAFEDOCKER_CONFIG:-}" ]; then
    REDISCLI_AUTH=$(sed -n 's/^[[:space:]]*requirepass[[:space:]]*//p' "$SAFEDOCKER_CONFIG" \
        | tail -n 1 | tr -d '"')
fi
export REDISCLI_AUTH
[ -n "$REDISCLI_AUTH" ] || unset REDISCLI_AUTH
ask() { $cli -p "${SAFEDOCKER_PORT:-6379}" "$@"; }
"""
_REDIS_PROBE = r"""
answer=$(ask ping 2>&1) || true
[ "$answer" = PONG ] || { echo "$answer" >&2; exit 1; }
echo "tool=$($cli --version)"
ask info server | tr -d '\r' | sed -n 's/^redis_version:/server=/p'
echo "data=$(ask config get dir | tail -n 1)"
echo 'listens=*'
ask info keyspace | tr -d '\r' | sed -n 's/^\(db[0-9]*\):keys=\([0-9]*\),.*/database=\2 \1/p'
"""
# A server that dumps without a disk waits five seconds for more followers before it sends.
_REDIS_DUMP = r"""
delay=$(ask config get repl-diskless-sync-delay | tail -n 1)
case $delay in
    '' | *[!0-9]* | 0) ;;
    *)
        trap 'ask config set repl-diskless-sync-delay $delay >/dev/null' EXIT
        ask config set repl-diskless-sync-delay 0 >/dev/null
        ;;
esac
ask --rdb -
"""
# A server of the dump alone, which the one that is to have it follows for a moment.
_REDIS_RESTORE = r"""
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
head -c "$1" >"$place/dump.rdb"
port=$(( 20000 + $$ % 20000 ))
env -u REDISCLI_AUTH $server --port $port --bind 127.0.0.1 --dir "$place" --dbfilename dump.rdb \
    --save '' --appendonly no --repl-diskless-sync-delay 0 \
    --daemonize yes --logfile "$place/log" >/dev/null
theirs() { env -u REDISCLI_AUTH $cli -p $port "$@"; }
keys() { "$@" info keyspace | tr -d '\r' | sed -n 's/^\(db[0-9]*\):keys=\([0-9]*\),.*/\2 \1/p'; }
tries=0
while [ "$(theirs ping 2>&1)" != PONG ]; do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || { tail -n 1 "$place/log" >&2; exit 1; }
    sleep 0.1
done
ask replicaof 127.0.0.1 $port >/dev/null
tries=0
until ask info replication | grep -q '^master_link_status:up' \
    && [ "$(keys ask)" = "$(keys theirs)" ]
do
    tries=$((tries + 1))
    [ $tries -lt 600 ] || break
    sleep 0.1
done
ask replicaof no one >/dev/null
keys theirs | sed 's/^/database=/'
theirs shutdown nosave >/dev/null 2>&1 || true
[ $tries -lt 600 ] || { echo 'it did not take the dump over' >&2; exit 1; }
"""
_REDIS_CHECK = r"""
check=redis-check-rdb; have $check || check=valkey-check-rdb
have $check || never 'it has no redis-check-rdb'
fed "$1" $check /dev/stdin >&2
"""
_REDIS_MARK = 40  # hex digits by which a server without a disk says that its dump has ended
_REDIS_LAST = 9  # bytes: an opcode, and the checksum


def _trim_redis(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Without the server's end mark, which redis-cli writes to a stdout too."""
    held = b""
    for piece in pieces:
        held += piece
        cut = max(0, len(held) - _REDIS_MARK - _REDIS_LAST)
        yield held[:cut]
        held = held[cut:]
    marked = held[:1] == b"\xff" and re.fullmatch(rb"[0-9a-f]{40}", held[-_REDIS_MARK:])
    yield held[:-_REDIS_MARK] if marked else held


def _whole_redis(seen: Watch, _databases: frozenset[str]) -> str:
    if not re.match(rb"(REDIS|VALKEY)\d{3,4}", seen.head):
        return "it does not begin as a dump does"
    return "" if seen.tail[-_REDIS_LAST:][:1] == b"\xff" else "its end is missing"


def _redis_settings(definition: Mapping[str, object]) -> dict[str, str]:
    """What a server was told on its command line: password, port, file of configuration."""
    config = definition.get("Config")
    told: list[str] = []
    for key in ("Entrypoint", "Cmd"):
        words = config.get(key) if isinstance(config, Mapping) else None
        told += map(str, words) if isinstance(words, list) else []
    by_shell = any(word == "-c" for word in told)
    if by_shell:  # `sh -c "redis-server --requirepass $PASSWORD"`: a shell has to read it again
        try:
            told = [word for text in told for word in shlex.split(text)]
        except ValueError:
            return {}
    found = {}
    for word, after in zip(told, [*told[1:], ""], strict=True):
        if word == "--requirepass":
            found["SAFEDOCKER_SAID" if by_shell else "REDISCLI_AUTH"] = after
        if word == "--port":
            found["SAFEDOCKER_PORT"] = after
        if word.endswith(".conf"):
            found["SAFEDOCKER_CONFIG"] = word
    return found


# MongoDB

_MONGO_LOGIN = r"""
have mongodump && have mongosh || never 'it has no mongodump and mongosh'
SAFEDOCKER_USER=$(secret MONGO_INITDB_ROOT_USERNAME)
SAFEDOCKER_PASSWORD=$(secret MONGO_INITDB_ROOT_PASSWORD)
export SAFEDOCKER_USER SAFEDOCKER_PASSWORD
ask() {
    mongosh --quiet --norc --eval "
        const told = process.env, admin = db.getSiblingDB('admin');
        if (told.SAFEDOCKER_USER) admin.auth(told.SAFEDOCKER_USER, told.SAFEDOCKER_PASSWORD);
        $1"
}
quoted() { printf %s "$1" | sed "s/'/''/g"; }
tool() {
    if [ -n "$SAFEDOCKER_USER" ]; then
        "$@" --archive --authenticationDatabase=admin --username="$SAFEDOCKER_USER" \
            --config=/dev/fd/3 3<<EOF
password: '$(quoted "$SAFEDOCKER_PASSWORD")'
EOF
    else
        "$@" --archive
    fi
}
"""
_MONGO_PROBE = r"""
echo "tool=$(mongodump --version | head -n 1)"
ask "
    const parsed = admin.runCommand({getCmdLineOpts: 1}).parsed;
    print('server=' + db.version());
    print('data=' + ((parsed.storage || {}).dbPath || '/data/db'));
    print('listens=*');
    admin.runCommand({listDatabases: 1}).databases
        .filter(one => !['admin', 'config', 'local'].includes(one.name))
        .forEach(one => print('database=' + db.getSiblingDB(one.name).getCollectionNames().length
            + ' ' + one.name));
"
"""
_MONGO_CLEAR = r"""
for name; do
    SAFEDOCKER_NAME=$name; export SAFEDOCKER_NAME
    ask "db.getSiblingDB(told.SAFEDOCKER_NAME).dropDatabase()" >/dev/null
done
"""


def _whole_mongo(seen: Watch, _databases: frozenset[str]) -> str:
    # mongo-tools common/archive: MagicNumber, terminatorBytes
    if not seen.head.startswith(b"\x6d\xe2\x99\x81"):
        return "it does not begin as an archive does"
    return "" if seen.tail.endswith(b"\xff\xff\xff\xff") else "its end is missing"


_SQL_PROOF = "exit code 0, its last line and a part for each database are there"

DATABASES = (
    Database(
        "PostgreSQL",
        ("PostgreSQL",),
        ("postgres", "postgis", "timescaledb", "pgvector"),
        _POSTGRES_LOGIN,
        _POSTGRES_PROBE,
        "exec pg_dumpall -w --lock-wait-timeout=30000\n",
        'fed "$1" psql -X -w -q -v ON_ERROR_STOP=1 -o /dev/null -d postgres\n',
        _POSTGRES_CLEAR,
        _whole_postgres,
        _SQL_PROOF,
        section=re.compile(rb"\n\\connect ([^\n]+)(?=\n)"),
        adapt=sqltext.adapt_postgres,
        ignored=re.compile(
            rb"\n(?:(?=\n|\Z)|(?:--|\\restrict|\\unrestrict|SET |SELECT pg_catalog\.set_config|"
            rb"(?:CREATE|ALTER) DATABASE )[^\n]*)"
        ),
        own=frozenset({"template1"}),
    ),
    Database(
        "MariaDB",  # and MySQL
        ("MariaDB", "MySQL"),
        ("mariadb", "mysql", "percona"),
        _MARIADB_LOGIN,
        _MARIADB_PROBE,
        _MARIADB_DUMP,
        'fed "$1" ask\n',
        _MARIADB_CLEAR,
        _whole_mariadb,
        _SQL_PROOF,
        section=re.compile(rb"\n-- Current Database: ([^\n]+)(?=\n)"),
        adapt=sqltext.adapt_mariadb,
        ignored=re.compile(rb"\n(?:(?=\n|\Z)|(?:--|/\*M?!999999|/\*!\d+ SET |SET )[^\n]*)"),
        own=frozenset({"mysql", "sys"}),
        upgrade="mariadb-upgrade",
    ),
    Database(
        "Redis",  # and Valkey
        ("Redis", "Valkey"),
        ("redis", "valkey"),
        _REDIS_LOGIN,
        _REDIS_PROBE,
        _REDIS_DUMP,
        _REDIS_RESTORE,
        "",
        _whole_redis,
        "exit code 0, its first and last bytes are a dump's",
        check=_REDIS_CHECK,
        checked="redis-check-rdb read it through",
        settings=_redis_settings,
        trim=_trim_redis,
    ),
    Database(
        "MongoDB",
        ("MongoDB",),
        ("mongo",),
        _MONGO_LOGIN,
        _MONGO_PROBE,
        "tool mongodump --quiet\n",
        'fed "$1" tool mongorestore --quiet\n',
        _MONGO_CLEAR,
        _whole_mongo,
        "exit code 0, its first and last bytes are an archive's",
    ),
)
