#!/usr/bin/env bash
# Fill an empty database and an empty store from a folder that backup.sh wrote:
#
#   restore.sh FOLDER [DUMP]      DUMP: a file of that folder; default the newest
#
# The store first: no row is ever there without its object. Accounts and rights are not in a backup.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

folder=${1:?name the folder to read from}
dump=${2:-$(cd "$folder" && find . -name 'database-*' ! -name '*.saving' | sort | tail -n 1)}
[[ -n $dump && -f $folder/$dump ]] || fail "$folder: there is no dump ${dump:-database-*} in it."
held=$(ask "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE $pattern")
((held == 0)) || fail "$DJ_HOST: there are $held tables that begin with ${prefix}_: nothing is \
restored over them. Use an empty server, or drop them."

if [[ $store == *'{'* ]]; then
  echo "The store is a bucket: fill it, without $prefix.owner.json, before anyone uses the database."
else
  owner=$store/$prefix.owner.json
  [[ ! -e $owner ]] || fail "$owner: a database writes into this store. Use an empty one or, if that \
database is no more, remove this file."
  copy_new "$folder/store" "$store"
  # Made by root in a container, for workers that are not.
  [[ -z ${STORE_OWNER:-} ]] || chown -R "$STORE_OWNER" "$store"
fi

if [[ $dump == *.sql.gz ]]; then
  gunzip --stdout "$folder/$dump" | mysql --defaults-file="$login" --max-allowed-packet=64M
else
  pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --dbname=postgres \
    "$folder/$dump"
fi
echo "$dump is restored. Look at it with: bwm verify --deep"
