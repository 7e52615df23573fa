"""One person's way through a study, as the events that happened: what is asked next, and what was
answered. The same rules read a journal and admit what a page sends."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from keshin.errors import DataError
from keshin.evaluate.human.study import Study

IntArray = npt.NDArray[np.int64]
DONT_KNOW, UNANSWERED = -1, -2
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Phase: TypeAlias = Literal["intro", "question", "end", "finished"]


class Joined(msgspec.Struct, frozen=True, tag_field="event", tag="joined"):
    """A person is there."""

    person: str
    at: str


class Begun(msgspec.Struct, frozen=True, tag_field="event", tag="begin"):
    """A round was begun: its examples were seen, so earlier answers stand."""

    shots: int
    at: str


class Answered(msgspec.Struct, frozen=True, tag_field="event", tag="answer"):
    """A picture was given a class, or None for "I don't know"."""

    shots: int
    question: int
    choice: int | None
    seconds: Seconds
    """From the moment the picture was seen, without pauses."""
    at: str


class Undone(msgspec.Struct, frozen=True, tag_field="event", tag="undo"):
    """The last answer was taken back."""

    at: str


class Finished(msgspec.Struct, frozen=True, tag_field="event", tag="finish"):
    """The results were asked for: nothing changes any more."""

    at: str


Event: TypeAlias = Joined | Begun | Answered | Undone | Finished


class Sitting:
    """What one person did so far. ``check`` before ``apply``."""

    def __init__(self, study: Study, person: str) -> None:
        self.study, self.person = study, person
        self.revision = 0
        """Events so far."""
        self.finished = False
        self.undone = 0
        self._begun = 0
        self._given: list[list[Answered]] = [[] for _ in study.rounds]
        self._orders = [study.sequence(person, shots) for shots in study.rounds]

    @property
    def round(self) -> int:
        """The place in ``study.rounds`` of the round that the person is in, or comes to."""
        here = max(self._begun - 1, 0)
        if self._begun and self._done(here) and self._begun < len(self._given):
            return here + 1
        return here

    @property
    def phase(self) -> Phase:
        """Before a round, at a question, behind the last one, or where results may be seen."""
        if self.finished:
            return "finished"
        if self.round >= self._begun:
            return "intro"
        return "end" if self._done(self.round) else "question"

    @property
    def position(self) -> int:
        """How many questions of this round are answered."""
        return len(self._given[self.round])

    @property
    def answered(self) -> int:
        """How many answers stand, over all rounds."""
        return sum(map(len, self._given))

    @property
    def can_undo(self) -> bool:
        """Whether there is an answer to take back: none from before this round's examples."""
        return self._last_round() is not None

    def upcoming(self, count: int = 1) -> tuple[int, ...]:
        """The next questions of this round."""
        return self._orders[self.round][self.position : self.position + count]

    def has_done(self, shots: int) -> bool:
        """Whether the person answered every question of a round."""
        return self._done(self.study.rounds.index(shots))

    def choices(self, shots: int) -> IntArray:
        """(n,) the class given to each question; ``DONT_KNOW``, ``UNANSWERED``."""
        found = np.full(len(self.study.questions), UNANSWERED, np.int64)
        for answer in self._given[self.study.rounds.index(shots)]:
            found[answer.question] = DONT_KNOW if answer.choice is None else answer.choice
        return found

    def seconds(self, shots: int) -> npt.NDArray[np.float64]:
        """(n,) the time that each answer took; NaN where there is none."""
        found = np.full(len(self.study.questions), np.nan)
        for answer in self._given[self.study.rounds.index(shots)]:
            found[answer.question] = answer.seconds
        return found

    def check(self, event: Event) -> None:
        """Raises ``DataError`` for an event that cannot follow what happened so far."""
        if isinstance(event, Joined):
            fits = self.revision == 0 and event.person == self.person
        elif self.revision == 0 or self.finished:
            fits = False
        elif isinstance(event, Begun):
            fits = self.phase == "intro" and event.shots == self.study.rounds[self.round]
        elif isinstance(event, Answered):
            asked = self.phase == "question" and (event.question,) == self.upcoming()
            known = event.choice is None or 0 <= event.choice < len(self.study.names)
            fits = asked and known and event.shots == self.study.rounds[self.round]
        elif isinstance(event, Undone):
            fits = self.can_undo
        else:
            fits = self.phase == "end"
        if not fits:
            what = type(event).__name__.lower()
            raise DataError(f"'{what}' cannot follow what {self.person or 'nobody'} did so far.")

    def apply(self, event: Event) -> None:
        """Go on by an event that ``check`` admits."""
        if isinstance(event, Begun):
            self._begun += 1
        elif isinstance(event, Answered):
            self._given[self.round].append(event)
        elif isinstance(event, Undone):
            self._given[self._last_round() or 0].pop()
            self.undone += 1
        elif isinstance(event, Finished):
            self.finished = True
        self.revision += 1

    def _done(self, place: int) -> bool:
        return len(self._given[place]) == len(self.study.questions)

    def _last_round(self) -> int | None:
        """The round whose last answer may be taken back."""
        here = self._begun - 1
        return here if here >= 0 and self._given[here] and not self.finished else None
