"""The options of each verb: frozen dataclasses whose fields are the flags."""
