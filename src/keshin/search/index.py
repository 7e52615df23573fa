"""An index of a folder of pictures: open it, bring it up to date, ask it.

A reader holds the state that it opened (``refresh`` takes the newest); one writer at a time adds to
the files behind it. An index belongs to one model: to its weights, its precision, the way it reads
pictures. Another one is refused, since its vectors say something else with the same numbers.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from keshin.core.kept import EMBEDDINGS, INDEXES
from keshin.core.pictures import Picture
from keshin.encode.embedded import Embedded, Known, embed
from keshin.encode.embeddings import facts_of, open_store
from keshin.encode.encoder import Encoder
from keshin.errors import SearchError
from keshin.search import query as queries
from keshin.search.answer import Found, Hit
from keshin.search.background import Background, kind_of
from keshin.search.lock import writing
from keshin.search.relevance import (
    FEW,
    LOOKED_AT,
    SAMPLE,
    Doubles,
    Null,
    best_scores,
    made_queries,
)
from keshin.search.rows import Floats, Ints, Rows, open_rows, spaced
from keshin.search.scan import best
from keshin.search.table import NAME, Shown, State, Table, open_table
from keshin.search.update import Changes, Update


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An index as it was at one moment."""

    state: State
    rows: Rows
    gone: Ints
    """(g,) places of rows that no file shows."""

    @property
    def count(self) -> int:
        """Vectors that some file shows."""
        return len(self.rows) - len(self.gone)

    @cached_property
    def places(self) -> Ints:
        """(s,) of rows that stand for the library, evenly spaced."""
        return spaced(self.rows, self.gone, SAMPLE)

    @cached_property
    def sample(self) -> Floats:
        """(s, d) those rows' vectors."""
        return self.rows.vectors[self.places].astype(np.float32)

    def nearest(self, vectors: Floats, k: int) -> list[tuple[Ints, Doubles]]:
        """For each of (m, d) vectors the places of the k nearest rows and their products."""
        return best(self.rows, vectors, k, gone=self.gone)


