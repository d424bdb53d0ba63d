"""TABLE of what keeps data in a place of its own: how the images are called, and where their data
are. How it is told by its files is edge/look.py's, how dumped and started backup/'s. Hot."""

from __future__ import annotations

from safedocker.command.record import NamedTuple


class Database(NamedTuple):
    """One kind, by the name that edge/look.py gives its content."""

    name: str
    images: tuple[str, ...]  # the last part of their names begins so
    data: str  # where they keep it, by their own VOLUME lines and documentation
    variable: str = ""  # of the environment, that names another place


DATABASES = (
    Database(
        "PostgreSQL",
        ("postgres", "postgis", "timescaledb", "pgvector"),
        "/var/lib/postgresql/data",
        "PGDATA",
    ),
    Database("MariaDB", ("mariadb",), "/var/lib/mysql"),
    Database("MySQL", ("mysql", "percona"), "/var/lib/mysql"),
    Database("Redis", ("redis", "valkey"), "/data"),
    Database("MongoDB", ("mongo",), "/data/db"),
    Database("Elasticsearch", ("elasticsearch", "opensearch"), "/usr/share/elasticsearch/data"),
    Database("InfluxDB", ("influxdb",), "/var/lib/influxdb2"),
    Database("ClickHouse", ("clickhouse",), "/var/lib/clickhouse"),
    Database("Neo4j", ("neo4j",), "/data"),
    Database("RabbitMQ", ("rabbitmq",), "/var/lib/rabbitmq"),
    Database("MinIO", ("minio",), "/data"),
    Database("Prometheus", ("prometheus",), "/prometheus"),
    Database("Grafana", ("grafana",), "/var/lib/grafana"),
)


def of_image(image: str) -> Database | None:
    """The row of an image, by the last part of its name; None for another image."""
    last = image.partition("@")[0].rpartition("/")[2].partition(":")[0]
    return next((row for row in DATABASES if last.startswith(row.images)), None)


def of_content(content: str) -> Database | None:
    """The row of what was seen in a volume: "PostgreSQL 15"; None for anything else."""
    name = content.partition(" ")[0]
    return next((row for row in DATABASES if row.name == name), None)
