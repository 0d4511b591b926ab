"""What the container is made of: packages, archive, runner and seccomp profile."""