class PictureIndex:
    """The index of one folder in one folder of its own. ``keshin.Index.open`` makes one."""

    def __init__(
        self,
        root: Path,
        folder: Path | None,
        choose: Callable[[Mapping[str, str]], tuple[Encoder, str]],
        *,
        rebuild: bool = False,
    ) -> None:
        """``root`` has the pictures, ``folder`` the index, by default one in the cache folder;
        ``choose`` gives, from the facts of the index (or nothing), the encoder and the name by
        which it is found again, when it is needed."""
        self.root, self.folder = root, folder or default_folder(root)
        self._choose = choose
        self._table: Table | None = None
        self._snapshot: Snapshot | None = None
        if rebuild:
            self.delete()

    def __enter__(self) -> PictureIndex:
        return self

    def __exit__(self, *how: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        if self._table is not None:
            self._table.close()
        self._table = self._snapshot = None

    def __len__(self) -> int:
        """Different pictures in it."""
        return self.snapshot.count

    @property
    def encoder(self) -> Encoder:
        """The model, loaded when it is first needed. Raises ``SearchError`` if the index is
        another model's."""
        return self._chosen[0]

    @cached_property
    def _chosen(self) -> tuple[Encoder, dict[str, str]]:
        """The encoder, and the facts of an index of it."""
        known = self.facts()
        encoder, origin = self._choose(known)
        if not encoder.fingerprint:
            raise SearchError(
                f"The model '{encoder.config.name}' has no fingerprint, so nobody could tell whose "
                "vectors an index of it holds. Load it from a checkpoint."
            )
        facts = facts_of(encoder.pictures())
        same_model(known, facts, self.folder)
        how = {"origin": origin, "precision": encoder.mode, "engine": encoder.engine}
        return encoder, {**facts, **how, "root": os.path.abspath(self.root)}  # noqa: PTH100

    def facts(self) -> dict[str, str]:
        """What the index was made of and with; nothing if there is none."""
        if not (self.folder / NAME).exists():
            return {}
        table = open_table(self.folder, write=False)
        try:
            return table.facts()
        finally:
            table.close()

    @property
    def snapshot(self) -> Snapshot:
        """The state that is searched. Raises ``SearchError`` if there is no index yet."""
        if self._snapshot is None:
            self.refresh()
        assert self._snapshot is not None  # noqa: S101 - refresh sets it or raises
        return self._snapshot

    def refresh(self) -> None:
        """Take the newest state, as a writer left it."""
        table = self._table = self._table or open_table(self.folder, write=False)
        with table.transaction(write=False):  # files of this generation stay until it ends
            state = table.state()
            if self._snapshot is not None and self._snapshot.state == state:
                return
            facts = table.facts()
            if not facts:
                raise SearchError(f"There is no index in '{self.folder}'. Make it with an update.")
            width = int(facts["dimensions"])
            rows = open_rows(self.folder, state.generation, state.rows, width)
            gone = rows.places(table.unused())
        self._snapshot = Snapshot(state, rows, gone)

    def update(
        self, *, cache: bool = True, progress: Callable[[Changes], None] | None = None
    ) -> Changes:
        """Read what is new or changed in the folder; forget what is gone.

        Arguments: ``cache``: keep vectors in the cache folder too, and take them from there, as
        ``Model.embed`` does; ``progress``: called now and then, with what was done until then.
        Raises ``IndexBusy`` while another process does it. What was done when an error or an
        interrupt ends it is kept.
        """
        if not self.root.is_dir():
            raise SearchError(f"There is no folder '{self.root}' to index. Check the path.")
        with writing(self.folder):
            table = open_table(self.folder, write=True)
            try:
                facts = self._chosen[1]  # refuses another model, also where nothing is new
                if not table.facts():
                    with table.transaction(write=True):
                        table.set_facts({**facts, "made": secrets.token_hex(8)})
                width = int(facts["dimensions"])
                run = Update(table, self.folder, self.root, width, progress)
                changes = run.run(lambda paths, also: self._embed(paths, also, cache))
            finally:
                table.close()
        self.refresh()
        return changes

    def search(
        self,
        text: str = "",
        *,
        like: Sequence[Picture] = (),
        without: Sequence[str] = (),
        k: int = 20,
        min_relevance: float = 0.0,
    ) -> Found:
        """The pictures that fit best.

        Arguments:
            text: a caption; ``-word`` and ``-"some words"`` in it are unwanted.
            like: pictures to look like, as ``Model.encode_images`` takes them.
            without: more texts that are unwanted.
            k: results at most; files of the same content are one.
            min_relevance: leave out what is less likely to be relevant (``Hit.relevance``).

        Raises ``SearchError`` for a query that asks for nothing, and ``PictureError``.
        """
        if k < 1:
            raise SearchError(f"k = {k} results cannot be given. Ask for 1 or more.")
        if not 0 <= min_relevance <= 1:
            raise SearchError(f"A relevance of {min_relevance:g} does not exist: it is 0 to 1.")
        words = queries.parse(text)
        wanted, unwanted = [words.wanted] if words.wanted else [], [*words.unwanted, *without]
        queries.checked(wanted, like)
        vectors = self.encoder.encode_texts([*wanted, *unwanted])
        pictures = self.encoder.encode_images(list(like))
        parts = queries.Parts(vectors[: len(wanted)], pictures, vectors[len(wanted) :])
        query = queries.joined(parts, self.snapshot.sample)
        null = self._null(parts, kind_of([*wanted, *unwanted]))
        return self._answer(query, k, min_relevance, null)

    def _null(self, parts: queries.Parts, kind: tuple[str, bool]) -> Null | None:
        """What queries for something else find; None if the library is too small to say."""
        snapshot = self.snapshot
        if snapshot.count < FEW:
            return None
        background = Background(self.folder, self.encoder)
        texts, pictures, unwanted = map(len, (parts.texts, parts.pictures, parts.unwanted))
        if (texts, pictures, unwanted) == (1, 0, 0):
            vectors = background.vectors(kind)
            state = background.tops(
                kind, snapshot.state, lambda: best_scores(vectors, snapshot.nearest)
            )
            return Null(state)
        captions = background.vectors(kind) if texts + unwanted else parts.texts
        made, shown = made_queries(parts, captions, snapshot.sample)
        return Null(best_scores(made, snapshot.nearest, snapshot.places[shown]))

    def nearest(self, vectors: Floats, k: int) -> list[tuple[Ints, Doubles]]:
        """For each of (m, d) vectors the ids of the k nearest rows and their products, falling."""
        found = self.snapshot.nearest(vectors, k)
        return [(self.snapshot.rows.ids[places], products) for places, products in found]

    def files_of(self, ids: Ints) -> dict[int, list[Shown]]:
        """The files that show vectors now."""
        table = self._table = self._table or open_table(self.folder, write=False)
        return table.files_of([int(number) for number in ids])

    def path_of(self, shown: Shown) -> str:
        """Where a file is."""
        return os.path.join(self.root, os.fsdecode(shown.path))

    def delete(self) -> None:
        """Delete the index; not the pictures, and not the vectors in the cache folder."""
        with writing(self.folder):
            self.close()
            for pattern in ("pictures.sqlite*", "*.f16", "*.i8", "*-*.bin", "*.npz"):
                for path in self.folder.glob(pattern):
                    path.unlink()

    def _answer(self, query: Floats, k: int, least: float, null: Null | None) -> Found:
        ((ids, products),) = self.nearest(query[None], max(k, LOOKED_AT))
        relevance: list[float | None] = [None] * len(ids)
        if null is not None:
            relevance = [float(value) for value in null.relevance(products)]
        shown = self.files_of(ids)
        hits = [
            self._hit(shown[int(number)], float(score), relevant)
            for number, score, relevant in zip(ids, products, relevance, strict=True)
            if int(number) in shown  # a newer state may know that it is gone
        ]
        good = [hit for hit in hits if hit.relevance is None or hit.relevance >= least]
        return Found(tuple(good[:k]), self.snapshot.count, hits[0] if hits else None, least)

    def _hit(self, files: list[Shown], score: float, relevance: float | None) -> Hit:
        first, *others = files
        copies = tuple(map(self.path_of, others))
        return Hit(
            self.path_of(first), score, relevance, copies, first.width, first.height, first.taken
        )

    def _embed(
        self, paths: Iterable[str], also: Known, cache: bool
    ) -> Generator[Embedded, None, None]:
        store = open_store(EMBEDDINGS.folder, self.encoder) if cache else None
        if store is None:
            yield from embed(self.encoder, paths, also=also)
            return
        with store:
            yield from store.embed(paths, also=also)


def same_model(known: dict[str, str], given: dict[str, str], folder: Path) -> None:
    """Raises ``SearchError`` if an index's facts are not those of a model."""
    differing = [name for name, value in given.items() if known.get(name, value) != value]
    if not differing:
        return
    if "fingerprint" in differing and known["model"] != given["model"]:
        what = f"of the model '{known['model']}', not '{given['model']}'"
    elif "fingerprint" in differing:
        what = f"of another '{known['model']}': its weights or facts differ"
    else:
        what = ", ".join(f"made with {name} '{known[name]}', not '{given[name]}'"
                         for name in differing)  # fmt: skip
    raise SearchError(
        f"The index '{folder}' is {what}. Vectors of two models cannot be compared: use the model "
        "of the index, keep the other one's in a folder of its own (--index), or build it anew "
        "(--rebuild)."
    )


def default_folder(root: Path) -> Path:
    """Where the index of a folder of pictures is, unless another place is named."""
    absolute = os.path.abspath(root)  # noqa: PTH100 - links keep their name
    plain = re.sub(r"[^\w.-]+", "-", Path(absolute).name)[:40] or "root"
    return INDEXES.folder / f"{plain}-{hashlib.sha256(os.fsencode(absolute)).hexdigest()[:16]}"
