"""Pack a small model, serve it, and call it with nothing but the standard library.

The first half stands for the machine that trains, `ask` for any program that calls the server.
"""

import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import counterpoise as cp


def pack(folder: Path) -> Path:
    """Train on digits as pictures and spectrograms, and pack what was learnt."""
    data = cp.load("digits")
    run = cp.fit(cp.build_model(data, "multi-loss"), data, "multi-loss", epochs=2)
    run.save(folder / "model")
    return folder / "model"


def ask(address: str, rows: list, **more: float) -> list:
    """What the server says about each row."""
    body = json.dumps({"rows": rows, **more}).encode()
    request = urllib.request.Request(
        f"{address}/predict", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["predictions"]


def main() -> None:
    test = cp.load("digits").test.inputs
    image, audio = test["image"][0].tolist(), test["audio"][0].tolist()
    with tempfile.TemporaryDirectory() as folder:
        # Port 0 is one that is free; the server's first line says which.
        words = ["-m", "counterpoise", "serve", str(pack(Path(folder))), "--port", "0"]
        server = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
        try:
            address = server.stdout.readline().split()[3]
            rows = [{"image": image, "audio": audio}, {"image": image}, {"audio": audio}]
            for row in ask(address, rows, coverage=0.9):
                chance = row["probabilities"][str(row["label"])]
                print(
                    f"from {row['present']}: {row['label']} ({chance:.0%}), "
                    f"among {row['set']}; such answers are right in {row['expected']:.0%}"
                )
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate()


if __name__ == "__main__":
    main()
