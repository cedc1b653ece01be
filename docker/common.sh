# Functions of backup.sh and restore.sh, which source this file: log in, query, copy objects. The
# variables of bwm name the server and the store: DJ_HOST, DJ_PORT, DJ_USER, DJ_PASS or
# DJ_PASS_FILE, DJ_BACKEND, BWM_PREFIX, BWM_STORE.

backend=${DJ_BACKEND:-mysql}
prefix=${BWM_PREFIX:-bwm}
store=${BWM_STORE:?is not set: name the folder of the store}
password=${DJ_PASS:-}
[[ -z ${DJ_PASS_FILE:-} ]] || password=$(<"$DJ_PASS_FILE")

fail() {
  echo "$1" >&2
  exit 1
}

[[ $prefix =~ ^[a-z][a-z0-9_]*$ ]] || fail "BWM_PREFIX: '$prefix' cannot be a prefix."
pattern="'${prefix//_/!_}!_%' ESCAPE '!'" # SQL pattern of the names of our schemas

# The password is passed in a private file or in the environment: every account of the machine can
# see arguments.
if [[ $backend == mysql ]]; then
  login=$(mktemp)
  trap 'rm -f "$login"' EXIT
  printf '[client]\nprotocol=tcp\nhost="%s"\nport=%s\nuser="%s"\npassword="%s"\n' \
    "${DJ_HOST:?is not set: name the server}" "${DJ_PORT:-3306}" "${DJ_USER:-}" \
    "$(sed 's/[\\"]/\\&/g' <<<"$password")" >"$login"
  ask() { mysql --defaults-file="$login" --batch --skip-column-names --execute="$1"; }
else
  export PGHOST=${DJ_HOST:?is not set: name the server} PGPORT=${DJ_PORT:-5432}
  export PGUSER=${DJ_USER:-} PGPASSWORD=$password PGDATABASE=postgres
  ask() { psql --no-psqlrc --quiet --tuples-only --no-align --command="$1"; }
fi

# count_rows SCHEMA...: print the tables of schemas, each with its number of rows. Tables of jobs are
# left out: workers add and delete their rows all the time.
count_rows() {
  local list quote='"' query='' schema table
  [[ $backend != mysql ]] || quote='`'
  list=$(printf ",'%s'" "$@")
  while IFS=. read -r schema table; do
    query+="${query:+ UNION ALL }SELECT CONCAT('$schema.$table ', COUNT(*))
      FROM $quote$schema$quote.$quote$table$quote"
  done < <(ask "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables
    WHERE table_schema IN (${list:1}) AND table_type = 'BASE TABLE' AND table_name NOT LIKE '~%'")
  [[ -z $query ]] || ask "$query" | LC_ALL=C sort
}

# is_whole FILE NAME: tell whether a file is the object that its name promises: the name ends with
# the beginning of its SHA-256.
is_whole() {
  [[ ! $2 =~ _([0-9a-f]{12})\.parquet$ ]] || [[ $(sha256sum <"$1") == "${BASH_REMATCH[1]}"* ]]
}

# copy_new FROM TO: copy the objects that TO lacks or has in another state, and set `damaged` to the
# number of those that are not copied because they are damaged. A copy gets its name when it is
# complete, so that an interrupted copy is made again.
copy_new() {
  local from=$1 to=$2 path n=0
  damaged=0
  while IFS= read -r -d '' path; do
    [[ ! -e $to/$path || $from/$path -nt $to/$path || $from/$path -ot $to/$path ]] || continue
    mkdir -p "$(dirname "$to/$path")"
    if cp -p "$from/$path" "$to/$path.saving"; then
      if is_whole "$to/$path.saving" "$path"; then
        mv "$to/$path.saving" "$to/$path"
        n=$((n + 1))
      else
        rm "$to/$path.saving"
        damaged=$((damaged + 1))
        echo "$from/$path: is damaged, and not copied." >&2
      fi
    elif [[ -e $from/$path ]]; then
      fail "$from/$path: cannot be copied."
    fi # else the object was removed after the listing, and no dumped row refers to it
  done < <(cd "$from" && find . -type f ! -name '*.saving' ! -name '*.owner.json' -print0)
  echo "$n objects copied to $to"
}
