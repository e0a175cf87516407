"""Programs as containers of a Docker engine, or of Podman through its compatible socket."""
