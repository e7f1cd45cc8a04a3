"""VGGSound as its owners publish it: clips of 10 s in 309 classes of sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from counterpoise.core.tasks import Classification
from counterpoise.data.preparation.table import Bad, Row, Table
from counterpoise.data.readers import Audio, Video
from counterpoise.errors import InputError

from .base import DatasetEntry
from .video_lists import clip_name, find_videos, read_list, without_leaks

# Joined by semicolons, since many names have commas.
NAMES = """
air conditioning noise; air horn; airplane; airplane flyby; alarm clock ringing; alligators,
crocodiles hissing; ambulance siren; arc welding; baby babbling; baby crying; baby laughter;
baltimore oriole calling; barn swallow calling; basketball bounce; bathroom ventilation fan
running; beat boxing; bee, wasp, etc. buzzing; bird chirping, tweeting; bird squawking; bird wings
flapping; black capped chickadee calling; blowtorch igniting; bouncing on trampoline; bowling
impact; bull bellowing; canary calling; cap gun shooting; car engine idling; car engine knocking;
car engine starting; car passing by; cat caterwauling; cat growling; cat hissing; cat meowing; cat
purring; cattle mooing; cattle, bovinae cowbell; cell phone buzzing; chainsawing trees; cheetah
chirrup; chicken clucking; chicken crowing; child singing; child speech, kid speaking; children
shouting; chimpanzee pant-hooting; chinchilla barking; chipmunk chirping; chopping food; chopping
wood; church bell ringing; civil defense siren; cow lowing; coyote howling; cricket chirping; crow
cawing; cuckoo bird calling; cupboard opening or closing; cutting hair with electric trimmers;
dinosaurs bellowing; disc scratching; dog barking; dog baying; dog bow-wow; dog growling; dog
howling; dog whimpering; donkey, ass braying; door slamming; driving buses; driving motorcycle;
driving snowmobile; duck quacking; eagle screaming; eating with cutlery; electric grinder
grinding; electric shaver, electric razor shaving; elephant trumpeting; eletric blender running;
elk bugling; engine accelerating, revving, vroom; female singing; female speech, woman speaking;
ferret dooking; fire crackling; fire truck siren; fireworks banging; firing cannon; firing
muskets; fly, housefly buzzing; foghorn; footsteps on snow; forging swords; fox barking; francolin
calling; frog croaking; gibbon howling; goat bleating; golf driving; goose honking; hail; hair
dryer drying; hammering nails; heart sounds, heartbeat; hedge trimmer running; helicopter; horse
clip-clop; horse neighing; ice cracking; ice cream truck, ice cream van; lathe spinning; lawn
mowing; lighting firecrackers; lions growling; lions roaring; lip smacking; machine gun shooting;
magpie calling; male singing; male speech, man speaking; metronome; missile launch; mosquito
buzzing; motorboat, speedboat acceleration; mouse clicking; mouse pattering; mouse squeaking;
mynah bird singing; ocean burbling; opening or closing car doors; opening or closing car electric
windows; opening or closing drawers; orchestra; otter growling; owl hooting; parrot talking;
penguins braying; people babbling; people battle cry; people belly laughing; people booing; people
burping; people cheering; people clapping; people coughing; people crowd; people eating; people
eating apple; people eating crisps; people eating noodle; people farting; people finger snapping;
people gargling; people giggling; people hiccup; people humming; people marching; people nose
blowing; people running; people screaming; people shuffling; people slapping; people slurping;
people sneezing; people sniggering; people sobbing; people whispering; people whistling; pheasant
crowing; pig oinking; pigeon, dove cooing; planing timber; plastic bottle crushing; playing
accordion; playing acoustic guitar; playing badminton; playing bagpipes; playing banjo; playing
bass drum; playing bass guitar; playing bassoon; playing bongo; playing bugle; playing castanets;
playing cello; playing clarinet; playing congas; playing cornet; playing cymbal; playing darts;
playing didgeridoo; playing djembe; playing double bass; playing drum kit; playing electric
guitar; playing electronic organ; playing erhu; playing flute; playing french horn; playing
glockenspiel; playing gong; playing guiro; playing hammond organ; playing harmonica; playing harp;
playing harpsichord; playing hockey; playing lacrosse; playing mandolin; playing marimba,
xylophone; playing oboe; playing piano; playing saxophone; playing shofar; playing sitar; playing
snare drum; playing squash; playing steel guitar, slide guitar; playing steelpan; playing
synthesizer; playing tabla; playing table tennis; playing tambourine; playing tennis; playing
theremin; playing timbales; playing timpani; playing trombone; playing trumpet; playing tuning
fork; playing tympani; playing ukulele; playing vibraphone; playing violin, fiddle; playing
volleyball; playing washboard; playing zither; police car (siren); police radio chatter; popping
popcorn; printer printing; pumping water; race car, auto racing; railroad car, train wagon;
raining; rapping; reversing beeps; ripping paper; roller coaster running; rope skipping; rowboat,
canoe, kayak rowing; running electric fan; sailing; scuba diving; sea lion barking; sea waves;
sharpen knife; sheep bleating; shot football; singing bowl; singing choir; skateboarding;
skidding; skiing; sliding door; sloshing water; slot machine; smoke detector beeping; snake
hissing; snake rattling; splashing water; spraying water; squishing water; stream burbling; strike
lighter; striking bowling; striking pool; subway, metro, underground; swimming; tap dancing;
tapping guitar; telephone bell ringing; thunder; toilet flushing; tornado roaring; tractor
digging; train horning; train wheels squealing; train whistling; turkey gobbling; typing on
computer keyboard; typing on typewriter; underwater bubbling; using sewing machines; vacuum
cleaner cleaning floors; vehicle horn, car horn, honking; volcano explosion; warbler chirping;
waterfall burbling; whale calling; wind chime; wind noise; wind rustling leaves; wood thrush
calling; woodpecker pecking tree; writing on blackboard with chalk; yodelling; zebra braying
"""
CLASSES = tuple(NAMES.replace("\n", " ").strip().split("; "))
NEEDS = (
    "vggsound.csv (youtube id, start in seconds, label, train or test; no header), itself or in "
    "data/, and the clips anywhere below (video/abcdefghijk_000012.mp4)"
)


def vggsound(raw: Path) -> Table:
    """The clips that are there, in the owners' training and test parts.

    How many clips of the list are there is told in ``Table.bad``.
    """
    places = (raw / "vggsound.csv", raw / "data" / "vggsound.csv")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"found no {places[0]}; RAW must hold {NEEDS}")
    bad: list[Bad] = []
    videos = find_videos(raw)
    listed = list(_clips(path, bad))
    rows = [
        Row(row.id, row.target, {"audio": found, "visual": found}, row.split, row.group)
        for row in listed
        if (found := videos.get(row.id))
    ]
    if not rows:
        raise InputError(f"found no clip of {path} below {raw}; RAW must hold {NEEDS}")
    if len(rows) < len(listed):
        reason = (
            f"{len(rows)} of its {len(listed)} clips are there; the others are gone from the "
            "platform, or were not downloaded"
        )
        bad.append(Bad(path.name, "", reason))
    return Table(
        "vggsound",
        without_leaks(rows, bad),
        {
            # [257, 1004] of 10 s, by repetition where a clip is shorter: the owners' windows.
            "audio": Audio(
                rate=16000,
                seconds=10.0,
                n_fft=512,
                hop=159,
                mels=None,
                power=1.0,
                repeat=True,
                center=False,
                clip=True,
            ),
            "visual": Video(frames=3, size=256, fps=1.0),
        },
        Classification(len(CLASSES), names=CLASSES),
        bad,
    )


def _clips(path: Path, bad: list[Bad]) -> Iterator[Row]:
    """The rows of the list, still without files."""
    for place, fields in read_list(path):
        try:
            video, start, label, split = fields
            name = clip_name(video, int(float(start)))
        except (ValueError, OverflowError):
            bad.append(Bad(place, "", f"cannot be read: {','.join(fields)[:80]!r}"))
            continue
        if not video or split not in ("train", "test"):
            reason = f"its part must be train or test, found {split!r}" if video else "has no id"
            bad.append(Bad(place, "", reason))
        else:
            yield Row(name, label, {}, split, video)


class VggSound(DatasetEntry):
    """VGGSound in the catalogue; :func:`vggsound` reads its files."""

    name = "vggsound"
    summary = "about 199,000 clips of 10 s in 309 classes whose source is heard and seen"
    modalities = ("audio", "visual")
    licence = "lists: CC BY 4.0 (Chen, Xie, Vedaldi, Zisserman); the videos belong to their makers"
    source = "https://www.robots.ox.ac.uk/~vgg/data/vggsound/"
    size = "about 199,000 clips, some 300 GB"
    raw = NEEDS

    def table(self, raw: Path) -> Table:
        return vggsound(raw)
