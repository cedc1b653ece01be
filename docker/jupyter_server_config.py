"""Settings of Jupyter in a container: it always asks for a token."""

import os
import sys
from pathlib import Path

where = os.environ.get("JUPYTER_TOKEN_FILE")
token = Path(where).read_text().strip() if where else os.environ.get("JUPYTER_TOKEN", "")
if len(token) < 16:
    sys.exit("JUPYTER_TOKEN_FILE or JUPYTER_TOKEN must give a token of 16 or more characters.")

c = get_config()  # noqa: F821  (Jupyter's)
c.IdentityProvider.token = token
c.ServerApp.ip = "0.0.0.0"  # within the container; compose.yaml publishes the port on loopback
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.open_browser = False
c.ServerApp.root_dir = str(Path.home())
c.LabApp.default_url = "/lab/tree/notebooks"
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
