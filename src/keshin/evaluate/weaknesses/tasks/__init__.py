"""The tasks, in the order of the report. A new one is a module and a row of words."""

from keshin.evaluate.weaknesses.questions import Task
from keshin.evaluate.weaknesses.tasks.binding import BINDING
from keshin.evaluate.weaknesses.tasks.counting import COUNTING
from keshin.evaluate.weaknesses.tasks.near import NEAR
from keshin.evaluate.weaknesses.tasks.negation import NEGATION
from keshin.evaluate.weaknesses.tasks.relations import DISTANCE, POSITION
from keshin.evaluate.weaknesses.tasks.writing import ATTACK, READING

TASKS: tuple[Task, ...] = (
    COUNTING,
    DISTANCE,
    POSITION,
    BINDING,
    READING,
    ATTACK,
    NEAR,
    NEGATION,
)
