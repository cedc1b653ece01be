#!/usr/bin/env bash
# Copy the database and then the store into a folder:
#
#   backup.sh FOLDER [DATABASE...]      further databases: those with tables of your own
#
# In this order the pair is consistent while workers go on: an object is stored before its row is,
# is named by its content and never changed. So what a dumped row points to is in the store when
# that is copied afterwards; objects that are newer than the dump do no harm. (The other way round,
# rows would point to objects that were made too late to be copied.) Only what removes rows and
# objects has to wait: `bwm populate --stale`, `bwm verify --repair`.
#
# Into the same folder again, it adds a dump and the objects that are new.
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
mv "$dump.saving" "$dump"
echo "${#names[@]} schemas dumped to $dump"

if [[ $store == *'{'* ]]; then
  echo "The store is a bucket: copy it now, after the database, e.g. with rclone or aws s3 sync."
else
  copy_new "$store" "$folder/store"
fi
