"""`python -m app`: the service as a process."""

from app.server import serve

if __name__ == "__main__":
    serve()
