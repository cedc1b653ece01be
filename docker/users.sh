# The accounts of a new server: `bwm` of workers, `reader` of notebooks. Both reach no other
# database than those that begin with the prefix. (Sourced by the entrypoint
# of the image, because it is not executable.)

quoted() { # the content of a file as a string of SQL
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
