"""Frames of films, by PyAV (FFmpeg)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from counterpoise.core.declared import Bounds
from counterpoise.errors import InputError

from .base import Array, Reader, Unmeasured
from .clips import Count, Pick, pick, span
from .film import NEAR, find_pictures, find_zero, goes_on, open_container
from .image import Keep, Size, to_pixels, to_sides
from .upright import turn_frame

FAR = 12  # frames: one that lies further ahead is sought by its key frame

Choice = Callable[[Sequence[float]], list[int]]


def frames_of(path: Path, choose: Choice, square: bool = False) -> list[Any]:
    """The frames of a film that ``choose`` takes, upright, as pictures of Pillow.

    Args:
        path: of the film.
        choose: seconds of all frames, by the file's clock (:mod:`.film`) -> places of those wanted.
        square: widen the pictures of films whose pixels are not square.

    Raises:
        Unmeasured: there is sound, and no picture.
    """
    with open_container(path, "video") as container:
        times, keys, base = _index(container, path)
        zero, heard = find_zero(container), bool(container.streams.audio)
        ratio = _find_ratio(find_pictures(container, path)) if square else 1.0
    if times:
        wanted = choose([time * base - zero for time in times])
        found = _seek(path, sorted({times[i] for i in wanted}), times, keys, ratio)
        if found is not None:
            return [found[times[i]] for i in wanted]
    # The file tells no times, or not those of its frames: decode it to count, and once more.
    seconds = [time for time, _ in _decode_all(path)]
    if not seconds:
        raise (Unmeasured if heard else InputError)(f"{path.name} holds no frame")
    wanted = choose([time - zero for time in seconds])
    kept = set(wanted)
    shown = {i: _show(frame, ratio) for i, (_, frame) in enumerate(_decode_all(path)) if i in kept}
    return [shown[i] for i in wanted]


def _index(container: Any, path: Path) -> tuple[list[int], list[int], float]:
    """Times of all frames and of key frames, and their unit in seconds, without decoding.

    No times at all where some are unknown.
    """
    stream = find_pictures(container, path)
    times, keys = [], []
    for packet in container.demux(stream):
        if packet.size == 0 or getattr(packet, "is_discard", False):
            continue
        if packet.pts is None:
            return [], [], 0.0
        times.append(packet.pts)
        if packet.is_keyframe:
            keys.append(packet.pts)
    if len(set(times)) != len(times):
        return [], [], 0.0
    return sorted(times), sorted(keys), float(stream.time_base)


def _seek(
    path: Path, wanted: Sequence[int], times: Sequence[int], keys: Sequence[int], ratio: float
) -> dict[int, Any] | None:
    """Frame time -> picture, by seeking if that skips much; None if a frame does not turn up."""
    found: dict[int, Any] = {}
    with open_container(path, "video") as container:
        stream = find_pictures(container, path)
        frames, at = container.decode(stream), -1  # at: how many frames precede the current one
        for time in wanted:
            place = bisect_left(times, time)
            key = keys[max(0, bisect_right(keys, time) - 1)] if keys else times[0]
            if bisect_left(times, key) - at > FAR:
                container.seek(key, stream=stream)
                frames = container.decode(stream)
            for frame in frames:
                if frame.pts is None or frame.pts > time:
                    return None
                if frame.pts == time:
                    found[time] = _show(frame, ratio)
                    break
            else:
                return None
            at = place
    return found


def _decode_all(path: Path) -> Iterator[tuple[float, Any]]:
    """Every frame with its time stamp in seconds."""
    with open_container(path, "video") as container:
        stream = find_pictures(container, path)
        rate, zero = float(stream.average_rate or 25), find_zero(container)
        for i, frame in enumerate(container.decode(stream)):
            yield zero + i / rate if frame.time is None else frame.time, frame


def _find_ratio(stream: Any) -> float:
    """The width of a pixel, of its height; 1 where the film does not tell."""
    return float(stream.sample_aspect_ratio or 1)


def _show(frame: Any, ratio: float) -> Any:
    picture = frame.to_image()
    if ratio != 1:
        picture = picture.resize((max(1, round(picture.width * ratio)), picture.height))
    return turn_frame(frame, picture)


def subsampled(seconds: Sequence[float], fps: float) -> list[int]:
    """The first frame of every ``1 / fps`` seconds: what extraction at a lower rate keeps."""
    bins = np.floor((np.asarray(seconds) + NEAR) * fps)
    return [int(i) for i in np.unique(bins, return_index=True)[1]]


def _between(seconds: Sequence[float], start: float, end: float) -> list[int]:
    """Places of the frames from ``start`` to before ``end``; of none, the one that is on then."""
    first, last = (bisect_left(seconds, time - NEAR) for time in (start, end))
    if first < last:
        return list(range(first, last))
    gap = seconds[-1] - seconds[-2] if len(seconds) > 1 else 0.0
    return [first - 1] if first > 0 and start < seconds[-1] + gap else []


def _say_none(path: Path, seconds: Sequence[float], start: float) -> InputError:
    """Why a segment has no picture: those of the film start late or end early, or it is over."""
    if start < seconds[0]:
        return Unmeasured(f"{path.name} shows no picture before {seconds[0]:.3g} s")
    if goes_on(path, start):
        return Unmeasured(f"{path.name} shows no picture at {start:g} s")
    return InputError(f"{path.name} ends before {start:g} s")


@dataclass(frozen=True)
class Video(Reader):
    """A film -> uint8 [frames, 3, height, width].

    A cell is a path, or (path, start, end) in seconds from where the first track of the file
    starts, be it pictures or sound. Frames are turned and mirrored as the film's display matrix
    says. Where it shows no picture, it lacks the modality: a file of sound, or a segment before
    the first or after the last frame while there is sound.

    Attributes:
        frames: how many.
        size: pixels, one number or (height, width).
        fps: choose among the frames that extraction at this rate keeps; None: among all.
        pick: ``"even"``: the centres of ``frames`` equal segments, a short film repeats frames;
            ``"first"``: those at the beginning.
        keep: ``"squash"`` all of it into the size, or ``"crop"`` the middle in its proportions,
            those of the screen where pixels are not square.
    """

    name: ClassVar[str] = "video"
    extra: ClassVar[str] = "media"
    suffixes: ClassVar[tuple[str, ...]] = (
        *(".mp4", ".avi", ".flv", ".mkv", ".mov", ".webm", ".wmv"),
        *(".m4v", ".mpg", ".mpeg", ".3gp", ".ts", ".ogv"),
    )

    frames: Count = 3
    size: Size = 224
    fps: Annotated[float | None, Bounds(1e-3, 1000)] = None
    pick: Pick = "even"
    keep: Keep = "squash"

    def read(self, cell: Any) -> Array:
        path, start, end = span(cell)

        def choose(seconds: Sequence[float]) -> list[int]:
            places = list(range(len(seconds)))
            if end is not None:
                places = _between(seconds, start, end)
            if not places:
                raise _say_none(path, seconds, start)
            if self.fps is not None:
                kept = subsampled([seconds[i] - seconds[places[0]] for i in places], self.fps)
                places = [places[i] for i in kept]
            return [places[i] for i in pick(len(places), self.frames, self.pick)]

        size = to_sides(self.size)
        shown = frames_of(path, choose, self.keep == "crop")
        return np.stack([to_pixels(p, size, self.keep) for p in shown])
