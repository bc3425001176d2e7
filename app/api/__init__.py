"""HTTP: the only rooms that know Flask, flask-smorest and marshmallow; one file per resource."""
