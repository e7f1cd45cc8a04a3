"""A browser shows the page, fills in the form, sends files, and shows the answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from data.media import jpeg, wav
from deploy.serve.chromium import CHROMIUM, Page, open_browser
from deploy.serve.test_serve_process import PROGRAM, make_pack, start

TOKEN = "s3cret"


def answer(page: Page) -> str:
    """Send the form, and what the page shows then."""
    page.click("#send")
    page.wait("!document.getElementById('send').disabled")
    return str(page.run("document.getElementById('answer').innerText"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium on the path")
def test_the_form_takes_numbers_and_texts(tmp_path: Path) -> None:
    words = ("-m", "counterpoise", "serve", str(make_pack(tmp_path)), "--port", "0")
    with start(*words, COUNTERPOISE_TOKEN=TOKEN) as (_, line), open_browser(tmp_path) as page:
        page.open(line.split()[3] + "/")
        assert page.run("document.getElementById('answer').hidden") is True
        page.type("[data-name=a]", "0.5 1 -1 2")
        assert "needs the header" in answer(page)
        page.type("#token", TOKEN)
        page.type("#coverage", "0.9")
        found = answer(page)
        assert "from a" in found and "Probabilities" in found and "set: " in found
        assert "accuracy of such answers when measured: 0." in found
        assert page.run("document.querySelectorAll('#tables meter').length") == 3 + 1
        page.type("[data-name=b]", "[1, null, 3, 4, 5]")
        found = answer(page)
        assert "from a + b" in found
        assert page.run("document.querySelectorAll('#tables meter').length") == 3 + 2
        page.photograph(tmp_path / "numbers.png")
        page.type("#accuracy", "7")
        assert "accuracy must be a number between 0 and 1" in answer(page)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        assert [m for m in page.messages if "401" not in m and "422" not in m] == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs the program chromium on the path")
def test_the_form_takes_files(tmp_path: Path) -> None:
    picture, sound = jpeg(tmp_path / "p.jpg"), wav(tmp_path / "s.wav")
    with (
        start("-c", PROGRAM, str(tmp_path / "log"), "30") as (_, line),
        open_browser(tmp_path, 400) as page,
    ):
        page.open(f"http://127.0.0.1:{line.split()[1]}/docs")
        page.choose("[data-name=picture]", picture)
        page.choose("[data-name=sound]", sound)
        page.choose("[data-name=frames]", picture, picture)
        page.type("[data-name=text]", "a cat")
        assert "from frames + picture + sound + text" in answer(page)
        page.choose("[data-name=picture]", sound)
        assert "is no picture" in answer(page)
        assert page.run("document.documentElement.scrollWidth <= innerWidth")
        page.photograph(tmp_path / "files.png")
