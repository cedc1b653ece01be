# Create the accounts of a new server: `bwm` for workers, `reader` for notebooks. Both reach only
# databases with the prefix. The entrypoint of the image sources this file, as it is not executable.

quoted() { # print the content of a file as an SQL string
  local text
  text=$(<"$1")
  text=${text//\\/\\\\}
  printf "'%s'" "${text//\'/\'\'}"
}

docker_process_sql <<S
CREATE USER bwm@'%' IDENTIFIED BY $(quoted /run/secrets/db_bwm);
GRANT ALL ON \`bwm\\_%\`.* TO bwm@'%';
CREATE USER reader@'%' IDENTIFIED BY $(quoted /run/secrets/db_reader);
GRANT SELECT, SHOW VIEW ON \`bwm\\_%\`.* TO reader@'%';
S
