"""Every example in the README and in docs/ runs; every method has a page with its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from data.media import video, wav
from folded import check_each

from counterpoise import METHODS
from counterpoise.cli.main import main
from counterpoise.methods import cards

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL = {
    "train": ["--epochs", "1"],
    "compare": ["--epochs", "1", "--seeds", "1", "--jobs", "1"],
    "tune": ["--epochs", "1", "--trials", "2", "--confirm", "1", "--width", "4", "--jobs", "1"],
    "prepare": ["--jobs", "1"],
}


def shorten(words: list[str]) -> list[str]:
    """The words of a command with the values of ``SMALL`` for these flags."""
    small = SMALL.get(words[0], [])
    flags = set(small[::2])
    kept = [w for k, w in enumerate(words) if w not in flags and words[k - 1] not in flags]
    return [*kept, *small]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each example, in the order of the page."""
    return re.findall(r"^```(python|sh)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=name)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page from top to bottom, in a folder with a user's recordings and nothing else."""
    monkeypatch.chdir(tmp_path)
    if any("RAW" in block for _, block in blocks(page)):
        recordings(tmp_path)
    scope: dict[str, object] = {"__name__": "example"}
    for number, (language, block) in enumerate(blocks(page)):
        if language == "python":
            exec(compile(block, f"{name(page)}, example {number}", "exec"), scope)
        else:
            run(block)


def recordings(folder: Path) -> None:
    """What ``table.csv``, ``new.csv`` and ``RAW``, a small CREMA-D, stand for."""
    lines = ["id,target,group,sound,note"]
    for actor in range(1001, 1007):
        for emotion in ("ANG", "HAP"):
            clip = f"{actor}_DFA_{emotion}_XX"
            hertz = 20.0 * len(lines) + 200  # no two recordings are alike
            wav(folder / "RAW" / "AudioWAV" / f"{clip}.wav", 0.3, hertz=hertz)
            video(folder / "RAW" / "VideoFlash" / f"{clip}.flv", 0.6, fps=5, size=(32, 24))
            lines.append(f"{clip},{emotion},{actor},RAW/AudioWAV/{clip}.wav,don't forget {actor}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    sound = lines[1].split(",")[3]
    new = ["id,sound,note", f"a,{sound},a note", f"b,{sound},", "c,,a note alone"]
    (folder / "new.csv").write_text("\n".join(new) + "\n")


def run(block: str) -> None:
    """Commands as written, but for one epoch, one seed and one process; make's targets exist."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if not words:
            continue
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        elif words[0] == "counterpoise":
            assert main(shorten(words[1:])) == 0, line
        else:
            assert words[0] in ("git", "cd", "pip"), f"nothing runs {line!r}"


def test_links_lead_to_pages_and_headings_that_are_there() -> None:
    def check(page: Path) -> None:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", text):
            file, _, heading = link.partition("#")
            target = (page.parent / file).resolve() if file else page
            assert target.exists(), link
            if heading:
                assert heading in anchors(target), link

    check_each([*PAGES, ROOT / "examples" / "README.md"], check)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_the_pages_of_methods_are_their_cards() -> None:
    def check(file: str, page: str) -> None:
        assert (ROOT / "docs" / "methods" / file).read_text() == page, "run `make cards`"

    check_each(cards.pages().items(), check)


def test_a_card_says_everything() -> None:
    def check(method: str) -> None:
        kind = METHODS[method]
        assert kind.name == method
        assert kind.summary and kind.paper and kind.label(kind()) == method
        said = cards.sections(kind)
        assert {"", "Formula", "State", "Missing"} <= {key for key, text in said.items() if text}
        assert list(cards.options(kind)) == list(kind.options()), "Args: and __init__ differ"
        assert method in cards.page(kind)

    check_each(METHODS, check)


def test_no_page_of_a_method_that_is_not_there() -> None:
    assert {p.name for p in (ROOT / "docs" / "methods").iterdir()} == set(cards.pages())
