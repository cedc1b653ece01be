"""Statements that no role may run, and those that only some roles may not run.

In each, `{lab}`, `{trials}`, `{jobs}` and `{lineage}` are tables of ours, `{schema}` is a schema of
ours and `{new}` a table that it lacks; `{theirs}` is the schema of an analyst, `{near}` the schema
of another project, each with a table `lab`; `{other}` is an account of another project, `{me}` the
account that tries, `{admins}` the group of the admins and `{server}` a connection of the server's
own account.
"""

ROWS = [
    "INSERT INTO {lab} (lab) VALUES ('x')",
    "INSERT INTO {lab} (lab) SELECT lab FROM {lab}",
    "UPDATE {lab} SET lab = 'x'",
    "DELETE FROM {lab}",
    "DELETE FROM {trials}",
    "UPDATE {trials} SET n_trials = 0",
    "DELETE FROM {jobs}",
    "UPDATE {jobs} SET priority = 0",
    "DELETE FROM {lineage}",
    "SELECT * FROM {lab} FOR UPDATE",
]
"""Rows, which reader and analyst may not change."""

TABLES = [
    "ALTER TABLE {lab} ADD COLUMN more int",
    "ALTER TABLE {lab} RENAME TO {renamed}",
    "ALTER TABLE {trials} DROP COLUMN n_trials",
    "DROP TABLE {lab}",
    "DROP TABLE {jobs}",
    "CREATE TABLE {new} (a int)",
    "CREATE VIEW {new} AS SELECT 1 AS a",
    "CREATE INDEX more ON {trials} (n_trials)",
    "TRUNCATE {lab}",
]
"""Tables, which an admin alone may change."""

OF_OTHERS = [
    f"{verb} {schema}.{rest}"
    for schema in ("{near}", "{theirs}")
    for verb, rest in (
        ("SELECT * FROM", "lab"),
        ("INSERT INTO", "lab (a) VALUES (1)"),
        ("UPDATE", "lab SET a = 1"),
        ("DELETE FROM", "lab"),
        ("DROP TABLE", "lab"),
        ("ALTER TABLE", "lab ADD COLUMN more int"),
        ("CREATE TABLE", "more (a int)"),
    )
]
"""Tables of other projects and users, which are nobody else's."""

