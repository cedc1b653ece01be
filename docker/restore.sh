#!/usr/bin/env bash
# Fill an empty database and an empty store from a folder that backup.sh wrote:
#
#   restore.sh FOLDER [DUMP]      DUMP: a file of that folder; default the newest
#
# The store is filled first, so that no row is ever without its object. The hash of each object and
# the number of rows of each table are compared with those of the backup. A backup holds no accounts
# and rights.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

lost=0
folder=${1:?name the folder to read from}
dump=${2:-$(cd "$folder" && find . -name 'database-*' ! -name '*.saving' | sort | tail -n 1)}
[[ -n $dump && -f $folder/$dump ]] || fail "$folder: it has no dump ${dump:-database-*}."
held=$(ask "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema LIKE $pattern")
((held == 0)) || fail "$DJ_HOST: there are $held tables with the prefix ${prefix}_, and none is \
overwritten. Use an empty server, or drop the tables."

if [[ $store == *'{'* ]]; then
  echo "The store is a bucket: fill it, without $prefix.owner.json, before anyone uses the database."
else
  owner=$store/$prefix.owner.json
  [[ ! -e $owner ]] || fail "$owner: the store belongs to a database. Use an empty store or, if that \
database no longer exists, remove this file."
  copy_new "$folder/store" "$store"
  lost=$damaged
  # In a container root copies the objects, and workers have another account.
  [[ -z ${STORE_OWNER:-} ]] || chown -R "$STORE_OWNER" "$store"
fi

if [[ $dump == *.sql.gz ]]; then
  gunzip --stdout "$folder/$dump" | mysql --defaults-file="$login" --max-allowed-packet=64M
else
  pg_restore --exit-on-error --single-transaction --no-owner --no-privileges --dbname=postgres \
    "$folder/$dump"
fi

stamp=${dump##*database-}
rows=$folder/rows-${stamp%%.*}
if [[ -e $rows ]]; then
  mapfile -t names < <(cut -d. -f1 "$rows" | sort -u)
  while read -r table least most found; do
    [[ -n $found ]] && ((found >= least && found <= most)) && continue
    echo "$table: it has ${found:-no} rows, and had $least to $most." >&2
    lost=$((lost + 1))
  done < <(LC_ALL=C join -a 1 "$rows" <(count_rows "${names[@]}"))
  echo "The rows of $(wc -l <"$rows") tables are counted."
fi
((lost == 0)) || fail "$dump is restored, but for what is named above: use another backup, or run \
bwm verify --deep --repair and then bwm populate."
echo "$dump is restored, each object and the number of rows as they were. bwm verify --deep checks more."
