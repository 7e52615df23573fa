"""Answers last: through crashes, two servers, full disks, and people who change their mind."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import keshin
from human_studies import answer_all
from keshin.errors import DataError
from keshin.evaluate.human import Stale, open_answers, read_answers, save_study
from keshin.evaluate.human.journal import Journal
from keshin.evaluate.human.sitting import Answered, Begun, Finished, Joined, Sitting, Undone

AT = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def folder(study, tmp_path):
    save_study(study, tmp_path / "study")
    return tmp_path / "study"


def begin(sitting):
    return Begun(shots=sitting.study.rounds[sitting.round], at=AT)


def said(sitting, choice=0):
    shots = sitting.study.rounds[sitting.round]
    return Answered(shots=shots, question=sitting.upcoming()[0], choice=choice, seconds=1.0, at=AT)


def sat(study, *events):
    """A person after some steps: "b"egin, "u"ndo, "f"inish, or a choice."""
    sitting = Sitting(study, "Ann")
    for step in (Joined(person="Ann", at=AT), *events):
        event = {"b": begin, "u": lambda s: Undone(at=AT), "f": lambda s: Finished(at=AT)}.get(step)
        event = event(sitting) if event else step
        if isinstance(event, int | None):
            event = said(sitting, event)
        sitting.check(event)
        sitting.apply(event)
    return sitting


# --- what follows what ---------------------------------------------------------------------------


def test_rounds_come_in_order(study):
    sitting = sat(study)
    assert (sitting.phase, sitting.round) == ("intro", 0)
    sitting = sat(study, "b")
    assert (sitting.phase, sitting.position, sitting.can_undo) == ("question", 0, False)
    assert sitting.upcoming(99) == study.sequence("Ann", 0)
    sitting = sat(study, "b", *[0] * 9)
    assert (sitting.phase, sitting.round, sitting.position) == ("intro", 1, 0)
    sitting = sat(study, "b", *[0] * 9, "b", *[1] * 9, "b", *[2] * 9)
    assert (sitting.phase, sitting.answered) == ("end", 27)
    assert sitting.can_undo
    assert [set(sitting.choices(shots)) for shots in (0, 1, 2)] == [{0}, {1}, {2}]


def test_the_last_answer_can_be_taken_back_until_examples_were_seen(study):
    sitting = sat(study, "b", 2, 1, "u", None)
    first, second = study.sequence("Ann", 0)[:2]
    assert sitting.choices(0)[[first, second]].tolist() == [2, -1]
    assert (sitting.choices(0) == -2).sum() == 7
    assert sitting.undone == 1
    between = sat(study, "b", *[0] * 9, "u")
    assert (between.phase, between.round, between.position) == ("question", 0, 8)
    with pytest.raises(DataError):
        sat(study, "b", *[0] * 9, "b", "u")  # the examples are on the screen
    with pytest.raises(DataError):
        sat(study, "b", "u")


def test_results_seal_the_answers(study):
    done = ["b", *[0] * 9] * 3
    assert sat(study, *done, "u").phase == "question"
    assert sat(study, *done, "f").phase == "finished"
    for after in ("u", "b", 0, "f"):
        with pytest.raises((DataError, IndexError)):
            sat(study, *done, "f", after)
    with pytest.raises(DataError):
        sat(study, "b", *[0] * 9, "f")


@pytest.mark.parametrize("change", [{"choice": 3}, {"choice": -1}, {"question": 99}, {"shots": 1}])
def test_answers_that_were_not_asked_for_are_refused(study, change):
    sitting = sat(study, "b")
    right = said(sitting)
    fields = {name: getattr(right, name) for name in right.__struct_fields__}
    with pytest.raises(DataError, match="'answered' cannot follow"):
        sitting.check(Answered(**fields | change))


# --- on the disk ---------------------------------------------------------------------------------


def test_answers_are_found_again(folder, study):
    with open_answers(folder, study) as answers:
        assert answers.join("Ann") == 0
        assert answers.join("Ben") == 1
        assert answers.join(" ann ") == 0  # known: goes on
        answer_all(answers.journal(0), lambda shots, question, target: target)
        before = answers.journal(0).sitting.choices(2)
    ann, ben = read_answers(folder, study)
    assert ann.phase == "end"
    assert np.array_equal(ann.choices(2), before)
    assert np.array_equal(before, study.targets)
    assert ann.seconds(0).tolist() == [2.5] * 9
    assert (ben.person, ben.phase, ben.answered) == ("Ben", "intro", 0)
    with open_answers(folder, study) as answers:
        assert [s.person for s in answers.sittings] == ["Ann", "Ben"]


def test_given_people_are_there_and_nobody_else(folder, study, tmp_path):
    import msgspec

    closed = msgspec.structs.replace(study, people=("Ann", "Ben"))
    with open_answers(tmp_path / "study", closed) as answers:
        assert [s.person for s in answers.sittings] == ["Ann", "Ben"]
        assert answers.join("BEN") == 1
        with pytest.raises(DataError, match="is for Ann, Ben"):
            answers.join("Carl")


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_line_that_a_crash_cut_off_is_asked_again(folder, study, cut):
    with open_answers(folder, study) as answers:
        journal = answers.journal(answers.join("Ann"))
        answer_all(journal, lambda *_: 1, rounds=(0,))
    path = folder / "answers" / "001.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert read_answers(folder, study)[0].answered == 8
    with open_answers(folder, study) as answers:
        journal = answers.journal(0)
        assert journal.sitting.position == 8
        journal.record(said(journal.sitting, 2), journal.sitting.revision)
    assert read_answers(folder, study)[0].answered == 9
    assert path.read_bytes().count(b"\n") == whole.count(b"\n")


def test_a_person_whose_first_line_is_not_whole_never_came(folder, study):
    with open_answers(folder, study) as answers:
        answers.join("Ann")
    (folder / "answers" / "002.jsonl").write_bytes(b'{"event":"joi')
    (folder / "answers" / "notes.jsonl").write_bytes(b"mine\n")
    assert [s.person for s in read_answers(folder, study)] == ["Ann"]
    with open_answers(folder, study) as answers:
        assert answers.join("Ben") == 1
    assert [s.person for s in read_answers(folder, study)] == ["Ann", "Ben"]


def test_a_person_who_was_taken_out_leaves_the_others_alone(folder, study):
    with open_answers(folder, study) as answers:
        for name in ("Ann", "Ben", "Cleo"):
            answer_all(answers.journal(answers.join(name)), lambda *_: 0, rounds=(0,))
    (folder / "answers" / "002.jsonl").unlink()
    with open_answers(folder, study) as answers:
        assert answers.join("Dora") == 2
    found = {s.person: s.answered for s in read_answers(folder, study)}
    assert found == {"Ann": 9, "Cleo": 9, "Dora": 0}


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"event":"undo","at":""}\n', b"\xff\n"])
def test_damage_in_the_middle_is_named_not_skipped(folder, study, line):
    with open_answers(folder, study) as answers:
        answers.join("Ann")
    path = folder / "answers" / "001.jsonl"
    path.write_bytes(path.read_bytes() + line + b'{"event":"begin","shots":0,"at":""}\n')
    with pytest.raises(DataError, match=r"001\.jsonl, line 2 is not"):
        read_answers(folder, study)


def test_only_one_process_writes(folder, study):
    with (
        open_answers(folder, study),
        pytest.raises(DataError, match="open in another process"),
        open_answers(folder, study),
    ):
        pass
    with open_answers(folder, study):  # and it is free again
        pass


def test_a_page_that_is_behind_has_to_look_again(folder, study):
    with open_answers(folder, study) as answers:
        journal = answers.journal(answers.join("Ann"))
        journal.record(begin(journal.sitting), 1)
        answer = said(journal.sitting)
        journal.record(answer, 2)
        with pytest.raises(Stale):
            journal.record(answer, 2)  # sent twice, since the first answer got lost on the way
        assert journal.sitting.answered == 1


def test_people_answer_at_the_same_time(folder, study):
    with open_answers(folder, study) as answers:
        numbers = [answers.join(f"person {n}") for n in range(4)]
        threads = [
            threading.Thread(target=answer_all, args=(answers.journal(n), lambda *_, n=n: n % 3))
            for n in numbers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, sitting in enumerate(read_answers(folder, study)):
        assert sitting.phase == "end"
        assert set(sitting.choices(1)) == {number % 3}


def test_of_two_who_write_for_one_person_one_wins_each_time(folder, study):
    with open_answers(folder, study) as answers:
        journal = answers.journal(answers.join("Ann"))
        journal.record(begin(journal.sitting), 1)
        answer, results = said(journal.sitting), []

        def send():
            try:
                journal.record(answer, 2)
                results.append("kept")
            except Stale:
                results.append("stale")

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == ["kept", *["stale"] * 7]
    assert read_answers(folder, study)[0].answered == 1


def test_what_could_not_be_flushed_does_not_count(folder, study, monkeypatch):
    with open_answers(folder, study) as answers:
        journal: Journal = answers.journal(answers.join("Ann"))
        journal.record(begin(journal.sitting), 1)
        before = journal.path.read_bytes()

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match="No space left"):
            journal.record(said(journal.sitting), 2)
        monkeypatch.undo()
        assert journal.path.read_bytes() == before
        assert journal.sitting.answered == 0
        with pytest.raises(DataError, match="Start the server again"):
            journal.record(said(journal.sitting), 2)
    assert read_answers(folder, study)[0].answered == 0


def test_kill_9_loses_no_answer_that_was_acknowledged(folder, study):
    """The writer prints after each answer; whatever was printed must be on the disk."""
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from keshin.evaluate.human import load_study, open_answers
        from keshin.evaluate.human.sitting import Answered, Begun, Undone
        folder = Path(sys.argv[1])
        with open_answers(folder, load_study(folder)) as answers:
            journal = answers.journal(answers.join("Ann"))
            sitting = journal.sitting
            if sitting.phase == "intro":
                journal.record(Begun(shots=0, at=""), sitting.revision)
            while True:
                if sitting.position == 8:
                    event = Undone(at="")
                else:
                    question = sitting.upcoming()[0]
                    event = Answered(shots=0, question=question, choice=1, seconds=1.0, at="")
                journal.record(event, sitting.revision)
                print(sitting.revision, flush=True)
    """)
    environment = {**os.environ, "PYTHONPATH": str(Path(keshin.__file__).parents[1])}
    known = 0
    for wanted in (20, 45, 90):
        writer = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        while known < wanted:
            known = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split()
        known = int(rest[-1]) if rest else known
        sitting = read_answers(folder, study)[0]
        assert known <= sitting.revision <= known + 1
        known = sitting.revision
