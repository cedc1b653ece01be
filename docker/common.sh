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

# copy_new FROM TO: copy the objects that TO lacks. A copy gets its name when it is complete, so
# that an interrupted copy is made again.
copy_new() {
  local from=$1 to=$2 path n=0
  while IFS= read -r -d '' path; do
    [[ ! -e $to/$path ]] || continue
    mkdir -p "$(dirname "$to/$path")"
    if cp -p "$from/$path" "$to/$path.saving"; then
      mv "$to/$path.saving" "$to/$path"
      n=$((n + 1))
    elif [[ -e $from/$path ]]; then
      fail "$from/$path: cannot be copied."
    fi # else the object was removed after the listing, and no dumped row refers to it
  done < <(cd "$from" && find . -type f ! -name '*.saving' ! -name '*.owner.json' -print0)
  echo "$n objects copied to $to"
}
