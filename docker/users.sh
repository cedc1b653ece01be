# Create the accounts of a new server: `admin` creates the tables, and gives `bwm` the role
# of a worker and `reader` that of a reader (prepare.py). All reach only databases with the prefix.
# The entrypoint of the image sources this file, as it is not executable; it can be run again.

quoted() { # print the content of a file as an SQL string
  local text
  text=$(<"$1")
  text=${text//\\/\\\\}
  printf "'%s'" "${text//\'/\'\'}"
}

docker_process_sql <<S
CREATE USER IF NOT EXISTS admin@'%' IDENTIFIED BY $(quoted /run/secrets/db_admin);
GRANT ALL ON \`bwm\\_%\`.* TO admin@'%' WITH GRANT OPTION;
GRANT SELECT (user, host) ON mysql.user TO admin@'%';
CREATE USER IF NOT EXISTS bwm@'%' IDENTIFIED BY $(quoted /run/secrets/db_bwm);
CREATE USER IF NOT EXISTS reader@'%' IDENTIFIED BY $(quoted /run/secrets/db_reader);
-- What 0.4.0 granted:
REVOKE IF EXISTS ALL ON \`bwm\\_%\`.* FROM bwm@'%', reader@'%';
S
