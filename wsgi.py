"""The WSGI application, for any server that hands over client certificates as `docs/deployment.md` says."""

import os

from app.factory import create_app
from app.settings import Settings

application = create_app(Settings.from_env(os.environ))