MYSQL_TABLES = [
    "ALTER TABLE {lab} COMMENT 'x'",
    "CREATE TRIGGER {schema}.t BEFORE INSERT ON {lab} FOR EACH ROW SET @a = 1",
    "CREATE PROCEDURE {schema}.p() SELECT 1",
    "CREATE FUNCTION {schema}.f() RETURNS int DETERMINISTIC RETURN 1",
    "CREATE EVENT {schema}.e ON SCHEDULE EVERY 1 DAY DO SELECT 1",
    "CREATE TEMPORARY TABLE {new} (a int)",
    "LOCK TABLES {lab} WRITE",
    "DROP DATABASE {schema}",
    "GRANT SELECT ON {lab} TO {other}",
    "GRANT SELECT ON {schema}.* TO {other}",
    "REVOKE SELECT ON {schema}.* FROM {other}",
]
MYSQL_SERVER = [
    "CREATE USER eve",
    "DROP USER {other}",
    "RENAME USER {other} TO eve",
    "ALTER USER {other} IDENTIFIED BY 'mine'",
    "SET PASSWORD FOR {other} = 'mine'",
    "CREATE ROLE eve",
    "GRANT SELECT ON *.* TO CURRENT_USER()",
    "GRANT FILE ON *.* TO CURRENT_USER()",
    "GRANT SELECT ON {near}.* TO CURRENT_USER()",
    "SELECT * FROM mysql.user",
    "SELECT authentication_string FROM mysql.user",
    "UPDATE mysql.user SET plugin = ''",
    "SELECT * FROM mysql.db",
    "SELECT * FROM performance_schema.threads",
    "SET GLOBAL max_connections = 1",
    "SET PERSIST max_connections = 1",
    "SET sql_log_bin = 0",
    "CREATE DATABASE eve",
    "CREATE DATABASE bwmx_subject",
    "DROP DATABASE {near}",
    "KILL {server}",
    "FLUSH PRIVILEGES",
    "FLUSH TABLES WITH READ LOCK",
    "SHUTDOWN",
    "PURGE BINARY LOGS BEFORE '2000-01-01'",
    "INSTALL PLUGIN eve SONAME 'eve.so'",
    "CREATE FUNCTION eve RETURNS int SONAME 'eve.so'",
    "SELECT 1 INTO OUTFILE 'eve'",
    "LOAD DATA INFILE 'eve' INTO TABLE {lab}",
    "CREATE SERVER eve FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'eve')",
    "CREATE TABLESPACE eve ADD DATAFILE 'eve.ibd'",
    "ALTER INSTANCE ROTATE INNODB MASTER KEY",
    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'eve'",
    "CREATE DEFINER = root@localhost VIEW {new} AS SELECT 1 AS a",
]
POSTGRESQL_TABLES = [
    "COMMENT ON TABLE {lab} IS 'x'",
    "ALTER TABLE {lab} OWNER TO CURRENT_USER",
    "ALTER SCHEMA {schema} RENAME TO eve",
    "CREATE TRIGGER t BEFORE UPDATE ON {lab} FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE r AS ON DELETE TO {lab} DO INSTEAD NOTHING",
    "CREATE POLICY p ON {lab}",
    "ALTER TABLE {lab} ENABLE ROW LEVEL SECURITY",
    "CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE TYPE {schema}.t AS ENUM ('a')",
    "DROP SCHEMA {schema} CASCADE",
    "CREATE ROLE eve",
    "CREATE SCHEMA eve",
    "GRANT {admins} TO CURRENT_USER",
    "SET ROLE {admins}",
]
POSTGRESQL_SERVER = [
    "DROP ROLE {other}",
    "ALTER ROLE {other} PASSWORD 'mine'",
    "ALTER ROLE {other} SUPERUSER",
    "GRANT {other} TO CURRENT_USER",
    "SET ROLE {other}",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION {other}",
    "REASSIGN OWNED BY {other} TO CURRENT_USER",
    "DROP OWNED BY {other}",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE CURRENT_USER REPLICATION",
    "CREATE ROLE eve SUPERUSER",
    "GRANT pg_read_server_files TO CURRENT_USER",
    "GRANT SELECT ON {near}.lab TO CURRENT_USER",
    "SELECT * FROM pg_authid",
    "SELECT * FROM pg_shadow",
    "UPDATE pg_class SET relname = 'x' WHERE relname = 'lab'",
    "ALTER SYSTEM SET max_connections = 1",
    "SET session_replication_role = replica",
    "ALTER TABLE {trials} DISABLE TRIGGER ALL",
    "CREATE DATABASE eve",
    "ALTER DATABASE postgres CONNECTION LIMIT 0",
    "DROP SCHEMA {near} CASCADE",
    "CREATE TABLE public.eve (a int)",
    "CREATE FUNCTION public.eve() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION pg_temp.eve() RETURNS int LANGUAGE c AS 'eve'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('PG_VERSION')",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY (SELECT 1) TO '/tmp/eve'",
    "COPY {lab} FROM '/etc/hostname'",
    "SELECT pg_terminate_backend({server})",
    "SELECT pg_cancel_backend({server})",
    "SELECT pg_reload_conf()",
    "CHECKPOINT",
    "CREATE PUBLICATION eve FOR ALL TABLES",
    "CREATE EVENT TRIGGER eve ON sql_drop EXECUTE FUNCTION pg_notify()",
    "CREATE TABLESPACE eve LOCATION '/tmp'",
    "CREATE FOREIGN DATA WRAPPER eve",
    "ALTER DEFAULT PRIVILEGES FOR ROLE {other} GRANT SELECT ON TABLES TO CURRENT_USER",
]
OF_SERVER = {"mysql": MYSQL_SERVER, "postgresql": POSTGRESQL_SERVER}
MORE_TABLES = {"mysql": MYSQL_TABLES, "postgresql": POSTGRESQL_TABLES}


def statements(role, backend):
    """List what a role may not do on a server."""
    found = [*OF_SERVER[backend], *OF_OTHERS]
    if role != "admin":
        found += TABLES + MORE_TABLES[backend]
    if role in ("reader", "analyst"):
        found += ROWS
    return found
