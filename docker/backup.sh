#!/usr/bin/env bash
# Copy the database and then the store into a folder:
#
#   backup.sh FOLDER [DATABASE...]      DATABASE: a database with tables of your own
#
# Workers may run meanwhile. A worker stores an object before its row, and no object ever changes:
# every object that a dumped row refers to is in the store when the store is copied after the dump.
# Do not remove rows and objects meanwhile (`bwm populate --stale`, `bwm verify --repair`).
#
# A further backup into the same folder adds a dump and the new objects. A damaged object is not
# copied. The file rows-TIME has the number of rows of each table before and after the dump.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

folder=${1:?name the folder to write to}
shift
mkdir -p "$folder"
chmod 700 "$folder"

mapfile -t names < <(ask "SELECT schema_name FROM information_schema.schemata
  WHERE schema_name LIKE $pattern ORDER BY schema_name")
((${#names[@]})) || fail "$DJ_HOST: there is no schema that begins with ${prefix}_, or no login."
names+=("$@")

before=$(count_rows "${names[@]}")
stamp=$(date -u +%Y-%m-%dT%H%M%SZ)
if [[ $backend == mysql ]]; then
  dump=$folder/database-$stamp.sql.gz
  mysqldump --defaults-file="$login" --single-transaction --quick --hex-blob --no-tablespaces \
    --set-gtid-purged=OFF --max-allowed-packet=64M --databases "${names[@]}" | gzip >"$dump.saving"
else
  dump=$folder/database-$stamp.dump
  pg_dump --format=custom --no-owner --no-privileges "${names[@]/#/--schema=}" \
    --file="$dump.saving"
fi
LC_ALL=C join <(echo "$before") <(count_rows "${names[@]}") >"$folder/rows-$stamp"
mv "$dump.saving" "$dump"
echo "${#names[@]} schemas dumped to $dump"

if [[ $store == *'{'* ]]; then
  echo "The store is a bucket: copy it now, after the database, e.g. with rclone or aws s3 sync."
else
  copy_new "$store" "$folder/store"
  ((damaged == 0)) || fail "$damaged objects are damaged. Run: bwm verify --deep --repair, then \
bwm populate, then back up again."
fi
